//! Port knocking, for people who migrate from it in steps.
//!
//! A knock sequence is no secret from anyone who observes the knocks: they can replay it.
//! A single packet of `spa` cannot be replayed.

pub mod sequence;

pub mod sequences;

pub mod filter;

pub mod flags;

pub mod overlap;

pub mod tracker;

pub use filter::KnockFilter;
pub use flags::{ParseTcpFlagsError, TcpFlags};
pub use overlap::also_opens;
pub use sequence::{Knock, ParseSequenceError, Sequence};
pub use sequences::{OneTime, OneTimeSequence, Sequences};
pub use tracker::{
    AttemptEnd, DEFAULT_WINDOW, KnockPattern, KnockProgress, ObservedKnock, Tracker,
};
