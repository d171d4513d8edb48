//! [IO] Where the engine's thread gets its frames from: its own ring, or the queue
//! behind several rings that sieves drain.
//!
//! Both look the same: a descriptor to wait on, [`Intake::drain`], counts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::datagram::Kept;
use super::sieve::{Shared, Sieve};
use super::{Capture, FrameFault, Heard, NamedIn, Statistics};
use crate::clients::Heads;
use crate::verdict::Counters;

/// Datagrams with a right head that wait for the engine's thread; more are dropped.
const QUEUE: usize = 1024;

/// Frames for the engine's thread. Its descriptor is readable while some wait.
#[derive(Debug)]
pub struct Intake(Kind);

#[derive(Debug)]
enum Kind {
    Ring(Capture),
    Sieves(Sieves),
}

/// The engine's end of the sieves.
#[derive(Debug)]
struct Sieves {
    shared: Arc<Shared>,
    queue: Receiver<Kept>,
    /// The rings' sockets, to ask for their counts.
    sockets: Vec<OwnedFd>,
    statistics: Statistics,
    /// Those that were not started yet.
    idle: Vec<Sieve>,
    threads: Vec<JoinHandle<()>>,
}

impl Intake {
    /// Of one, its ring; of several, a sieve for each, which lets pass what has one of
    /// these heads. [`Self::start`] starts them.
    ///
    /// # Errors
    /// Where the kernel has no descriptor left.
    pub fn new(captures: Vec<Capture>, heads: Heads) -> std::io::Result<Self> {
        let captures = match <[Capture; 1]>::try_from(captures) {
            Ok([capture]) => return Ok(Self(Kind::Ring(capture))),
            Err(captures) => captures,
        };
        let shared = Arc::new(Shared::new(heads)?);
        let (sender, queue) = sync_channel(QUEUE);
        let sockets = captures
            .iter()
            .map(|capture| capture.as_fd().try_clone_to_owned())
            .collect::<Result<_, _>>()?;
        let idle = captures
            .into_iter()
            .map(|capture| Sieve::new(capture, sender.clone(), Arc::clone(&shared)))
            .collect();
        Ok(Self(Kind::Sieves(Sieves {
            shared,
            queue,
            sockets,
            statistics: Statistics::default(),
            idle,
            threads: Vec::new(),
        })))
    }

    /// Starts the threads, if there are any to be. From here on strangers' bytes
    /// are read, so the sandbox must stand: a thread is confined as the one that starts it.
    ///
    /// # Errors
    /// Where the system has no room for a thread.
    pub fn start(&mut self) -> std::io::Result<()> {
        let Kind::Sieves(sieves) = &mut self.0 else {
            return Ok(());
        };
        for (number, sieve) in sieves.idle.drain(..).enumerate() {
            let thread = std::thread::Builder::new()
                .name(format!("sieve-{number}"))
                .spawn(move || sieve.run())?;
            sieves.threads.push(thread);
        }
        Ok(())
    }

    /// Gives at most `budget` waiting frames, one call of `each` a frame, without
    /// ever waiting. Gives how many there were; fewer than `budget` means that none is left.
    pub fn drain(
        &mut self,
        budget: usize,
        mut each: impl FnMut(Result<Heard<'_>, FrameFault>),
    ) -> usize {
        let sieves = match &mut self.0 {
            Kind::Ring(capture) => return capture.drain(budget, each),
            Kind::Sieves(sieves) => sieves,
        };
        // What is queued from here on rings again.
        sieves.shared.bell_was_heard();
        let waiting = sieves.queue.try_iter().take(budget);
        let came = waiting
            .map(|kept| each(Ok(Heard::Datagram(kept.lend()))))
            .count();
        if came == budget {
            sieves.shared.ring();
        }
        came
    }

    /// The verdicts that sieves gave since the last call.
    #[must_use]
    pub fn take_noise(&mut self) -> Counters {
        match &self.0 {
            Kind::Ring(_) => Counters::default(),
            Kind::Sieves(sieves) => sieves.shared.take_noise(),
        }
    }

    /// The server's keys may be others now.
    pub fn use_heads(&mut self, heads: &Heads) {
        if let Kind::Sieves(sieves) = &self.0 {
            sieves.shared.use_heads(heads.clone());
        }
    }

    /// A thread that should drain a ring does so no more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match &self.0 {
            Kind::Ring(_) => false,
            Kind::Sieves(sieves) => sieves.shared.has_ended(),
        }
    }

    /// How many threads look at frames.
    #[must_use]
    pub fn threads(&self) -> usize {
        match &self.0 {
            Kind::Ring(_) => 1,
            Kind::Sieves(sieves) => sieves.sockets.len(),
        }
    }

    /// See [`super::absent`].
    #[must_use]
    pub fn absent<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
        named_in: NamedIn,
    ) -> Option<String> {
        let socket = match &self.0 {
            Kind::Ring(capture) => capture.as_fd(),
            Kind::Sieves(sieves) => sieves.sockets.first()?.as_fd(),
        };
        super::absent(names, named_in, socket)
    }

    /// Counts since the start, of all rings together.
    pub fn statistics(&mut self) -> Statistics {
        let sieves = match &mut self.0 {
            Kind::Ring(capture) => return capture.statistics(),
            Kind::Sieves(sieves) => sieves,
        };
        for socket in &sieves.sockets {
            sieves.statistics.add_counts_of(socket.as_fd());
        }
        let Statistics { seen, dropped } = sieves.statistics;
        let dropped = dropped.saturating_add(sieves.shared.unqueued());
        Statistics { seen, dropped }
    }

    /// See [`Capture::forget_interfaces`].
    pub fn forget_interfaces(&mut self) {
        match &mut self.0 {
            Kind::Ring(capture) => capture.forget_interfaces(),
            Kind::Sieves(sieves) => sieves.shared.forget_interfaces(),
        }
    }
}

impl AsFd for Intake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Ring(capture) => capture.as_fd(),
            Kind::Sieves(sieves) => sieves.shared.bell.as_fd(),
        }
    }
}

impl Drop for Sieves {
    fn drop(&mut self) {
        self.shared.tell_to_end();
        for thread in self.threads.drain(..) {
            // One that panicked has ended as well.
            let _ended = thread.join();
        }
    }
}
