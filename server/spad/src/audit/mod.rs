//! What happened, one JSON line each, for people and for programs.
//!
//! [`event`] is what happened, as a value; [`line`] makes the line of it, both
//! pure. [`file`] `[IO]` appends lines to the file, on a thread of its own, so
//! that the engine never waits for a disk. Nothing that a stranger chose gets
//! into a line, but numbers and addresses; names come from the configuration.

pub mod line;

pub mod file;

mod repair;

pub use file::AuditLog;
pub use line::render;
pub(crate) use line::time;
