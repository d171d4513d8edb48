//! The SPA packet: no clock, no random source, no I/O.
//!
//! ```text
//! client   Request → seal → datagram
//! server   datagram → identify → Identified → authenticate → Authentic
//!                   → record → Recorded → open → Opened, with the Request
//! ```
//!
//! Each stage takes the output of the one before, by value, in a type that
//! only that stage can make: nothing opens a packet that was not recorded as
//! used. docs/protocol.md specifies all of it.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs, clippy::indexing_slicing, clippy::as_conversions)]

extern crate alloc;

mod address;
mod authenticate;
mod command;
mod decode;
mod encode;
mod error;
mod identify;
pub mod limits;
mod open;
mod reader;
mod request;
mod seal;
mod service;
mod time;

pub use address::{Addresses, UnusableAddress, usable_address};
pub use authenticate::{Authentic, Record, Recorded};
pub use command::{CommandName, ParseCommandNameError};
pub use error::{EncodeError, IdentifyError, NotAuthentic, OpenError, RequestError, SealError};
pub use identify::{Identified, identify};
pub use open::Opened;
pub use request::{Action, Open, Request};
pub use seal::{Randomness, seal, seal_plaintext};
pub use service::{ParseServiceError, Protocol, Service, Services, TooManyServices};
pub use time::Timestamp;
