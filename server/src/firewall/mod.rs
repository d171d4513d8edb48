//! The firewall, as data: what the kernel is asked to hold, and the messages
//! that ask for it.
//!
//! Everything here is pure except [`link`], the engine's end of the socket to
//! the privileged process, and `nft`, which starts the program of that name. Only [`crate::writer`]
//! talks to the kernel, and only about the table `inet spad`.

pub mod element;

pub mod message;

mod codec;

pub mod link;

pub use element::{Change, ChangeId, Element, KernelElement, Step};
pub use link::Writer;
pub use message::{Answer, FirewallRefusal, FromWriter, ToWriter};
