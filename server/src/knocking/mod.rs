//! Port knocking: for whoever comes from it, and cannot leave it yet.
//!
//! A sequence of ports is no secret from whoever sees the knocks go by: it can be
//! watched and sent again. A single packet of `spa` cannot.

pub mod rules;

pub mod sequence;

mod sequences;

mod demands;

mod flags;

mod shadow;

mod tracker;

pub use demands::Demands;
pub use flags::{NotFlags, TcpFlags};
pub use sequence::{Knock, NotASequence, Sequence};
pub use sequences::{Listed, OneTime, Sequences};
pub use shadow::opens_too;
pub use tracker::{Door, Heard, Hit, Tracker, WITHIN, WhyOver};
