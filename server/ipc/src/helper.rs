//! [IO] The engine's side of a helper process.
//!
//! Starting a helper needs root, so the engine does it before it drops its privileges. Afterwards
//! nothing here blocks, except [`Helper::wait`] and [`Helper::stop`].

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{fmt, io};

use rustix::io::Errno;
use spad_model::Paths;

use super::socket::{self, Incoming};
use super::{DecodeError, Message};

/// How long a helper may take to start: `nft` with 50,000 elements takes seconds, and so does a
/// large configuration.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a stopping helper may be silent.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What is wrong with a helper, or with the socket to it.
#[derive(Debug)]
pub struct HelperError {
    /// The helper.
    pub name: &'static str,
    /// What is wrong.
    pub kind: HelperErrorKind,
}

/// What is wrong with a helper.
#[derive(Debug)]
pub enum HelperErrorKind {
    /// It could not be started, or gave up.
    NotStarted(String),
    /// It has closed its end of the socket.
    Ended,
    /// It has not responded for so long.
    Unresponsive {
        /// The id of its process.
        process: u32,
        /// For how long.
        span: Duration,
    },
    /// It sent what is not a message.
    Message(DecodeError),
    /// The kernel refused a call on the socket.
    Socket(io::Error),
}

impl fmt::Display for HelperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        match &self.kind {
            HelperErrorKind::NotStarted(reason) => write!(
                f,
                "{name} did not start: {reason}\n  help: see what was said before, and what limits the unit has (`systemctl show spad`)"
            ),
            HelperErrorKind::Ended => write!(f, "{name} has ended"),
            HelperErrorKind::Unresponsive { process, span } => {
                let seconds = span.as_secs();
                write!(
                    f,
                    "{name} (process {process}) has not responded for {seconds} seconds"
                )
            }
            HelperErrorKind::Message(reason) => write!(f, "not a message of {name} ({reason})"),
            HelperErrorKind::Socket(error) => write!(f, "the socket to {name}: {error}"),
        }
    }
}

impl std::error::Error for HelperError {}

/// What the first message of a helper says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Startup {
    /// It works.
    Ready,
    /// It gives up, for this reason.
    Failed(String),
    /// Neither, which no helper does.
    Unexpected,
}

/// A helper process that receives `Tx` and sends `Rx`.
#[derive(Debug)]
pub struct Helper<Tx, Rx> {
    socket: OwnedFd,
    process: Process,
    buffer: Vec<u8>,
    /// What the socket has no room for yet.
    backlog: VecDeque<Tx>,
    messages: PhantomData<Rx>,
}

/// A process that may be killed by dropping it.
#[derive(Debug)]
struct Process {
    child: Child,
    kill_on_drop: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.kill_on_drop {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl<Tx: Message, Rx: Message> Helper<Tx, Rx> {
    /// Executes `binary` with the hidden subcommand of this helper.
    ///
    /// # Errors
    /// Why it could not be executed.
    pub fn spawn(binary: &Path, subcommand: &str, paths: &Paths) -> Result<Self, HelperError> {
        let not_started = |reason| Self::error(HelperErrorKind::NotStarted(reason));
        let (socket, theirs) = socket::pair()
            .map_err(|error| not_started(format!("cannot make a socket to it: {error}")))?;
        let child = execute(binary, subcommand, paths, theirs).map_err(not_started)?;
        Ok(Self {
            socket,
            process: Process {
                child,
                kill_on_drop: false,
            },
            buffer: socket::buffer_for::<Rx>(),
            backlog: VecDeque::new(),
            messages: PhantomData,
        })
    }

    /// From now on dropping this kills the process, until it is ready.
    pub const fn kill_on_drop(&mut self) {
        self.process.kill_on_drop = true;
    }

    /// Waits for the first message, which says whether the helper works.
    ///
    /// # Errors
    /// Why it does not, in its own words if it had any.
    pub fn wait_ready(&mut self, classify: impl FnOnce(Rx) -> Startup) -> Result<(), HelperError> {
        let reason = match self.wait(START_TIMEOUT)? {
            true => match self.receive() {
                Ok(message) => match message.map_or(Startup::Unexpected, classify) {
                    Startup::Ready => {
                        self.process.kill_on_drop = false;
                        return Ok(());
                    }
                    Startup::Failed(reason) => reason,
                    Startup::Unexpected => "it spoke out of turn".to_owned(),
                },
                Err(HelperError {
                    kind: HelperErrorKind::Ended,
                    ..
                }) => match self.process.child.wait() {
                    Ok(status) => format!("it ended ({status})"),
                    Err(error) => error.to_string(),
                },
                Err(error) => return Err(error),
            },
            false => {
                let _ = self.process.child.kill();
                format!("no word from it for {} seconds", START_TIMEOUT.as_secs())
            }
        };
        Err(Self::error(HelperErrorKind::NotStarted(reason)))
    }

    /// Sends a message behind those that wait already. It waits too where there is no room.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn send(&mut self, message: Tx) -> Result<(), HelperError> {
        self.backlog.push_back(message);
        self.flush()
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// The helper has ended, or what the kernel says.
    pub fn flush(&mut self) -> Result<(), HelperError> {
        while let Some(message) = self.backlog.front() {
            match socket::try_send(&self.socket, message) {
                Ok(()) => drop(self.backlog.pop_front()),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    return Err(Self::error(HelperErrorKind::Ended));
                }
                Err(error) => return Err(Self::error(HelperErrorKind::Socket(error.into()))),
            }
        }
        Ok(())
    }

    /// How many messages wait for room.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// Whether messages wait for room.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Drops the messages that wait for room.
    pub fn discard_backlog(&mut self) {
        self.backlog.clear();
    }

    /// Receives the next message, if there is one; never blocks.
    ///
    /// # Errors
    /// The helper has ended, sent what is not a message, or what the kernel says.
    pub fn receive(&mut self) -> Result<Option<Rx>, HelperError> {
        let kind = match socket::receive(&self.socket, &mut self.buffer) {
            Ok(Incoming::Message(bytes)) => match Rx::from_bytes(bytes) {
                Ok(message) => return Ok(Some(message)),
                Err(error) => HelperErrorKind::Message(error),
            },
            Ok(Incoming::Nothing) => return Ok(None),
            Ok(Incoming::Closed) => HelperErrorKind::Ended,
            Err(error) => HelperErrorKind::Socket(error.into()),
        };
        Err(Self::error(kind))
    }

    /// Blocks until [`Self::receive`] has a message or the end; false where neither came in time.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self, timeout: Duration) -> Result<bool, HelperError> {
        socket::wait_readable(&self.socket, Some(timeout))
            .map_err(|error| Self::error(HelperErrorKind::Socket(error)))
    }

    /// The id of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Sends the last message and waits until the helper exits, at most 5 s after each message
    /// of it. Gives how it exited, if that is known.
    pub fn stop(mut self, message: Tx, mut on_message: impl FnMut(Rx)) -> Option<ExitStatus> {
        let _ = self.send(message);
        // Closing its end is the last thing that it does.
        while self.wait(STOP_TIMEOUT).unwrap_or(false) {
            match self.receive() {
                Ok(Some(message)) => on_message(message),
                Ok(None) => {}
                Err(_) => return self.process.child.wait().ok(),
            }
        }
        // It runs as another user: where this fails, the service manager kills it.
        self.process.child.kill().ok()?;
        self.process.child.wait().ok()
    }

    const fn error(kind: HelperErrorKind) -> HelperError {
        HelperError {
            name: Tx::HELPER,
            kind,
        }
    }
}

impl<Tx, Rx> AsFd for Helper<Tx, Rx> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Executes the helper with its socket as standard input.
fn execute(
    binary: &Path,
    subcommand: &str,
    paths: &Paths,
    socket: OwnedFd,
) -> Result<Child, String> {
    let stdout = OpenOptions::new().read(true).write(true).open("/dev/null");
    let stdout = stdout.map_err(|error| format!("cannot open /dev/null: {error}"))?;
    Command::new(binary)
        .arg(subcommand)
        .arg("--config")
        .arg(&paths.config)
        .arg("--state")
        .arg(&paths.state)
        .arg("--run")
        .arg(&paths.run)
        .stdin(Stdio::from(socket))
        .stdout(stdout)
        .spawn()
        .map_err(|error| format!("cannot execute {}: {error}", binary.display()))
}
