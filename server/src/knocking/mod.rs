//! Port knocking: for whoever comes from it, and cannot leave it yet.
//!
//! A sequence of ports is no secret from whoever sees the knocks go by: it can be
//! watched and sent again. A single packet of `spa` cannot.

pub mod rules;

pub mod sequence;

pub use sequence::{Knock, NotASequence, Sequence};
