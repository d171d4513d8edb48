//! [IO] The runner's end of the socket to the engine.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::RunnerError;
use super::message::{FromRunner, ToRunner};

/// The longest message of the engine, in bytes.
const LONGEST: usize = 512;

/// The socket.
#[derive(Debug)]
pub(super) struct Engine(OwnedFd);

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// A message.
    Message(ToRunner),
    /// Nothing more for now.
    Nothing,
    /// The engine has ended.
    End,
}

impl Engine {
    pub(super) const fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Takes the next message; never waits.
    pub(super) fn receive(&self) -> Result<Came, RunnerError> {
        // One byte more than the longest: what does not fit is no message.
        let mut buffer = [0; LONGEST + 1];
        let flags = RecvFlags::DONTWAIT;
        match rustix::io::retry_on_intr(|| recv(&self.0, buffer.as_mut_slice(), flags)) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => Ok(Came::End),
            Ok((length, _)) => {
                let bytes = buffer.get(..length).unwrap_or(&[]);
                Ok(Came::Message(ToRunner::decode(bytes)?))
            }
            Err(Errno::AGAIN) => Ok(Came::Nothing),
            Err(error) => Err(RunnerError::Socket(error.into())),
        }
    }

    /// Sends a message; waits where the engine is slow. An engine that has ended is noticed
    /// by `receive`.
    pub(super) fn send(&self, message: &FromRunner) -> Result<(), RunnerError> {
        let bytes = message.encode();
        match rustix::io::retry_on_intr(|| send(&self.0, &bytes, SendFlags::NOSIGNAL)) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(error) => Err(RunnerError::Socket(error.into())),
        }
    }
}

impl AsFd for Engine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
