//! [IO] The engine's thread: waits for packets, the helper processes, tasks and time.
//!
//! Packets are drained in batches of at most [`BATCH`]. Everything else has its turn between two
//! batches, so a flood delays neither the writer's answers nor the administrator. In a flood the
//! thread pauses between batches, and waits for everything but packets meanwhile. Without traffic
//! it wakes only when something is due.

use std::process::ExitStatus;
use std::time::Duration;

use spad_capture::{Ingress, moderation};
use spad_engine::audit::event::Event;
use spad_firewall::{FromWriter, ToWriter};
use spad_ipc::{HelperError, HelperErrorKind, Message as _};
use spad_model::{BootTime, KernelElement, Now};
use spad_replay::{HolderKey, HolderRecord};
use spad_sys::{clock, scheduling};
use tracing::{error, info, warn};

use super::conntrack::{ConntrackEvent, ConntrackMonitor};
use super::executor::Executor;
use super::fixed_settings::FixedSettings;
use super::helpers::busy;
use super::load_config::LoadedConfig;
use super::notifier::Notifier;
use super::pending_replies::PendingReplies;
use super::poller::{Poller, Ready, Source, Wait};
use super::reload::Reload;
use super::self_check::SelfCheck;
use super::tasks::TaskQueue;
use super::timers::{ClockSet, Deadline};
use super::writer_events::WriterState;

/// The most frames in one batch.
const BATCH: usize = 512;
/// The horizon is due this often. See docs/protocol.md §8.4.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// How long the writer may take to list what the kernel holds.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the engine's thread ended.
#[derive(Debug)]
pub(super) enum LoopExit {
    /// A signal stopped it.
    Requested,
    /// It cannot continue.
    Failed(String),
}

/// The engine's thread.
pub(super) struct EngineLoop {
    pub(super) ingress: Ingress,
    pub(super) executor: Executor,
    tasks: TaskQueue,
    deadline: Deadline,
    clock_set: ClockSet,
    poller: Poller,
    next_housekeeping: BootTime,
    pub(super) self_check: SelfCheck,
    /// When the daemon started.
    pub(super) started: Now,
    pub(super) fixed: FixedSettings,
    pub(super) writer_state: WriterState,
    pub(super) replies: PendingReplies,
    pub(super) reload: Reload<Box<LoadedConfig>>,
    dropped_reported: u64,
    pub(super) conntrack: ConntrackMonitor,
    pub(super) notifier: Notifier,
    /// Some clients' keys are not computed yet. It happens while the thread is idle.
    pub(super) precomputing_keys: bool,
}

impl EngineLoop {
    pub(super) fn new(
        ingress: Ingress,
        executor: Executor,
        tasks: TaskQueue,
        notifier: Notifier,
        started: Now,
    ) -> std::io::Result<Self> {
        let fixed = FixedSettings::new(executor.engine.clients().config());
        let (deadline, clock_set) = (Deadline::new()?, ClockSet::new()?);
        let poller = Poller::new()?;
        poller.add(Source::Packets, &ingress)?;
        poller.add(Source::Writer, &executor.writer)?;
        if let Some(runner) = &executor.runner {
            poller.add(Source::Runner, runner)?;
        }
        poller.add(Source::Tasks, &tasks)?;
        poller.add(Source::Deadline, &deadline)?;
        poller.add(Source::ClockSet, &clock_set)?;
        Ok(Self {
            ingress,
            reload: Reload::new(executor.runner.is_some()),
            executor,
            tasks,
            deadline,
            clock_set,
            poller,
            next_housekeeping: started.boot,
            self_check: SelfCheck::default(),
            started,
            fixed,
            writer_state: WriterState::default(),
            replies: PendingReplies::default(),
            dropped_reported: 0,
            conntrack: ConntrackMonitor::default(),
            notifier,
            precomputing_keys: true,
        })
    }

    /// Adopts the grants that are open in the kernel since an earlier run of the daemon.
    pub(super) fn adopt(
        &mut self,
        holders: Vec<HolderRecord>,
        pending_hooks: Vec<HolderKey>,
    ) -> Result<(), HelperError> {
        let mut kernel: Vec<KernelElement> = Vec::new();
        self.executor.writer.send(ToWriter::List)?;
        loop {
            if !self.executor.writer.wait(LIST_TIMEOUT)? {
                return Err(HelperError {
                    name: ToWriter::HELPER,
                    kind: HelperErrorKind::NotStarted("it does not list its grants".to_owned()),
                });
            }
            match self.executor.writer.receive()? {
                Some(FromWriter::Listed { elements, last }) => {
                    kernel.extend(elements);
                    if last {
                        break;
                    }
                }
                Some(other) => self.on_writer_message(other, clock::now()),
                None => {}
            }
        }
        let now = clock::now();
        if !kernel.is_empty() {
            info!("grants adopted that were open: {}", kernel.len());
        }
        self.executor.run_engine(now, |engine, effects| {
            engine.adopt(&kernel, holders, now, effects);
            engine.restore_pending_hooks(pending_hooks, now, effects);
        });
        self.executor.send(ToWriter::Trials);
        Ok(())
    }

    /// Serves until a signal stops it or it cannot continue.
    pub(super) fn run(mut self) -> LoopExit {
        if let Err(error) = scheduling::minimise_wakeup_latency() {
            info!("cannot shorten the scheduler slice, latency may increase: {error}");
        }
        if let Err(error) = self.ingress.start() {
            self.finish();
            return LoopExit::Failed(format!("cannot start the capture's threads: {error}"));
        }
        loop {
            let drained = self.drain();
            if self.ingress.has_ended() {
                self.finish();
                return LoopExit::Failed("a thread of the capture ended".to_owned());
            }
            if let Some(error) = self.executor.writer_error.take() {
                let writer_ended = matches!(error.kind, HelperErrorKind::Ended);
                // If it has not ended by itself, `finish` ended it.
                let status = self.finish().filter(|_| writer_ended);
                let how = status.map_or_else(String::new, |status| format!(" ({status})"));
                return LoopExit::Failed(format!("{error}{how}"));
            }
            if let Some(error) = self.executor.runner_error.take() {
                self.finish();
                return LoopExit::Failed(error.to_string());
            }
            let called = match self.wait(drained) {
                Ok(called) => called,
                Err(error) => {
                    self.finish();
                    return LoopExit::Failed(format!("cannot wait for packets: {error}"));
                }
            };
            // Nothing else is ready or due, so the packets come first.
            if called.only_packets() && !self.replies.has_listing() {
                continue;
            }
            if called.contains(Source::Runner) {
                self.drain_runner();
            }
            if called.contains(Source::Writer) {
                self.drain_writer();
            }
            if called.contains(Source::Tasks) && self.handle_tasks() {
                self.finish();
                return LoopExit::Requested;
            }
            self.list_page();
            self.housekeeping();
        }
    }

    fn drain(&mut self) -> usize {
        let now = clock::now();
        let Self {
            ingress, executor, ..
        } = self;
        let drained = ingress.drain(BATCH, |frame| executor.on_frame(frame, now));
        if drained > 0 {
            let engine = &executor.engine;
            executor
                .state
                .compact_if_needed(|| engine.journal_records());
            if executor.state.has_events() {
                executor.log_state_events();
            }
        }
        drained
    }

    fn drain_writer(&mut self) {
        self.executor.flush();
        loop {
            match self.executor.writer.receive() {
                Ok(Some(message)) => {
                    let now = clock::now();
                    let busy = busy(&message);
                    self.on_writer_message(message, now);
                    self.writer_responded(busy, now);
                }
                Ok(None) => return,
                Err(error) => {
                    self.executor.writer_error = Some(error);
                    return;
                }
            }
        }
    }

    /// Does all tasks that wait. Returns true if the daemon has to stop.
    fn handle_tasks(&mut self) -> bool {
        self.tasks.clear();
        while let Some(task) = self.tasks.try_next() {
            if self.handle_task(task) {
                return true;
            }
        }
        false
    }

    /// Does what is due by the clock.
    fn housekeeping(&mut self) {
        let now = clock::now();
        if self
            .executor
            .engine
            .next_tick()
            .is_some_and(|due| due <= now.boot)
        {
            self.merge_prefilter_counters();
            self.executor
                .run_engine(now, |engine, effects| engine.tick(now, effects));
        }
        self.check_helpers(now);
        let skew = self.executor.engine.clients().config().packets.max_skew;
        let (_, horizon) = self.executor.engine.replay_state_mut();
        // The state reports an error once, by an event.
        let _reported = self.executor.state.advance_horizon(now, skew, horizon);
        if self.next_housekeeping <= now.boot {
            let watchdog = self.notifier.period();
            let period = watchdog.map_or(HOUSEKEEPING, |period| period.min(HOUSEKEEPING));
            self.next_housekeeping = now.boot.saturating_add(period);
            self.ping_helpers(now);
            self.ingress.clear_interface_cache();
            self.report_restored(now);
            // This also ends the mode without a disk, once the disk works again.
            let engine = &self.executor.engine;
            self.executor
                .state
                .compact_if_needed(|| engine.journal_records());
            self.executor.retry_pending();
            self.check_conntrack(now);
            let dropped = self.ingress.statistics().dropped;
            if dropped > self.dropped_reported {
                let lost = dropped.saturating_sub(self.dropped_reported);
                warn!("the capture ring was full: {lost} packets were not looked at");
                self.dropped_reported = dropped;
                self.executor
                    .audit_counts(Event::CaptureDrop, "packets", lost);
            }
        }
        self.run_self_check(now);
        self.executor.log_state_events();
    }

    fn check_conntrack(&mut self, now: Now) {
        match self.conntrack.poll(now.boot) {
            Some(ConntrackEvent::NearlyFull(news)) => {
                warn!("{news}");
                self.executor.audit_state("connection tracking nearly full");
            }
            Some(ConntrackEvent::Recovered(news)) => {
                info!("{news}");
                self.executor
                    .audit_state("connection tracking has room again");
            }
            None => {}
        }
    }

    /// Waits until something is ready or due, and returns what is. In a flood it waits only for a
    /// moment, and not for packets.
    fn wait(&mut self, drained: usize) -> std::io::Result<Ready> {
        let sometimes_due = [
            self.executor.writer_liveness.next_check(),
            self.executor.runner_liveness.next_check(),
            self.executor.engine.next_tick(),
        ];
        let always_due = self.next_housekeeping.min(self.self_check.next());
        let due = sometimes_due
            .into_iter()
            .flatten()
            .fold(always_due, Ord::min);
        self.deadline.set(due)?;
        let writer = &self.executor.writer;
        self.poller
            .set_want_write(Source::Writer, writer, writer.has_backlog())?;
        if let Some(runner) = &self.executor.runner {
            self.poller
                .set_want_write(Source::Runner, runner, runner.has_backlog())?;
        }
        let busy = self.precomputing_keys || self.replies.has_listing();
        let wait = match moderation::pause_after(drained) {
            Some(pause) if !busy && drained < BATCH => Wait::Pause(pause),
            Some(_) => Wait::Pause(Duration::ZERO),
            None if busy => Wait::Poll,
            None => Wait::Block,
        };
        let called = self.poller.wait(wait)?;
        if called.is_empty() && self.precomputing_keys && drained < BATCH {
            // One client at a time, so that a packet waits for one X25519 at most.
            self.precomputing_keys = self.executor.engine.precompute_keys(1);
        }
        if called.contains(Source::Deadline) {
            self.deadline.clear();
        }
        if called.contains(Source::ClockSet) {
            self.clock_set.clear();
        }
        Ok(called)
    }

    /// Adds the prefilter threads' counters to the engine's.
    pub(super) fn merge_prefilter_counters(&mut self) {
        let counters = self.ingress.take_counters();
        self.executor.engine.add_counters(&counters);
    }

    /// Ends everything in order. The table stays loaded. Returns how the writer ended.
    fn finish(self) -> Option<ExitStatus> {
        let Self {
            mut executor,
            ingress,
            ..
        } = self;
        // The prefilter threads end first.
        drop(ingress);
        let runner_lives = !executor.runner_liveness.is_unresponsive();
        if let Some(runner) = executor.runner.take().filter(|_| runner_lives) {
            let now = clock::now();
            executor.engine.begin_shutdown();
            runner.stop(|message| executor.on_runner_message(message, now));
        }
        executor.audit_event(Event::Stop);
        executor.retry_pending();
        let Executor {
            state,
            writer,
            writer_liveness: writer_life,
            audit,
            ..
        } = executor;
        let writer_ended = match writer_life.is_unresponsive() {
            // It would not end. The service manager kills it.
            true => None,
            false => writer.stop(),
        };
        match state.clean_stop() {
            Ok(true) => info!("stopped; hidden services stay hidden"),
            Ok(false) => {
                warn!("stopped; the state could not be written whole, so the next start is unclean")
            }
            Err(error) => error!(
                "stopped; the state could not be written ({error}), so the next start is unclean"
            ),
        }
        drop(audit);
        writer_ended
    }
}
