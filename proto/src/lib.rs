//! The SPA packet: no clock, no random source, no I/O.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod time;

pub use time::Timestamp;
