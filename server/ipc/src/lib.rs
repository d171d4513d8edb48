//! [IO] The engine and its helper processes: how they start, and how they exchange messages.
//!
//! A helper is the same binary, executed with a hidden subcommand. Its standard input is one end
//! of a `SOCK_SEQPACKET` pair, so one message is one datagram. The engine holds a [`Helper`], the
//! process itself an [`Endpoint`]. Each kind of helper implements [`Message`] for its two enums.
#![forbid(unsafe_code)]

mod codec;
mod endpoint;
mod helper;
mod socket;

pub use codec::{DecodeError, Decoder, Encoder, Message};
pub use endpoint::{Endpoint, EndpointError};
pub use helper::{Helper, HelperError, HelperErrorKind, Startup};
pub use socket::{Incoming, try_send};

#[cfg(test)]
mod tests;
