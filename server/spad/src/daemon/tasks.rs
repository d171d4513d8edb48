//! Tasks that the supervisor sends to the engine's thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::event::{EventfdFlags, eventfd};
use spad_engine::GrantListing;
use spad_model::ClientName;
use tokio::sync::oneshot;

use super::admin::AdminRequest;
use super::load_config::LoadedConfig;
use super::reload::Candidate;
use super::reply::Reply;

/// One task of the engine's thread.
#[derive(Debug)]
pub(super) enum EngineTask {
    Status(Reply),
    Confirm(Reply),
    Disable(ClientName, Reply),
    ResetClient(ClientName, Reply),
    ResetReplay(Reply),
    /// Grant or revoke for the local user `uid`.
    Admin {
        request: AdminRequest,
        uid: u32,
        reply: Reply,
    },
    /// List the open grants, one page at a time.
    List(oneshot::Sender<GrantListing>),
    /// Use this configuration, once runner and writer accept it.
    ApplyConfig(Candidate<Box<LoadedConfig>>),
    /// A configuration was refused before it reached the engine's thread.
    ReloadFailed,
    /// Write the state and exit.
    Stop,
}

/// The supervisor's end.
#[derive(Debug, Clone)]
pub(super) struct TaskSender {
    queue: Sender<EngineTask>,
    eventfd: Arc<OwnedFd>,
}

/// The engine's end. Its descriptor is readable while tasks wait.
#[derive(Debug)]
pub(super) struct TaskQueue {
    queue: Receiver<EngineTask>,
    eventfd: Arc<OwnedFd>,
}

/// Makes a queue of tasks and the eventfd that wakes its reader.
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
    /// Sends one task. An engine that has ended drops it and its reply.
    pub(super) fn send(&self, task: EngineTask) {
        if self.queue.send(task).is_ok() {
            // A full eventfd is readable already.
            let _readable = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
        }
    }
}

impl TaskQueue {
    /// The next task, if one waits.
    #[must_use]
    pub(super) fn try_next(&self) -> Option<EngineTask> {
        self.queue.try_recv().ok()
    }

    /// Clears the eventfd. A later task makes it readable again.
    pub(super) fn clear(&self) {
        let _cleared = rustix::io::read(&self.eventfd, &mut [0_u8; 8]);
    }
}

impl AsFd for TaskQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}
