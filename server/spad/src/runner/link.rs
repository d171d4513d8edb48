//! [IO] The engine's end of the socket to the command runner.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::ExitStatus;

use spad_ipc::{Helper, HelperError, Startup};
use spad_model::Paths;

use super::message::{FromRunner, ToRunner};

/// The hidden subcommand that executes the runner.
pub const SUBCOMMAND: &str = "command-runner";

/// The running runner. The engine asks for few runs at once, so few messages ever wait for it.
#[derive(Debug)]
pub struct RunnerClient(Helper<ToRunner, FromRunner>);

impl RunnerClient {
    /// Executes `binary` as the runner and waits until it accepts requests.
    ///
    /// # Errors
    /// Why it could not start, in its own words if it had any.
    pub fn start(binary: &Path, paths: &Paths) -> Result<Self, HelperError> {
        let mut helper = Helper::spawn(binary, SUBCOMMAND, paths)?;
        helper.wait_ready(|message| match message {
            FromRunner::Ready => Startup::Ready,
            FromRunner::Failed(reason) => Startup::Failed(reason),
            _ => Startup::Unexpected,
        })?;
        Ok(Self(helper))
    }

    /// Sends a message behind those that wait already; see [`Helper::send`].
    ///
    /// # Errors
    /// The runner has ended, or the socket failed.
    pub fn send(&mut self, message: ToRunner) -> Result<(), HelperError> {
        self.0.send(message)
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn flush(&mut self) -> Result<(), HelperError> {
        self.0.flush()
    }

    /// Whether messages wait for room.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        self.0.has_backlog()
    }

    /// Receives the next message, if there is one; never blocks.
    ///
    /// # Errors
    /// The runner has ended, so the engine ends too; or the socket failed.
    pub fn receive(&mut self) -> Result<Option<FromRunner>, HelperError> {
        self.0.receive()
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Stops the runner and everything that it runs. Passes on the messages that still come.
    pub fn stop(self, on_message: impl FnMut(FromRunner)) -> Option<ExitStatus> {
        self.0.stop(ToRunner::Stop, on_message)
    }
}

impl AsFd for RunnerClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
