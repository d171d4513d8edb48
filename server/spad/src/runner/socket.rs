//! [IO] The runner's end of the socket to the engine.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::RunnerError;
use super::message::{FromRunner, ToRunner};

/// The longest message of the engine, in bytes.
const MAX_REQUEST_LEN: usize = 512;

/// The socket.
#[derive(Debug)]
pub(super) struct Endpoint(OwnedFd);

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A message.
    Message(ToRunner),
    /// Nothing more for now.
    Nothing,
    /// The engine has ended.
    Closed,
}

impl Endpoint {
    pub(super) const fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Takes the next message; never waits.
    pub(super) fn receive(&self) -> Result<Incoming, RunnerError> {
        // One byte more than the longest: what does not fit is no message.
        let mut buffer = [0; MAX_REQUEST_LEN + 1];
        let flags = RecvFlags::DONTWAIT;
        match rustix::io::retry_on_intr(|| recv(&self.0, buffer.as_mut_slice(), flags)) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => Ok(Incoming::Closed),
            Ok((length, _)) => {
                let bytes = buffer.get(..length).unwrap_or(&[]);
                Ok(Incoming::Message(ToRunner::decode(bytes)?))
            }
            Err(Errno::AGAIN) => Ok(Incoming::Nothing),
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

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
