//! [IO] Tells the engine that something takes its time.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use super::WriterError;
use crate::FromWriter;

/// Tells the engine that something takes its time. Clones share what they announced.
#[derive(Clone, Debug)]
pub(super) struct Announcer {
    socket: Rc<OwnedFd>,
    announced: Rc<Cell<bool>>,
}

impl Announcer {
    /// Announces on this socket to the engine.
    pub(super) fn new(engine: &impl AsFd) -> Result<Self, WriterError> {
        let socket = engine.as_fd().try_clone_to_owned();
        Ok(Self {
            socket: Rc::new(socket.map_err(WriterError::Socket)?),
            announced: Rc::default(),
        })
    }

    /// Announces work that takes so long at most.
    pub(super) fn busy(&self, span: Duration) {
        // If the message is lost, the engine may take the writer for unresponsive and say so.
        let _lost = spad_ipc::try_send(&self.socket, &FromWriter::Busy(span));
        self.announced.set(true);
    }

    /// Whether something was announced since the last call.
    pub(super) fn take_announced(&self) -> bool {
        self.announced.take()
    }
}
