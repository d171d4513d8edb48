//! [IO] A thread that drains one ring of several and lets pass what has a right head.
//!
//! In a flood nearly everything is faulty or of no client. A sieve reads those
//! frames and checks their heads' tags (`frame`, `identify`) beside the other
//! sieves, counts them, and that is their verdict. What has a right head goes,
//! copied, into the queue of the engine's thread, which judges it from the
//! beginning of its way: a sieve remembers nothing and decides nothing else.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tracing::error;

use super::datagram::Kept;
use super::{Capture, FrameFault, Heard, moderation};
use crate::clients::Heads;
use crate::sys::scheduling;
use crate::verdict::{Counters, Reason};

/// Frames between two looks at everything else.
const GULP: usize = 512;

/// What the engine's thread and its sieves share.
#[derive(Debug)]
pub(super) struct Shared {
    heads: Mutex<Heads>,
    /// Verdicts that were not taken over yet.
    noise: Mutex<Counters>,
    /// Right heads for which the queue had no room.
    unqueued: AtomicU64,
    /// Grows when interfaces may have other names.
    renames: AtomicU64,
    /// Readable while the queue has something new, or a sieve has ended.
    pub(super) bell: OwnedFd,
    /// Readable when the sieves are to end; never read.
    end: OwnedFd,
    /// A sieve has ended.
    ended: AtomicBool,
}

impl Shared {
    pub(super) fn new(heads: Heads) -> std::io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            heads: Mutex::new(heads),
            noise: Mutex::default(),
            unqueued: AtomicU64::new(0),
            renames: AtomicU64::new(0),
            bell: eventfd(0, flags)?,
            end: eventfd(0, flags)?,
            ended: AtomicBool::new(false),
        })
    }

    /// What is drained from now on is held against these.
    pub(super) fn use_heads(&self, heads: Heads) {
        *locked(&self.heads) = heads;
    }

    /// The verdicts since the last call.
    pub(super) fn take_noise(&self) -> Counters {
        std::mem::take(&mut *locked(&self.noise))
    }

    pub(super) fn unqueued(&self) -> u64 {
        self.unqueued.load(Ordering::Relaxed)
    }

    pub(super) fn forget_interfaces(&self) {
        self.renames.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn tell_to_end(&self) {
        ring(&self.end);
    }

    /// More is to be fetched.
    pub(super) fn ring(&self) {
        ring(&self.bell);
    }

    pub(super) fn bell_was_heard(&self) {
        let _silent = rustix::io::read(&self.bell, &mut [0_u8; 8]);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn take_in(&self, came: &Sifted<'_>) {
        if came.noise != Counters::default() {
            locked(&self.noise).add(&came.noise);
        }
        if came.unqueued > 0 {
            self.unqueued.fetch_add(came.unqueued, Ordering::Relaxed);
        }
        if came.queued {
            self.ring();
        }
    }
}

/// A thread that panicked while it held one of these locks left a whole value behind.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ring(bell: &OwnedFd) {
    // Full means that it rings already.
    let _rings = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

/// One ring, and where its datagrams go.
#[derive(Debug)]
pub(super) struct Sieve {
    capture: Capture,
    queue: SyncSender<Kept>,
    shared: Arc<Shared>,
    renames: u64,
}

impl Sieve {
    pub(super) fn new(capture: Capture, queue: SyncSender<Kept>, shared: Arc<Shared>) -> Self {
        Self {
            capture,
            queue,
            shared,
            renames: 0,
        }
    }

    /// Serves until told to end.
    pub(super) fn run(mut self) {
        let _said = SayEnded(Arc::clone(&self.shared));
        // The engine's thread has the same wishes, and says what is refused.
        let _may_wait = scheduling::wake_promptly();
        loop {
            let came = self.drain();
            match self.wait(came) {
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
        let renames = self.shared.renames.load(Ordering::Relaxed);
        if self.renames != renames {
            self.renames = renames;
            self.capture.forget_interfaces();
        }
        let heads = locked(&self.shared.heads).clone();
        let mut sifted = Sifted::new(&heads, &self.queue);
        let came = self.capture.drain(GULP, |frame| sifted.sift(frame));
        self.shared.take_in(&sifted);
        came
    }

    /// Waits for frames; in a flood for a moment, and not for them. True: it is time to end.
    fn wait(&self, came: usize) -> rustix::io::Result<bool> {
        let pause = moderation::pause(came);
        let longest = if came >= GULP {
            Some(Duration::ZERO)
        } else {
            pause
        };
        let mut ready = [
            PollFd::new(&self.shared.end, PollFlags::IN),
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

/// However a sieve ends, the engine's thread hears of it: without it a share of the
/// packets would be looked at by nobody.
struct SayEnded(Arc<Shared>);

impl Drop for SayEnded {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.ring();
    }
}

/// What became of the frames of one gulp.
struct Sifted<'a> {
    heads: &'a Heads,
    queue: &'a SyncSender<Kept>,
    noise: Counters,
    queued: bool,
    unqueued: u64,
}

impl<'a> Sifted<'a> {
    fn new(heads: &'a Heads, queue: &'a SyncSender<Kept>) -> Self {
        Self {
            heads,
            queue,
            noise: Counters::default(),
            queued: false,
            unqueued: 0,
        }
    }

    fn sift(&mut self, frame: Result<Heard<'_>, FrameFault>) {
        let datagram = match frame {
            Ok(Heard::Datagram(datagram)) => datagram,
            // Several rings keep no order among knocks, so the configuration has none then.
            Ok(Heard::Knock(_)) => return self.noise.count(Reason::Knock),
            Err(fault) => return self.noise.count_frame(fault),
        };
        if let Err(fault) = self.heads.identify(datagram.payload()) {
            return self.noise.count(fault.into());
        }
        match self.queue.try_send(Kept::of(&datagram)) {
            Ok(()) => self.queued = true,
            Err(_full) => self.unqueued = self.unqueued.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spa_keys::ServerSecret;

    #[test]
    fn the_engines_thread_hears_of_a_sieve_that_ends_by_itself() {
        let secret = ServerSecret::generate().unwrap();
        let shared = Arc::new(Shared::new(Heads::of(&[Arc::new(secret)])).unwrap());
        let rings = || {
            let mut bell = [PollFd::new(&shared.bell, PollFlags::IN)];
            poll(&mut bell, Some(&Timespec::default())).unwrap() > 0
        };
        assert!(!shared.has_ended() && !rings());
        let of_the_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let _said = SayEnded(of_the_thread);
            panic!("by itself");
        });
        assert!(thread.join().is_err());
        assert!(shared.has_ended() && rings());
    }
}
