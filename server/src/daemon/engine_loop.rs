//! [IO] The engine's thread: waits for packets, the writer, orders and time.
//!
//! Packets are drained in gulps, never more than [`GULP`] between looks at
//! everything else, so that a flood delays neither the writer's answers nor the
//! administrator. In a flood the ring is left alone for a moment between gulps,
//! and one wait hears everything else. Without traffic it wakes only when
//! something is due.

use std::process::ExitStatus;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::audit::Event;
use crate::capture::{Ingress, moderation};
use crate::clock::{self, BootTime, Now};
use crate::firewall::link::WriterClientError;
use crate::firewall::{FromWriter, KernelElement, ToWriter};
use crate::replay::{HolderKey, HolderRecord};
use crate::sys::scheduling;

use super::alarm::{ClockSet, Deadline};
use super::door::Door;
use super::helpers::busy;
use super::look::Look;
use super::notifier::Notifier;
use super::order::Inbox;
use super::replies::Replies;
use super::tracking::{News, Tracking};
use super::waiting::{Called, Source, Wait, Waiting};

/// Frames judged between two looks at everything else.
const GULP: usize = 512;
/// The horizon is due this often; see docs/protocol.md §8.4.
const UPKEEP: Duration = Duration::from_secs(10);
/// How long the writer may take to list what the kernel holds.
const LISTING: Duration = Duration::from_secs(30);

/// Why the engine's thread ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was told to.
    Told,
    /// It cannot go on.
    Failed(String),
}

/// The engine's thread.
pub(super) struct EngineLoop {
    pub(super) intake: Ingress,
    pub(super) door: Door,
    inbox: Inbox,
    deadline: Deadline,
    clock_set: ClockSet,
    waiting: Waiting,
    next_upkeep: BootTime,
    pub(super) look: Look,
    pub(super) replies: Replies,
    dropped_said: u64,
    pub(super) tracking: Tracking,
    pub(super) notifier: Notifier,
    /// Clients' keys are left to compute while nothing else is to do.
    pub(super) warming: bool,
}

impl EngineLoop {
    pub(super) fn new(
        intake: Ingress,
        door: Door,
        inbox: Inbox,
        notifier: Notifier,
        started: Now,
    ) -> std::io::Result<Self> {
        let config = door.engine.clients().config().clone();
        let (deadline, clock_set) = (Deadline::new()?, ClockSet::new()?);
        let waiting = Waiting::new()?;
        waiting.add(Source::Packets, &intake)?;
        waiting.add(Source::Writer, &door.writer)?;
        if let Some(runner) = &door.runner {
            waiting.add(Source::Runner, runner)?;
        }
        waiting.add(Source::Orders, &inbox)?;
        waiting.add(Source::Deadline, &deadline)?;
        waiting.add(Source::ClockSet, &clock_set)?;
        Ok(Self {
            intake,
            door,
            inbox,
            deadline,
            clock_set,
            waiting,
            next_upkeep: started.boot,
            look: Look::default(),
            replies: Replies::new(started, &config),
            dropped_said: 0,
            tracking: Tracking::default(),
            notifier,
            warming: true,
        })
    }

    /// Takes over the grants that the kernel holds from an earlier life.
    pub(super) fn adopt(
        &mut self,
        holders: Vec<HolderRecord>,
        owed: Vec<HolderKey>,
    ) -> Result<(), WriterClientError> {
        let mut kernel: Vec<KernelElement> = Vec::new();
        self.door.writer.send(&ToWriter::List)?;
        loop {
            if !self.door.writer.wait(LISTING)? {
                return Err(WriterClientError::NotStarted(
                    "it does not list its grants".to_owned(),
                ));
            }
            match self.door.writer.receive()? {
                Some(FromWriter::Listed { elements, last }) => {
                    kernel.extend(elements);
                    if last {
                        break;
                    }
                }
                Some(other) => self.heard(other, clock::now()),
                None => {}
            }
        }
        let now = clock::now();
        if !kernel.is_empty() {
            info!("grants adopted that were open: {}", kernel.len());
        }
        self.door.with_engine(now, |engine, effects| {
            engine.adopt(&kernel, holders, now, effects);
            engine.restore_pending_hooks(owed, now, effects);
        });
        self.door.send(ToWriter::Trials);
        Ok(())
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self) -> Ended {
        if let Err(error) = scheduling::minimise_wakeup_latency() {
            info!("packets may wait for the processor: {error}");
        }
        if let Err(error) = self.intake.start() {
            self.finish();
            return Ended::Failed(format!("cannot start the capture's threads: {error}"));
        }
        loop {
            let came = self.drain();
            if self.intake.has_ended() {
                self.finish();
                return Ended::Failed("a thread of the capture ended".to_owned());
            }
            if let Some(error) = self.door.broken.take() {
                let writer_ended = matches!(error, WriterClientError::Ended);
                // Otherwise it ended because it was told to.
                let how = self.finish().filter(|_| writer_ended);
                let how = how.map_or_else(String::new, |how| format!(" ({how})"));
                return Ended::Failed(format!("{error}{how}"));
            }
            if let Some(error) = self.door.runner_broken.take() {
                self.finish();
                return Ended::Failed(error.to_string());
            }
            let called = match self.wait(came) {
                Ok(called) => called,
                Err(error) => {
                    self.finish();
                    return Ended::Failed(format!("cannot wait for packets: {error}"));
                }
            };
            // Then nothing is due, and a packet has waited long enough.
            if called.by_packets_alone() && self.replies.listing.is_empty() {
                continue;
            }
            if called.by(Source::Runner) {
                self.hear_runner();
            }
            if called.by(Source::Writer) {
                self.hear_writer();
            }
            if called.by(Source::Orders) && self.obey_orders() {
                self.finish();
                return Ended::Told;
            }
            self.list_some();
            self.upkeep();
        }
    }

    fn drain(&mut self) -> usize {
        let now = clock::now();
        let Self { intake, door, .. } = self;
        let came = intake.drain(GULP, |frame| door.frame(frame, now));
        if came > 0 {
            let engine = &door.engine;
            door.state.compact_if_needed(|| engine.journal_records());
            if door.state.has_events() {
                door.tell_state_events();
            }
        }
        came
    }

    fn hear_writer(&mut self) {
        self.door.flush();
        loop {
            match self.door.writer.receive() {
                Ok(Some(message)) => {
                    let now = clock::now();
                    let busy = busy(&message);
                    self.heard(message, now);
                    self.writer_responded(busy, now);
                }
                Ok(None) => return,
                Err(error) => {
                    self.door.broken = Some(error);
                    return;
                }
            }
        }
    }

    /// True when it is time to end.
    fn obey_orders(&mut self) -> bool {
        self.inbox.heard();
        while let Some(order) = self.inbox.take() {
            if self.obey(order) {
                return true;
            }
        }
        false
    }

    /// What is due by the clock.
    fn upkeep(&mut self) {
        let now = clock::now();
        if self
            .door
            .engine
            .next_tick()
            .is_some_and(|due| due <= now.boot)
        {
            self.gather_noise();
            self.door
                .with_engine(now, |engine, effects| engine.tick(now, effects));
        }
        self.look_after_helpers(now);
        let skew = self.door.engine.clients().config().packets.max_skew;
        let (_, horizon) = self.door.engine.replay_state_mut();
        // Where it cannot be written, the state says so once by an event.
        let _told = self.door.state.advance_horizon(now, skew, horizon);
        if self.next_upkeep <= now.boot {
            let period = self.notifier.period();
            let period = period.map_or(UPKEEP, |period| period.min(UPKEEP));
            self.next_upkeep = now.boot.saturating_add(period);
            self.ping_helpers(now);
            self.intake.clear_interface_cache();
            self.tell_restored(now);
            // Also leaves memory again, once the disk works.
            let engine = &self.door.engine;
            self.door
                .state
                .compact_if_needed(|| engine.journal_records());
            self.door.write_owed();
            self.look_at_tracking(now);
            let dropped = self.intake.statistics().dropped;
            if dropped > self.dropped_said {
                let lost = dropped.saturating_sub(self.dropped_said);
                warn!("the capture ring was full: {lost} packets were not looked at");
                self.dropped_said = dropped;
                self.door.tell_counts(Event::CaptureDrop, "packets", lost);
            }
        }
        self.look_around(now);
        self.door.tell_state_events();
    }

    fn look_at_tracking(&mut self, now: Now) {
        match self.tracking.look(now.boot) {
            Some(News::Full(news)) => {
                warn!("{news}");
                self.door.tell_state("connection tracking nearly full");
            }
            Some(News::Room(news)) => {
                info!("{news}");
                self.door.tell_state("connection tracking has room again");
            }
            None => {}
        }
    }

    /// Waits until something comes or is due; in a flood for a moment at most, and
    /// not for packets. Says who called.
    fn wait(&mut self, came: usize) -> std::io::Result<Called> {
        let helpers = self.door.writer_life.next_look().into_iter();
        let helpers = helpers.chain(self.door.runner_life.next_look());
        let due = self.door.engine.next_tick().into_iter().chain(helpers);
        let due = due.fold(self.next_upkeep.min(self.look.next()), Ord::min);
        self.deadline.set(due)?;
        let writer = &self.door.writer;
        self.waiting
            .wait_for_room(Source::Writer, writer, self.door.is_behind())?;
        if let Some(runner) = &self.door.runner {
            self.waiting
                .wait_for_room(Source::Runner, runner, runner.is_behind())?;
        }
        let busy = self.warming || !self.replies.listing.is_empty();
        let wait = match moderation::pause_after(came) {
            Some(pause) if !busy && came < GULP => Wait::Pause(pause),
            Some(_) => Wait::Pause(Duration::ZERO),
            None if busy => Wait::Look,
            None => Wait::Long,
        };
        let called = self.waiting.wait(wait)?;
        if called.by_nobody() && self.warming && came < GULP {
            // One client at a time: a knock waits for no more than one X25519.
            self.warming = self.door.engine.precompute_keys(1);
        }
        if called.by(Source::Deadline) {
            self.deadline.heard();
        }
        if called.by(Source::ClockSet) {
            self.clock_set.heard();
        }
        Ok(called)
    }

    /// Takes over what was counted beside the engine, before its counters are looked at.
    pub(super) fn gather_noise(&mut self) {
        let noise = self.intake.take_counters();
        self.door.engine.add_counters(&noise);
    }

    /// The table stays; what was used stays used. Gives how the writer ended.
    fn finish(self) -> Option<ExitStatus> {
        let Self {
            mut door, intake, ..
        } = self;
        // Its threads end first.
        drop(intake);
        let runner_lives = !door.runner_life.is_unresponsive();
        if let Some(runner) = door.runner.take().filter(|_| runner_lives) {
            let now = clock::now();
            door.engine.begin_shutdown();
            runner.stop(|message| door.heard_runner(message, now));
        }
        door.tell(Event::Stop);
        door.write_owed();
        let Door {
            state,
            writer,
            writer_life,
            audit,
            ..
        } = door;
        let writer_ended = match writer_life.is_unresponsive() {
            // It will not end; the service manager ends it.
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
