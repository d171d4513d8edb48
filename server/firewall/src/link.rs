//! [IO] The engine's end of the socket to the firewall writer.
//!
//! The writer reads the configuration while the engine does. It changes nothing until the engine
//! has locked the state, so no two daemons change one table.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use spad_ipc::{Helper, HelperError, HelperErrorKind, Startup};
use spad_model::Paths;

use super::message::{FromWriter, ToWriter};

/// The hidden subcommand that executes the writer.
pub const SUBCOMMAND: &str = "firewall-writer";

/// A writer that reads the configuration and changes nothing yet. Dropping it kills it.
#[derive(Debug)]
pub struct StartingWriter(WriterClient);

impl StartingWriter {
    /// Executes `binary` as the writer.
    ///
    /// # Errors
    /// Why it could not be executed.
    pub fn spawn(binary: &Path, paths: &Paths) -> Result<Self, HelperError> {
        let mut helper = Helper::spawn(binary, SUBCOMMAND, paths)?;
        helper.kill_on_drop();
        Ok(Self(WriterClient(helper)))
    }

    /// Tells it to load the table. No other daemon may run: it would have changed the table
    /// under that one.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn send_begin(&mut self) -> Result<(), HelperError> {
        match self.0.send(ToWriter::Begin) {
            // `wait_ready` says why it ended.
            Err(HelperError {
                kind: HelperErrorKind::Ended,
                ..
            }) => Ok(()),
            other => other,
        }
    }

    /// Waits until it has loaded the table, as [`Self::send_begin`] told it to.
    ///
    /// # Errors
    /// Why it could not start, in its own words if it had any.
    pub fn wait_ready(mut self) -> Result<WriterClient, HelperError> {
        self.0.0.wait_ready(|message| match message {
            FromWriter::Ready => Startup::Ready,
            FromWriter::Failed(reason) => Startup::Failed(reason),
            _ => Startup::Unexpected,
        })?;
        Ok(self.0)
    }

    /// Tells it to load the table, and waits until it has.
    ///
    /// # Errors
    /// As [`Self::send_begin`] and [`Self::wait_ready`].
    pub fn begin(mut self) -> Result<WriterClient, HelperError> {
        self.send_begin()?;
        self.wait_ready()
    }
}

/// The running writer.
#[derive(Debug)]
pub struct WriterClient(Helper<ToWriter, FromWriter>);

impl WriterClient {
    /// Sends a message behind those that wait already; see [`Helper::send`].
    ///
    /// # Errors
    /// The writer has ended, or the socket failed.
    pub fn send(&mut self, message: ToWriter) -> Result<(), HelperError> {
        self.0.send(message)
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn flush(&mut self) -> Result<(), HelperError> {
        self.0.flush()
    }

    /// How many messages wait for room. The executor refuses changes above a bound.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.0.backlog()
    }

    /// Whether messages wait for room.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        self.0.has_backlog()
    }

    /// Receives the next message, if there is one; never blocks.
    ///
    /// # Errors
    /// The writer has ended, so the engine ends too; or the socket failed.
    pub fn receive(&mut self) -> Result<Option<FromWriter>, HelperError> {
        self.0.receive()
    }

    /// Blocks until a message or the end is there; false where neither came in time.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self, timeout: Duration) -> Result<bool, HelperError> {
        self.0.wait(timeout)
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Stops the writer, which leaves the table. Changes that still wait for room are not made.
    pub fn stop(mut self) -> Option<ExitStatus> {
        self.0.discard_backlog();
        self.0.stop(ToWriter::Stop, |_| ())
    }
}

impl AsFd for WriterClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
