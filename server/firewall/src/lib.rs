//! The firewall, as data: what the kernel is asked to hold, and the messages
//! that ask for it.
//!
//! Everything here is pure except [`link`], the engine's end of the socket to
//! the privileged process. Only [`crate::writer`] talks to the kernel, and only
//! about the table `inet spad`, or our sets in one of the administrator's.
#![forbid(unsafe_code)]

pub mod closed_ports;

pub mod message;

mod codec;

pub mod table;

pub mod trial;

pub mod link;

pub use link::{StartingWriter, WriterClient};
pub use message::{FromWriter, ToWriter};

pub mod writer;
