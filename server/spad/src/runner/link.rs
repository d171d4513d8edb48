//! [IO] The engine's end of the socket to the command runner.
//!
//! Starts the runner by executing the same binary, which needs root, so this comes
//! before the engine gives up its privileges. Never blocks afterwards, except in
//! [`RunnerClient::stop`].

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::codec::DecodeError;
use super::message::{FromRunner, MAX_MESSAGE, ToRunner};
use spad_ipc::{seqpacket_pair, spawn, wait_readable};
use spad_model::Paths;

/// The hidden subcommand that the runner is started as; its socket is standard input.
pub const SUBCOMMAND: &str = "command-runner";

/// How long it may take to read a large configuration.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long it may take to end what runs, and itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What is wrong with the way to the runner.
#[derive(Debug, thiserror::Error)]
pub enum RunnerClientError {
    /// It could not be started, or gave up.
    #[error(
        "the command runner did not start: {0}\n  help: see what was said before, and what limits the unit has (`systemctl show spad`)"
    )]
    NotStarted(String),
    /// Its end of the socket is closed.
    #[error("the command runner has ended")]
    Ended,
    /// It has not responded for so long.
    #[error("the command runner (process {process}) has not responded for {} seconds", .span.as_secs())]
    Unresponsive {
        /// Its number.
        process: u32,
        /// For how long.
        span: Duration,
    },
    /// It sent what is no message.
    #[error(transparent)]
    Message(#[from] DecodeError),
    /// The kernel refused a call on the socket.
    #[error("the socket to the command runner: {0}")]
    Socket(io::Error),
}

/// The running runner, and what waits until it has room. The engine asks for few runs at
/// once, so this stays short.
#[derive(Debug)]
pub struct RunnerClient {
    socket: OwnedFd,
    child: Child,
    buffer: Vec<u8>,
    backlog: VecDeque<ToRunner>,
}

impl RunnerClient {
    /// Executes `binary` as the runner and waits until it serves.
    ///
    /// # Errors
    /// Why it could not be started, in its own words where it had any.
    pub fn start(binary: &Path, paths: &Paths) -> Result<Self, RunnerClientError> {
        let not_started = |error: io::Error| RunnerClientError::NotStarted(error.to_string());
        let (socket, theirs) = seqpacket_pair().map_err(not_started)?;
        let child = spawn(binary, SUBCOMMAND, paths, theirs);
        let child = child.map_err(RunnerClientError::NotStarted)?;
        let mut runner = Self {
            socket,
            child,
            buffer: vec![0; MAX_MESSAGE],
            backlog: VecDeque::new(),
        };
        if !runner.wait(START_TIMEOUT)? {
            let _ = runner.child.kill();
            let text = format!("no word from it for {} seconds", START_TIMEOUT.as_secs());
            return Err(RunnerClientError::NotStarted(text));
        }
        match runner.receive() {
            Ok(Some(FromRunner::Ready)) => Ok(runner),
            Ok(Some(FromRunner::Failed(text))) => Err(RunnerClientError::NotStarted(text)),
            Err(RunnerClientError::Ended) => {
                Err(RunnerClientError::NotStarted(match runner.child.wait() {
                    Ok(status) => format!("it ended at once ({status})"),
                    Err(error) => error.to_string(),
                }))
            }
            Ok(_) => Err(RunnerClientError::NotStarted(
                "it spoke out of turn".to_owned(),
            )),
            Err(error) => Err(error),
        }
    }

    /// Sends, in order; what does not go now goes when the runner has room.
    ///
    /// # Errors
    /// The runner has ended, or the socket failed.
    pub fn send(&mut self, message: ToRunner) -> Result<(), RunnerClientError> {
        self.backlog.push_back(message);
        self.flush()
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn flush(&mut self) -> Result<(), RunnerClientError> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        while let Some(message) = self.backlog.front() {
            let bytes = message.encode();
            match rustix::io::retry_on_intr(|| send(&self.socket, &bytes, flags)) {
                Ok(_) => drop(self.backlog.pop_front()),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(RunnerClientError::Ended),
                Err(error) => return Err(RunnerClientError::Socket(error.into())),
            }
        }
        Ok(())
    }

    /// Whether messages wait for the runner to have room.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Takes the next message, if one is there; never blocks.
    ///
    /// # Errors
    /// [`RunnerClientError::Ended`] where the runner has ended: the engine ends too.
    pub fn receive(&mut self) -> Result<Option<FromRunner>, RunnerClientError> {
        let flags = RecvFlags::DONTWAIT;
        let received =
            rustix::io::retry_on_intr(|| recv(&self.socket, self.buffer.as_mut_slice(), flags));
        match received {
            // No message is empty, so this is the end of the socket.
            Ok((_, 0)) | Err(Errno::CONNRESET) => Err(RunnerClientError::Ended),
            Ok((length, _)) => {
                let bytes = self.buffer.get(..length).unwrap_or(&[]);
                Ok(Some(FromRunner::decode(bytes)?))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(RunnerClientError::Socket(error.into())),
        }
    }

    fn wait(&self, timeout: Duration) -> Result<bool, RunnerClientError> {
        wait_readable(&self.socket, timeout).map_err(RunnerClientError::Socket)
    }

    /// The number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the runner to end, with everything that it runs, and waits for it; what it
    /// still says goes to `heard`.
    pub fn stop(mut self, mut on_message: impl FnMut(FromRunner)) -> Option<ExitStatus> {
        let _ = self.send(ToRunner::Stop);
        while self.wait(STOP_TIMEOUT).unwrap_or(false) {
            match self.receive() {
                Ok(Some(message)) => on_message(message),
                Ok(None) => {}
                Err(_) => return self.child.wait().ok(),
            }
        }
        // It has another user: the service manager ends what cannot be ended from here.
        self.child.kill().ok()?;
        self.child.wait().ok()
    }
}

impl AsFd for RunnerClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
