//! What is wrong in a text file, where, and how to mend it; and how that is
//! printed: `file:line:column`, the line, a caret, `help:`, with nothing in it
//! that may be a secret key. Pure.
//!
//! Both programs read files that people write, and never meet: what they say
//! about such files they say through this crate. It decides nothing.
#![forbid(unsafe_code)]

mod finding;
pub mod redact;
mod source;
mod suggest;

pub use finding::{Finding, Findings, Severity, format_location};
pub use source::{Location, Source};
pub use suggest::{EditDistance, nearest};
