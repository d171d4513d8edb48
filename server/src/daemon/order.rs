//! What the supervisor hands to the engine's thread, and how it wakes it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

use crate::control::{Request, Response};
use crate::engine::GrantListing;

use super::configuration::Prepared;

/// One thing for the engine's thread to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Answer this; never [`Request::Reload`], which comes as [`Order::Take`], nor
    /// [`Request::Grants`], which comes as [`Order::List`].
    Answer(Request, oneshot::Sender<Response>),
    /// Grant or revoke by hand, for the user with this number.
    ByHand(Request, u32, oneshot::Sender<Response>),
    /// List what is open, a portion at a time.
    List(oneshot::Sender<GrantListing>),
    /// Use this configuration, once the firewall writer uses it too.
    Take(Box<Prepared>, oneshot::Sender<Response>),
    /// A configuration was refused before it came here: note that.
    ReloadFailed,
    /// Write everything down and end.
    Stop,
}

/// The supervisor's end.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    queue: Sender<Order>,
    bell: Arc<OwnedFd>,
}

/// The engine's end; its descriptor is readable while orders wait.
#[derive(Debug)]
pub(super) struct Inbox {
    queue: Receiver<Order>,
    bell: Arc<OwnedFd>,
}

/// A queue of orders with a bell.
///
/// # Errors
/// Where the kernel has no event descriptor left.
pub(super) fn queue() -> std::io::Result<(Orders, Inbox)> {
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, receiver) = channel();
    let orders = Orders {
        queue: sender,
        bell: Arc::clone(&bell),
    };
    let inbox = Inbox {
        queue: receiver,
        bell,
    };
    Ok((orders, inbox))
}

impl Orders {
    /// Hands one order over. An engine that has ended drops it, and with it
    /// the place for the answer.
    pub(super) fn give(&self, order: Order) {
        if self.queue.send(order).is_ok() {
            // Full means that it rings already.
            let _rings = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }
}

impl Inbox {
    /// The next order, if one waits.
    #[must_use]
    pub(super) fn take(&self) -> Option<Order> {
        self.queue.try_recv().ok()
    }

    /// Stops the bell; orders given from here on ring it again.
    pub(super) fn heard(&self) {
        let _silent = rustix::io::read(&self.bell, &mut [0_u8; 8]);
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
