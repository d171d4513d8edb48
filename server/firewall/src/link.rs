//! [IO] The engine's end of the socket to the firewall writer.
//!
//! Starts the writer by executing the same binary, which needs root or
//! CAP_NET_ADMIN, so this comes before the engine gives up its privileges.
//! It reads the configuration while the engine does, and changes nothing until the engine knows
//! that no other daemon is at work. Never blocks afterwards, except in [`WriterClient::stop`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::codec::DecodeError;
use super::message::{FromWriter, MAX_MESSAGE, ToWriter};
use spad_ipc::{seqpacket_pair, spawn, wait_readable};
use spad_model::Paths;

/// The hidden subcommand that the writer is started as; its socket is standard input.
pub const SUBCOMMAND: &str = "firewall-writer";

/// How long the writer may take until the table stands: `nft` with 50,000 elements takes seconds.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the writer may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What is wrong with the way to the writer.
#[derive(Debug, thiserror::Error)]
pub enum WriterClientError {
    /// The writer could not be started, or gave up.
    #[error(
        "the firewall writer did not start: {0}\n  help: see what was said before, and what limits the unit has (`systemctl show spad`)"
    )]
    NotStarted(String),
    /// The writer's end of the socket is closed: it has ended.
    #[error("the firewall writer has ended")]
    Ended,
    /// It has not responded for so long.
    #[error("the firewall writer (process {process}) has not responded for {} seconds", .span.as_secs())]
    Unresponsive {
        /// Its number.
        process: u32,
        /// For how long.
        span: Duration,
    },
    /// Too many messages wait for the writer.
    #[error("the firewall writer does not keep up")]
    Busy,
    /// The writer sent what is no message.
    #[error(transparent)]
    Message(#[from] DecodeError),
    /// The kernel refused a call on the socket.
    #[error("the socket to the firewall writer: {0}")]
    Socket(io::Error),
}

/// A writer that reads the configuration and changes nothing yet. It is ended where it is
/// dropped.
#[derive(Debug)]
pub struct StartingWriter(WriterClient);

impl StartingWriter {
    /// Tells it to load the table, and waits until that stands.
    ///
    /// # Errors
    /// As [`Self::send_begin`] and [`Self::wait_ready`].
    pub fn begin(self) -> Result<WriterClient, WriterClientError> {
        self.send_begin()?;
        self.wait_ready()
    }

    /// Executes `binary` as the writer.
    ///
    /// # Errors
    /// Why it could not be executed.
    pub fn spawn(binary: &Path, paths: &Paths) -> Result<Self, WriterClientError> {
        let (socket, theirs) = seqpacket_pair().map_err(|error| {
            WriterClientError::NotStarted(format!("cannot make a socket to it: {error}"))
        })?;
        let child =
            spawn(binary, SUBCOMMAND, paths, theirs).map_err(WriterClientError::NotStarted)?;
        Ok(Self(WriterClient {
            socket,
            process: Process {
                child,
                is_ready: false,
            },
            buffer: vec![0; MAX_MESSAGE],
        }))
    }

    /// Tells it to load the table. No other daemon may be at work: a second one must not
    /// change the table of the first.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn send_begin(&self) -> Result<(), WriterClientError> {
        match self.0.send(&ToWriter::Begin) {
            // Why it ended is told when it is waited for.
            Ok(()) | Err(WriterClientError::Ended) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until the table stands, which [`Self::send_begin`] asked for.
    ///
    /// # Errors
    /// Why it could not start, in the writer's own words where it had any.
    pub fn wait_ready(mut self) -> Result<WriterClient, WriterClientError> {
        self.0.await_ready()?;
        self.0.process.is_ready = true;
        Ok(self.0)
    }
}

/// Its process. One that works ends by itself, and first puts in order what it must.
#[derive(Debug)]
struct Process {
    child: Child,
    is_ready: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_ready {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The running writer.
#[derive(Debug)]
pub struct WriterClient {
    socket: OwnedFd,
    process: Process,
    buffer: Vec<u8>,
}

impl WriterClient {
    fn await_ready(&mut self) -> Result<(), WriterClientError> {
        if !self.wait(START_TIMEOUT)? {
            return Err(WriterClientError::NotStarted(format!(
                "no word from it for {} seconds",
                START_TIMEOUT.as_secs()
            )));
        }
        match self.receive() {
            Ok(Some(FromWriter::Ready)) => Ok(()),
            Ok(Some(FromWriter::Failed(text))) => Err(WriterClientError::NotStarted(text)),
            Ok(_) => Err(WriterClientError::NotStarted(
                "it spoke out of turn".to_owned(),
            )),
            Err(WriterClientError::Ended) => Err(WriterClientError::NotStarted(
                match self.process.child.wait() {
                    Ok(status) => format!("it ended ({status})"),
                    Err(error) => error.to_string(),
                },
            )),
            Err(error) => Err(error),
        }
    }

    /// Sends one message; never blocks.
    ///
    /// # Errors
    /// [`WriterClientError::Busy`] where too many wait; then nothing was sent.
    pub fn send(&self, message: &ToWriter) -> Result<(), WriterClientError> {
        let bytes = message.encode();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::io::retry_on_intr(|| send(&self.socket, &bytes, flags)) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::AGAIN) => Err(WriterClientError::Busy),
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => {
                Err(WriterClientError::Ended)
            }
            Err(error) => Err(WriterClientError::Socket(error.into())),
        }
    }

    /// Takes the next message, if one is there; never blocks.
    ///
    /// # Errors
    /// [`WriterClientError::Ended`] where the writer has ended: the engine ends too.
    pub fn receive(&mut self) -> Result<Option<FromWriter>, WriterClientError> {
        let flags = RecvFlags::DONTWAIT;
        let received =
            rustix::io::retry_on_intr(|| recv(&self.socket, self.buffer.as_mut_slice(), flags));
        match received {
            // No message is empty, so this is the end of the socket.
            Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET) => Err(WriterClientError::Ended),
            Ok((length, _)) => Ok(Some(FromWriter::decode(
                self.buffer.get(..length).unwrap_or(&[]),
            )?)),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(WriterClientError::Socket(error.into())),
        }
    }

    /// Blocks until a message or the end is there, at most `patience`; false where neither came.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self, timeout: Duration) -> Result<bool, WriterClientError> {
        wait_readable(&self.socket, timeout).map_err(WriterClientError::Socket)
    }

    /// The number of its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process.child.id()
    }

    /// Asks the writer to end and waits for it; how it ended, where that is known.
    /// The table stays.
    pub fn stop(mut self) -> Option<ExitStatus> {
        let _ = self.send(&ToWriter::Stop);
        // The writer closes its end last of all; whatever it still says is not needed.
        while self.wait(STOP_TIMEOUT).unwrap_or(false) {
            if self.receive().is_err() {
                return self.process.child.wait().ok();
            }
        }
        // It has another user: the service manager ends what cannot be ended from here.
        self.process.child.kill().ok()?;
        self.process.child.wait().ok()
    }
}

impl AsFd for WriterClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
