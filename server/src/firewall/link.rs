//! [IO] The engine's end of the socket to the firewall writer.
//!
//! Starts the writer by executing the same binary, which needs root or
//! CAP_NET_ADMIN, so this comes before the engine gives up its privileges.
//! It reads the configuration while the engine does, and changes nothing until the engine knows
//! that no other daemon is at work. Never blocks afterwards, except in [`Writer::stop`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair, sockopt,
};

use super::codec::BadMessage;
use super::message::{FromWriter, MAX_MESSAGE, ToWriter};
use crate::paths::Paths;
use crate::program;

/// The hidden subcommand that the writer is started as; its socket is standard input.
pub const SUBCOMMAND: &str = "firewall-writer";

/// How long the writer may take until the table stands: `nft` with 50,000 elements takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the writer may take to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Room for changes under way, in bytes: hundreds of the longest.
const BUFFER: usize = 1 << 20;

/// What is wrong with the way to the writer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
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
    Message(#[from] BadMessage),
    /// The kernel refused a call on the socket.
    #[error("the socket to the firewall writer: {0}")]
    Socket(io::Error),
}

/// A writer that reads the configuration and changes nothing yet. It is ended where it is
/// dropped.
#[derive(Debug)]
pub struct IdleWriter(Writer);

impl IdleWriter {
    /// Tells it to load the table, and waits until that stands.
    ///
    /// # Errors
    /// As [`Self::hide`] and [`Self::ready`].
    pub fn begin(self) -> Result<Writer, LinkError> {
        self.hide()?;
        self.ready()
    }

    /// Executes `binary` as the writer.
    ///
    /// # Errors
    /// Why it could not be executed.
    pub fn execute(binary: &Path, paths: &Paths) -> Result<Self, LinkError> {
        let (socket, theirs) = pair().map_err(|error| {
            LinkError::NotStarted(format!("cannot make a socket to it: {error}"))
        })?;
        let child = execute(binary, SUBCOMMAND, paths, theirs).map_err(LinkError::NotStarted)?;
        Ok(Self(Writer {
            socket,
            process: Process {
                child,
                works: false,
            },
            buffer: vec![0; MAX_MESSAGE],
        }))
    }

    /// Tells it to load the table. No other daemon may be at work: a second one must not
    /// change the table of the first.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn hide(&self) -> Result<(), LinkError> {
        match self.0.send(&ToWriter::Begin) {
            // Why it ended is told when it is waited for.
            Ok(()) | Err(LinkError::Ended) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until the table stands, which [`Self::hide`] asked for.
    ///
    /// # Errors
    /// Why it could not start, in the writer's own words where it had any.
    pub fn ready(mut self) -> Result<Writer, LinkError> {
        self.0.await_ready()?;
        self.0.process.works = true;
        Ok(self.0)
    }
}

/// Its process. One that works ends by itself, and first puts in order what it must.
#[derive(Debug)]
struct Process {
    child: Child,
    works: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.works {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The running writer.
#[derive(Debug)]
pub struct Writer {
    socket: OwnedFd,
    process: Process,
    buffer: Vec<u8>,
}

impl Writer {
    fn await_ready(&mut self) -> Result<(), LinkError> {
        if !self.wait(PATIENCE)? {
            return Err(LinkError::NotStarted(format!(
                "no word from it for {} seconds",
                PATIENCE.as_secs()
            )));
        }
        match self.receive() {
            Ok(Some(FromWriter::Ready)) => Ok(()),
            Ok(Some(FromWriter::Failed(text))) => Err(LinkError::NotStarted(text)),
            Ok(_) => Err(LinkError::NotStarted("it spoke out of turn".to_owned())),
            Err(LinkError::Ended) => Err(LinkError::NotStarted(match self.process.child.wait() {
                Ok(status) => format!("it ended ({status})"),
                Err(error) => error.to_string(),
            })),
            Err(error) => Err(error),
        }
    }

    /// Sends one message; never blocks.
    ///
    /// # Errors
    /// [`LinkError::Busy`] where too many wait; then nothing was sent.
    pub fn send(&self, message: &ToWriter) -> Result<(), LinkError> {
        let bytes = message.encode();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::io::retry_on_intr(|| send(&self.socket, &bytes, flags)) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::AGAIN) => Err(LinkError::Busy),
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(LinkError::Ended),
            Err(error) => Err(LinkError::Socket(error.into())),
        }
    }

    /// Takes the next message, if one is there; never blocks.
    ///
    /// # Errors
    /// [`LinkError::Ended`] where the writer has ended: the engine ends too.
    pub fn receive(&mut self) -> Result<Option<FromWriter>, LinkError> {
        let flags = RecvFlags::DONTWAIT;
        let received =
            rustix::io::retry_on_intr(|| recv(&self.socket, self.buffer.as_mut_slice(), flags));
        match received {
            // No message is empty, so this is the end of the socket.
            Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET) => Err(LinkError::Ended),
            Ok((length, _)) => Ok(Some(FromWriter::decode(
                self.buffer.get(..length).unwrap_or(&[]),
            )?)),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(LinkError::Socket(error.into())),
        }
    }

    /// Blocks until a message or the end is there, at most `patience`; false where neither came.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self, patience: Duration) -> Result<bool, LinkError> {
        has_word(&self.socket, patience).map_err(LinkError::Socket)
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
        while self.wait(FAREWELL).unwrap_or(false) {
            if self.receive().is_err() {
                return self.process.child.wait().ok();
            }
        }
        // It has another user: the service manager ends what cannot be ended from here.
        self.process.child.kill().ok()?;
        self.process.child.wait().ok()
    }
}

impl AsFd for Writer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Executes `binary` as a process of ours beside the engine, its socket as standard input;
/// or why not.
pub(crate) fn execute(
    binary: &Path,
    subcommand: &str,
    paths: &Paths,
    socket: OwnedFd,
) -> Result<Child, String> {
    let stdout = program::null().map_err(|error| error.to_string())?;
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

/// Whether a message or the end comes within `patience`; blocks until then.
pub(crate) fn has_word(socket: &OwnedFd, patience: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(patience).ok();
    let mut ready = [PollFd::new(socket, PollFlags::IN)];
    let count = rustix::io::retry_on_intr(|| poll(&mut ready, timeout.as_ref()))?;
    Ok(count > 0)
}

/// Two ends of a socket that keeps messages apart.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    for end in [&ours, &theirs] {
        // A smaller buffer serves too, so a kernel that gives less is no error.
        if sockopt::set_socket_send_buffer_size_force(end, BUFFER).is_err() {
            sockopt::set_socket_send_buffer_size(end, BUFFER)?;
        }
    }
    Ok((ours, theirs))
}
