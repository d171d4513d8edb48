//! Port knocking: for whoever comes from it, and cannot leave it yet.
//!
//! A sequence of ports is no secret from whoever sees the knocks go by: it can be
//! watched and sent again. A single packet of `spa` cannot.

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
