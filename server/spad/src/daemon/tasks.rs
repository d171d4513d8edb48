//! What the supervisor hands to the engine's thread, and how it wakes it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

use crate::control::Request;
use spad_engine::GrantListing;

use super::load_config::LoadedConfig;
use super::reload::Candidate;
use super::reply::Reply;

/// One thing for the engine's thread to do.
#[derive(Debug)]
pub(super) enum EngineTask {
    /// Answer this; never [`Request::Reload`], which comes as [`EngineTask::ApplyConfig`], nor
    /// [`Request::Grants`], which comes as [`EngineTask::List`].
    Request(Request, Reply),
    /// Grant or revoke by hand, for the user with this number.
    Admin(Request, u32, Reply),
    /// List what is open, a portion at a time.
    List(oneshot::Sender<GrantListing>),
    /// Use this configuration, once the firewall writer uses it too.
    ApplyConfig(Candidate<Box<LoadedConfig>>),
    /// A configuration was refused before it came here.
    ReloadFailed,
    /// Write everything down and end.
    Stop,
}

/// The supervisor's end.
#[derive(Debug, Clone)]
pub(super) struct TaskSender {
    queue: Sender<EngineTask>,
    eventfd: Arc<OwnedFd>,
}

/// The engine's end; its descriptor is readable while orders wait.
#[derive(Debug)]
pub(super) struct TaskQueue {
    queue: Receiver<EngineTask>,
    eventfd: Arc<OwnedFd>,
}

/// A queue of orders with a bell.
///
/// # Errors
/// Where the kernel has no event descriptor left.
pub(super) fn task_channel() -> std::io::Result<(TaskSender, TaskQueue)> {
    let descriptor = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, receiver) = channel();
    let task_sender = TaskSender {
        queue: sender,
        eventfd: Arc::clone(&descriptor),
    };
    let task_queue = TaskQueue {
        queue: receiver,
        eventfd: descriptor,
    };
    Ok((task_sender, task_queue))
}

impl TaskSender {
    /// Hands one order over. An engine that has ended drops it, and with it
    /// the place for the answer.
    pub(super) fn send(&self, task: EngineTask) {
        if self.queue.send(task).is_ok() {
            // Full means that it rings already.
            let _rings = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
        }
    }
}

impl TaskQueue {
    /// The next order, if one waits.
    #[must_use]
    pub(super) fn try_next(&self) -> Option<EngineTask> {
        self.queue.try_recv().ok()
    }

    /// Stops the bell; orders given from here on ring it again.
    pub(super) fn clear(&self) {
        let _silent = rustix::io::read(&self.eventfd, &mut [0_u8; 8]);
    }
}

impl AsFd for TaskQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}
