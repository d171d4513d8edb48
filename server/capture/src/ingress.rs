//! [IO] The source of frames for the engine's thread: its own ring, or the queue that
//! prefilter threads fill from several rings.
//!
//! Both look the same: a descriptor to wait on, [`Ingress::drain`], counts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use spad_model::{Counters, FrameFault, HeadKeySet, OwnedDatagram, Received};

use super::prefilter::{PrefilterShared, PrefilterThread};
use super::{Capture, InterfaceSetting, Statistics};

/// Maximum datagrams with a valid head in the queue; more are dropped.
const QUEUE_LEN: usize = 1024;

/// The source of frames. Its descriptor is readable while some are pending.
#[derive(Debug)]
pub struct Ingress(Kind);

#[derive(Debug)]
enum Kind {
    Ring(Capture),
    Prefiltered(PrefilterPool),
}

/// The engine's end of the prefilter threads.
#[derive(Debug)]
struct PrefilterPool {
    shared: Arc<PrefilterShared>,
    queue: Receiver<OwnedDatagram>,
    /// The rings' sockets, for their statistics.
    sockets: Vec<OwnedFd>,
    statistics: Statistics,
    /// Threads not started yet.
    idle: Vec<PrefilterThread>,
    threads: Vec<JoinHandle<()>>,
}

impl Ingress {
    /// Reads a single capture directly; several get one prefilter thread each, which passes on
    /// frames with a head of these keys. [`Self::start`] starts the threads.
    ///
    /// # Errors
    /// The kernel has no descriptor left.
    pub fn new(captures: Vec<Capture>, head_keys: HeadKeySet) -> std::io::Result<Self> {
        let captures = match <[Capture; 1]>::try_from(captures) {
            Ok([capture]) => return Ok(Self(Kind::Ring(capture))),
            Err(captures) => captures,
        };
        let shared = Arc::new(PrefilterShared::new(head_keys)?);
        let (sender, queue) = sync_channel(QUEUE_LEN);
        let sockets = captures
            .iter()
            .map(|capture| capture.as_fd().try_clone_to_owned())
            .collect::<Result<_, _>>()?;
        let idle = captures
            .into_iter()
            .map(|capture| PrefilterThread::new(capture, sender.clone(), Arc::clone(&shared)))
            .collect();
        Ok(Self(Kind::Prefiltered(PrefilterPool {
            shared,
            queue,
            sockets,
            statistics: Statistics::default(),
            idle,
            threads: Vec::new(),
        })))
    }

    /// Starts the threads, if any. They read untrusted bytes and inherit the caller's sandbox, so
    /// it must be in force.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub fn start(&mut self) -> std::io::Result<()> {
        let Kind::Prefiltered(pool) = &mut self.0 else {
            return Ok(());
        };
        for (number, prefilter) in pool.idle.drain(..).enumerate() {
            let thread = std::thread::Builder::new()
                .name(format!("sieve-{number}"))
                .spawn(move || prefilter.run())?;
            pool.threads.push(thread);
        }
        Ok(())
    }

    /// Passes at most `budget` pending frames to `each`, without waiting. Returns their number;
    /// fewer than `budget` means that none is left.
    pub fn drain(
        &mut self,
        budget: usize,
        mut each: impl FnMut(Result<Received<'_>, FrameFault>),
    ) -> usize {
        let pool = match &mut self.0 {
            Kind::Ring(capture) => return capture.drain(budget, each),
            Kind::Prefiltered(sieves) => sieves,
        };
        // Later items notify again.
        pool.shared.clear_notification();
        let waiting = pool.queue.try_iter().take(budget);
        let received = waiting
            .map(|datagram| each(Ok(Received::Datagram(datagram.as_datagram()))))
            .count();
        if received == budget {
            pool.shared.notify();
        }
        received
    }

    /// Takes the prefilter threads' verdicts since the last call.
    #[must_use]
    pub fn take_counters(&mut self) -> Counters {
        match &self.0 {
            Kind::Ring(_) => Counters::default(),
            Kind::Prefiltered(pool) => pool.shared.take_counters(),
        }
    }

    /// Sets the keys after a reload.
    pub fn set_head_keys(&mut self, head_keys: &HeadKeySet) {
        if let Kind::Prefiltered(pool) = &self.0 {
            pool.shared.set_head_keys(head_keys.clone());
        }
    }

    /// Whether a prefilter thread has exited.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match &self.0 {
            Kind::Ring(_) => false,
            Kind::Prefiltered(pool) => pool.shared.has_ended(),
        }
    }

    /// Number of threads that read frames.
    #[must_use]
    pub fn threads(&self) -> usize {
        match &self.0 {
            Kind::Ring(_) => 1,
            Kind::Prefiltered(pool) => pool.sockets.len(),
        }
    }

    /// See [`super::missing_interfaces`].
    #[must_use]
    pub fn missing_interfaces<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
        named_in: InterfaceSetting,
    ) -> Option<String> {
        let socket = match &self.0 {
            Kind::Ring(capture) => capture.as_fd(),
            Kind::Prefiltered(pool) => pool.sockets.first()?.as_fd(),
        };
        super::missing_interfaces(names, named_in, socket)
    }

    /// Statistics of all rings since the start.
    pub fn statistics(&mut self) -> Statistics {
        let pool = match &mut self.0 {
            Kind::Ring(capture) => return capture.statistics(),
            Kind::Prefiltered(sieves) => sieves,
        };
        for socket in &pool.sockets {
            pool.statistics.add_packet_stats(socket.as_fd());
        }
        let Statistics { seen, dropped } = pool.statistics;
        let dropped = dropped.saturating_add(pool.shared.queue_drops());
        Statistics { seen, dropped }
    }

    /// See [`Capture::clear_interface_cache`].
    pub fn clear_interface_cache(&mut self) {
        match &mut self.0 {
            Kind::Ring(capture) => capture.clear_interface_cache(),
            Kind::Prefiltered(pool) => pool.shared.clear_interface_cache(),
        }
    }
}

impl AsFd for Ingress {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Ring(capture) => capture.as_fd(),
            Kind::Prefiltered(pool) => pool.shared.ready_eventfd.as_fd(),
        }
    }
}

impl Drop for PrefilterPool {
    fn drop(&mut self) {
        self.shared.request_stop();
        for thread in self.threads.drain(..) {
            // One that panicked has ended as well.
            let _ended = thread.join();
        }
    }
}
