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
#![deny(missing_docs, clippy::indexing_slicing, clippy::as_conversions)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod cipher;
mod derive;
mod error;
#[cfg(feature = "std")]
pub mod file;
mod pair;
#[cfg(feature = "std")]
mod random;
mod secret;
mod text;

pub use cipher::{PacketKeys, TooLong};
pub use derive::{HeadKeys, KeyId};
pub use error::{KeyError, Kind};
pub use pair::{
    ClientPublic, ClientSecret, PairSecret, PreSharedKey, ServerPublic, ServerSecret, SharedKey,
};
#[cfg(feature = "std")]
pub use random::random_bytes;
pub use zeroize::Zeroizing;
