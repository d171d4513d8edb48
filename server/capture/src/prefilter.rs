//! [IO] A thread that drains one of several rings and passes on frames with a valid head.
//!
//! In a flood almost every frame is faulty or of no client. Prefilter threads check heads
//! (`frame`, `identify`) in parallel and count what fails; that is the verdict on it. Frames
//! with a valid head are copied to the queue of the engine's thread, which runs the whole
//! pipeline on them. Prefilter threads keep no per-packet state.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use spad_model::{Counters, FrameFault, HeadKeySet, OwnedDatagram, Reason, Received};
use spad_sys::scheduling;
use tracing::error;

use super::{Capture, moderation};

/// Maximum frames between two checks for other events.
const BATCH: usize = 512;

/// What the engine's thread and the prefilter threads share.
#[derive(Debug)]
pub(super) struct PrefilterShared {
    head_keys: Mutex<HeadKeySet>,
    /// Verdicts that the engine has not collected yet.
    counters: Mutex<Counters>,
    /// Valid heads dropped because the queue was full.
    queue_drops: AtomicU64,
    /// Incremented when interfaces may have been renamed.
    interface_generation: AtomicU64,
    /// Readable while the queue has new items, or a thread has exited.
    pub(super) ready_eventfd: OwnedFd,
    /// Readable when the threads must exit; never read.
    stop_eventfd: OwnedFd,
    /// Whether a thread has exited.
    ended: AtomicBool,
}

impl PrefilterShared {
    pub(super) fn new(heads: HeadKeySet) -> std::io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            head_keys: Mutex::new(heads),
            counters: Mutex::default(),
            queue_drops: AtomicU64::new(0),
            interface_generation: AtomicU64::new(0),
            ready_eventfd: eventfd(0, flags)?,
            stop_eventfd: eventfd(0, flags)?,
            ended: AtomicBool::new(false),
        })
    }

    /// Sets the keys for heads from now on.
    pub(super) fn set_head_keys(&self, head_keys: HeadKeySet) {
        *lock(&self.head_keys) = head_keys;
    }

    /// Takes the verdicts since the last call.
    pub(super) fn take_counters(&self) -> Counters {
        std::mem::take(&mut *lock(&self.counters))
    }

    pub(super) fn queue_drops(&self) -> u64 {
        self.queue_drops.load(Ordering::Relaxed)
    }

    pub(super) fn clear_interface_cache(&self) {
        self.interface_generation.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn request_stop(&self) {
        notify(&self.stop_eventfd);
    }

    /// Signals that the queue has new items.
    pub(super) fn notify(&self) {
        notify(&self.ready_eventfd);
    }

    pub(super) fn clear_notification(&self) {
        let _silent = rustix::io::read(&self.ready_eventfd, &mut [0_u8; 8]);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn merge(&self, batch: &Batch<'_>) {
        if batch.counters != Counters::default() {
            lock(&self.counters).add(&batch.counters);
        }
        if batch.queue_drops > 0 {
            self.queue_drops
                .fetch_add(batch.queue_drops, Ordering::Relaxed);
        }
        if batch.queued {
            self.notify();
        }
    }
}

/// Locks; a thread that panicked with the lock held left a consistent value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn notify(bell: &OwnedFd) {
    // A full counter is readable already.
    let _rings = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

/// A ring and the queue for its datagrams.
#[derive(Debug)]
pub(super) struct PrefilterThread {
    capture: Capture,
    queue: SyncSender<OwnedDatagram>,
    shared: Arc<PrefilterShared>,
    interface_generation: u64,
}

impl PrefilterThread {
    pub(super) fn new(
        capture: Capture,
        queue: SyncSender<OwnedDatagram>,
        shared: Arc<PrefilterShared>,
    ) -> Self {
        Self {
            capture,
            queue,
            shared,
            interface_generation: 0,
        }
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let _notifier = ExitNotifier(Arc::clone(&self.shared));
        // The engine's thread makes the same calls and logs refusals.
        let _may_wait = scheduling::minimise_wakeup_latency();
        loop {
            let received = self.drain();
            match self.wait(received) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    error!("cannot wait for packets: {error}");
                    return;
                }
            }
        }
    }

    fn drain(&mut self) -> usize {
        let generation = self.shared.interface_generation.load(Ordering::Relaxed);
        if self.interface_generation != generation {
            self.interface_generation = generation;
            self.capture.clear_interface_cache();
        }
        let head_keys = lock(&self.shared.head_keys).clone();
        let mut batch = Batch::new(&head_keys, &self.queue);
        let received = self.capture.drain(BATCH, |frame| batch.prefilter(frame));
        self.shared.merge(&batch);
        received
    }

    /// Waits for frames, in a flood for a short pause instead. Returns true when it must exit.
    fn wait(&self, received: usize) -> rustix::io::Result<bool> {
        let pause = moderation::pause_after(received);
        let longest = if received >= BATCH {
            Some(Duration::ZERO)
        } else {
            pause
        };
        let mut ready = [
            PollFd::new(&self.shared.stop_eventfd, PollFlags::IN),
            PollFd::new(&self.capture, PollFlags::IN),
        ];
        let [end_alone @ .., _] = &mut ready;
        let watched = if pause.is_some() {
            end_alone
        } else {
            ready.as_mut_slice()
        };
        // Always below a second.
        let longest = longest.and_then(|longest| Timespec::try_from(longest).ok());
        match poll(watched, longest.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let [end, _] = ready;
        Ok(!end.revents().is_empty())
    }
}

/// Notifies the engine's thread however this thread exits. Otherwise nobody would read
/// this ring's share of the packets.
struct ExitNotifier(Arc<PrefilterShared>);

impl Drop for ExitNotifier {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.notify();
    }
}

/// The result of one batch of frames.
struct Batch<'a> {
    head_keys: &'a HeadKeySet,
    queue: &'a SyncSender<OwnedDatagram>,
    counters: Counters,
    queued: bool,
    queue_drops: u64,
}

impl<'a> Batch<'a> {
    fn new(heads: &'a HeadKeySet, queue: &'a SyncSender<OwnedDatagram>) -> Self {
        Self {
            head_keys: heads,
            queue,
            counters: Counters::default(),
            queued: false,
            queue_drops: 0,
        }
    }

    fn prefilter(&mut self, frame: Result<Received<'_>, FrameFault>) {
        let datagram = match frame {
            Ok(Received::Datagram(datagram)) => datagram,
            // Several rings do not preserve the order of knocks, so the configuration has one then.
            Ok(Received::Knock(_)) => return self.counters.count(Reason::Knock),
            Err(fault) => return self.counters.count_frame(fault),
        };
        if let Err(fault) = self.head_keys.identify(datagram.payload()) {
            return self.counters.count(fault.into());
        }
        match self.queue.try_send(OwnedDatagram::from_datagram(&datagram)) {
            Ok(()) => self.queued = true,
            Err(_full) => self.queue_drops = self.queue_drops.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use spa_keys::ServerSecret;

    use super::*;

    #[test]
    fn the_engines_thread_hears_of_a_sieve_that_ends_by_itself() {
        let secret = ServerSecret::generate().unwrap();
        let shared = Arc::new(PrefilterShared::new(HeadKeySet::new(&[Arc::new(secret)])).unwrap());
        let is_notified = || {
            let mut fds = [PollFd::new(&shared.ready_eventfd, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
        };
        assert!(!shared.has_ended() && !is_notified());
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let _notifier = ExitNotifier(for_thread);
            panic!("by itself");
        });
        assert!(thread.join().is_err());
        assert!(shared.has_ended() && is_notified());
    }
}
