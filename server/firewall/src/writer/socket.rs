//! [IO] The writer's end of the socket to the engine.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};

use super::WriterError;
use crate::message::MAX_MESSAGE;
use crate::{FromWriter, ToWriter};

/// How long an engine may leave no room for an answer where we are impatient.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The socket, and room for one message.
#[derive(Debug)]
pub(super) struct Endpoint {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A message.
    Message(ToWriter),
    /// Nothing more for now.
    Nothing,
    /// The engine has ended.
    Closed,
}

impl Endpoint {
    pub(super) fn new(socket: OwnedFd) -> Self {
        let buffer = vec![0; MAX_MESSAGE];
        Self { socket, buffer }
    }

    /// From now on [`Self::send`] fails where an engine takes nothing for [`SEND_TIMEOUT`]: what is
    /// to be closed must not wait for it.
    pub(super) fn set_send_timeout(&self) -> Result<(), WriterError> {
        sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Send, Some(SEND_TIMEOUT))
            .map_err(|error| WriterError::Socket(error.into()))
    }

    /// For who keeps the engine waiting.
    pub(super) fn announcer(&self) -> Result<Announcer, WriterError> {
        let socket = self.socket.try_clone().map_err(WriterError::Socket)?;
        Ok(Announcer {
            socket: Rc::new(socket),
            announced: Rc::default(),
        })
    }

    /// Takes the next message; never waits.
    pub(super) fn receive(&mut self) -> Result<Incoming, WriterError> {
        let flags = RecvFlags::DONTWAIT;
        match rustix::io::retry_on_intr(|| recv(&self.socket, self.buffer.as_mut_slice(), flags)) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => Ok(Incoming::Closed),
            Ok((length, _)) => {
                let bytes = self.buffer.get(..length).unwrap_or(&[]);
                Ok(Incoming::Message(ToWriter::decode(bytes)?))
            }
            Err(Errno::AGAIN) => Ok(Incoming::Nothing),
            Err(error) => Err(WriterError::Socket(error.into())),
        }
    }

    /// Waits for the first message: whether an engine that lives still says to begin. Where it
    /// has ended, another may hold the state now.
    pub(super) fn wait_for_begin(&mut self) -> Result<bool, WriterError> {
        loop {
            let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut ready, None))
                .map_err(|error| WriterError::Socket(error.into()))?;
            match self.receive()? {
                Incoming::Message(ToWriter::Begin) => return Ok(!self.peer_closed()),
                Incoming::Message(ToWriter::Stop) | Incoming::Closed => return Ok(false),
                Incoming::Message(_) => return Err(WriterError::UnexpectedMessage),
                Incoming::Nothing => {}
            }
        }
    }

    /// Whether the engine has ended, though messages of it may wait here still.
    pub(super) fn peer_closed(&self) -> bool {
        let mut ready = [PollFd::new(&self.socket, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let polled = rustix::io::retry_on_intr(|| poll(&mut ready, Some(&now)));
        polled.is_ok()
            && ready
                .iter()
                .any(|one| one.revents().contains(PollFlags::HUP))
    }

    /// Sends a message; waits where the engine is slow. An engine that has ended is noticed by `receive`.
    pub(super) fn send(&self, message: &FromWriter) -> Result<(), WriterError> {
        let bytes = message.encode();
        match rustix::io::retry_on_intr(|| send(&self.socket, &bytes, SendFlags::NOSIGNAL)) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(Errno::AGAIN) => Err(WriterError::EngineNotReading),
            Err(error) => Err(WriterError::Socket(error.into())),
        }
    }
}

/// Says to the engine that something takes its time.
#[derive(Clone, Debug)]
pub(super) struct Announcer {
    socket: Rc<OwnedFd>,
    announced: Rc<Cell<bool>>,
}

impl Announcer {
    /// Something begins that takes so long at most.
    pub(super) fn busy(&self, span: Duration) {
        let bytes = FromWriter::Busy(span).encode();
        // Where it does not go the engine may think the worst, and says so.
        let _unheard = send(
            &*self.socket,
            &bytes,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
        self.announced.set(true);
    }

    /// Whether something was announced since the last call.
    pub(super) fn take_announced(&self) -> bool {
        self.announced.take()
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
