//! [IO] A helper's end of the socket to the engine.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt;

use super::socket::{self, Incoming};
use super::{DecodeError, Message};

/// What is wrong with the socket to the engine.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The engine sent what is not a message.
    #[error("not a message of {helper} ({reason})")]
    Message {
        /// This helper.
        helper: &'static str,
        /// What is wrong with it.
        reason: DecodeError,
    },
    /// The engine left no room for a message in time.
    #[error("the engine takes no answers")]
    NotReading,
    /// The kernel refused a call.
    #[error("the socket to the engine: {0}")]
    Socket(#[from] io::Error),
}

/// The socket of a helper that receives `Rx` and sends `Tx`.
#[derive(Debug)]
pub struct Endpoint<Rx, Tx> {
    socket: OwnedFd,
    buffer: Vec<u8>,
    messages: PhantomData<(Rx, Tx)>,
}

impl<Rx: Message, Tx: Message> Endpoint<Rx, Tx> {
    /// Takes the socket that the engine passed as standard input.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            buffer: socket::buffer_for::<Rx>(),
            messages: PhantomData,
        }
    }

    /// Makes [`Self::send`] fail where the engine reads nothing for so long.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_send_timeout(&self, timeout: Duration) -> Result<(), EndpointError> {
        sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Send, Some(timeout))
            .map_err(|error| EndpointError::Socket(error.into()))
    }

    /// Receives the next message; never blocks.
    ///
    /// # Errors
    /// It is not a message, or what the kernel says.
    pub fn receive(&mut self) -> Result<Incoming<Rx>, EndpointError> {
        match socket::receive(&self.socket, &mut self.buffer) {
            Ok(Incoming::Message(bytes)) => match Rx::from_bytes(bytes) {
                Ok(message) => Ok(Incoming::Message(message)),
                Err(reason) => Err(EndpointError::Message {
                    helper: Rx::HELPER,
                    reason,
                }),
            },
            Ok(Incoming::Nothing) => Ok(Incoming::Nothing),
            Ok(Incoming::Closed) => Ok(Incoming::Closed),
            Err(error) => Err(EndpointError::Socket(error.into())),
        }
    }

    /// Blocks until [`Self::receive`] has a message or the end.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self) -> Result<(), EndpointError> {
        socket::wait_readable(&self.socket, None)?;
        Ok(())
    }

    /// Sends a message; blocks while the engine leaves no room. [`Self::receive`] reports an
    /// engine that has exited.
    ///
    /// # Errors
    /// The engine reads nothing for the time of [`Self::set_send_timeout`], or what the kernel
    /// says.
    pub fn send(&self, message: &Tx) -> Result<(), EndpointError> {
        match socket::send_blocking(&self.socket, message) {
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(Errno::AGAIN) => Err(EndpointError::NotReading),
            Err(error) => Err(EndpointError::Socket(error.into())),
        }
    }

    /// Whether the engine has exited, even if messages of it still wait here.
    #[must_use]
    pub fn peer_closed(&self) -> bool {
        let mut ready = [PollFd::new(&self.socket, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let polled = retry_on_intr(|| poll(&mut ready, Some(&now)));
        let [socket] = ready;
        polled.is_ok() && socket.revents().contains(PollFlags::HUP)
    }
}

impl<Rx, Tx> AsFd for Endpoint<Rx, Tx> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
