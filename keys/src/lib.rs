//! Keys of single packet authorization: the only crate that sees secret bytes.
//!
//! Every key is a type of its own; every derived key has one function that
//! cites its section of docs/protocol.md. Secrets are wiped when dropped,
//! printed as `[secret]`, compared in constant time. Encryption and
//! authentication happen in here too, so that no secret byte leaves.
//!
//! `no_std` with `alloc`; the feature `std` adds key files and the operating
//! system's random source.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
