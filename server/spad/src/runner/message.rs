//! What the engine and the command runner say to each other.
//!
//! Pure, and a closed set. A message names a declared command or hook and tells the
//! facts of its environment; it never says what is executed, nor as whom.

use std::time::Duration;

use spad_model::{MAX_OUTPUT, RunExit, RunId, RunRefusal, RunRequest};

/// The longest message of the engine, in bytes.
pub const MAX_REQUEST: usize = 512;
/// The longest message of the runner, in bytes: that of an end, with its output.
pub const MAX_MESSAGE: usize = MAX_OUTPUT + 256;
/// The longest text, in bytes.
pub const MAX_TEXT: usize = 32 * 1024;

/// From the engine's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToRunner {
    /// Run this.
    Run(RunRequest),
    /// Read the configuration anew, and say whether it could be used.
    LoadConfig,
    /// Use what was read last.
    ApplyConfig,
    /// Say that you live; answered by [`FromRunner::Pong`].
    Ping,
    /// End.
    Stop,
}

/// From the runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromRunner {
    /// It serves.
    Ready,
    /// It cannot start, and ends.
    Failed(String),
    /// This runs.
    Started(RunId),
    /// This does not run, and never did.
    Refused(RunId, RunRefusal),
    /// This ran.
    Ended(RunExit),
    /// A sign of life: the answer to `Ping`.
    Pong,
    /// Something is under way that takes so long at most, and nothing is answered meanwhile.
    Busy(Duration),
    /// Whether the configuration that it read can be used.
    ConfigLoaded(Result<(), String>),
}
