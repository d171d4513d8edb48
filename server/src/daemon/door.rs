//! [IO] Obeys the engine's effects: journal first, then the firewall, then the audit.
//!
//! Owns everything that a verdict may touch. A packet whose record could not be
//! written does not reach the firewall, where the configuration says so.

use std::collections::VecDeque;

use tracing::{error, info, warn};

use spa_findings::Findings;
use spa_proto::Service;

use crate::audit::{AuditEvent, AuditLog, Event};
use crate::capture::{FrameFault, Received};
use crate::clock::{self, Now};
use crate::config::used_up;
use crate::engine::{Effect, Engine, UsedSequence};
use crate::firewall::link::WriterClientError;
use crate::firewall::{Change, ChangeResult, ToWriter, WriterClient};
use crate::replay::{StateDir, UsedSequences};
use crate::runner::link::{Runner, RunnerLinkError};
use crate::verdict::Reason;

use super::liveness::Liveness;

/// Changes that may wait while the firewall writer is behind; more are refused.
const MAX_WAITING: usize = 1024;

/// The engine and what it acts on.
pub(super) struct Door {
    pub(super) engine: Engine,
    pub(super) state: StateDir,
    pub(super) used: UsedSequences,
    pub(super) writer: WriterClient,
    pub(super) audit: AuditLog,
    /// None where the configuration of the start declared nothing to run.
    pub(super) runner: Option<Runner>,
    pub(super) writer_life: Liveness,
    pub(super) runner_life: Liveness,
    /// The runner has ended, and so must this process.
    pub(super) runner_broken: Option<RunnerLinkError>,
    pub(super) effects: Vec<Effect>,
    waiting: VecDeque<ToWriter>,
    /// The writer has ended, and so must this process.
    pub(super) broken: Option<WriterClientError>,
}

impl Door {
    pub(super) fn new(
        engine: Engine,
        state: StateDir,
        used: UsedSequences,
        writer: WriterClient,
        runner: Option<Runner>,
        audit: AuditLog,
    ) -> Self {
        Self {
            engine,
            state,
            used,
            writer,
            audit,
            runner,
            writer_life: Liveness::default(),
            runner_life: Liveness::default(),
            runner_broken: None,
            effects: Vec::new(),
            waiting: VecDeque::new(),
            broken: None,
        }
    }

    /// One frame, from the ring to its effects.
    pub(super) fn frame(&mut self, frame: Result<Received<'_>, FrameFault>, now: Now) {
        match frame {
            Ok(Received::Knock(hit)) => {
                self.engine.on_knock(&hit, now, &mut self.effects);
                self.obey(now);
            }
            Ok(Received::Datagram(datagram)) => {
                self.engine.on_datagram(&datagram, now, &mut self.effects);
                self.obey(now);
            }
            Err(fault) => self.engine.count_frame_fault(fault),
        }
    }

    /// What the writer said of a change.
    pub(super) fn answered(&mut self, answer: ChangeResult, now: Now) {
        self.engine
            .on_firewall_answer(answer, now, &mut self.effects);
        self.obey(now);
    }

    /// Lets the engine do something else that has effects.
    pub(super) fn with_engine<T>(
        &mut self,
        now: Now,
        work: impl FnOnce(&mut Engine, &mut Vec<Effect>) -> T,
    ) -> T {
        let done = work(&mut self.engine, &mut self.effects);
        self.obey(now);
        done
    }

    /// Does the effects in their order. Refusals have effects of their own.
    fn obey(&mut self, now: Now) {
        let mut recorded = true;
        let mut effects = std::mem::take(&mut self.effects);
        while !effects.is_empty() {
            for effect in effects.drain(..) {
                match effect {
                    // Why not, the state says once by an event.
                    Effect::Record(record) => recorded &= self.state.append(&record).is_ok(),
                    Effect::MarkSequenceUsed(used) => recorded &= self.use_up(&used, now),
                    Effect::Firewall(change) if recorded => self.send_change(change, now),
                    Effect::Firewall(change) => {
                        let reason = Reason::StateUnwritable;
                        self.engine
                            .abort_change(change.id, reason, now, &mut self.effects);
                    }
                    Effect::Run(message) => self.ask_runner(message, recorded, now),
                    Effect::Audit(event) => self.audit.write(*event),
                }
            }
            // Refusals above may have made more; the emptied vector keeps its room.
            std::mem::swap(&mut effects, &mut self.effects);
        }
        self.effects = effects;
    }

    /// False where that it is used may not survive: then nothing may open by it.
    fn use_up(&mut self, used: &UsedSequence, now: Now) -> bool {
        let UsedSequence {
            door,
            sequence,
            remaining: left,
        } = used;
        if let Err(error) = self.used.append(sequence, now.wall) {
            error!("the door {door} stays shut: {error}");
            return false;
        }
        // Why not, the state says once by an event.
        if self.state.append_used(self.used.mark()).is_err() {
            return false;
        }
        match left {
            0 => warn!(
                "the last sequence of the door {door} was used: it opens nothing until new ones stand at the end of its file and `spad reload`"
            ),
            left => info!("a sequence of the door {door} was used; {left} left"),
        }
        true
    }

    /// Used sequences that the disk did not take; that it still does not, status says.
    pub(super) fn write_owed(&mut self) {
        if let Ok(count @ 1..) = self.used.retry_pending() {
            // If not, the file holds more than the journal knows of.
            let _ = self.state.append_used(self.used.mark());
            info!("that {count} sequences for one use are used is written down now");
        }
    }

    fn send_change(&mut self, change: Change, now: Now) {
        if self.waiting.len() >= MAX_WAITING || self.writer_life.is_unresponsive() {
            let reason = Reason::FirewallUnresponsive;
            self.engine
                .abort_change(change.id, reason, now, &mut self.effects);
        } else {
            // While a change waits for its answer, grants make this process look each second.
            self.writer_life.ask(now.boot);
            self.queue(ToWriter::Change(change));
        }
    }

    /// Sends, in order; what does not go now goes when the writer has room.
    pub(super) fn send(&mut self, message: ToWriter) {
        self.writer_life.watch(clock::now().boot);
        self.queue(message);
    }

    fn queue(&mut self, message: ToWriter) {
        self.waiting.push_back(message);
        self.flush();
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some(message) = self.waiting.front() {
            match self.writer.send(message) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(WriterClientError::Busy) => return,
                Err(error) => {
                    self.broken = Some(error);
                    return;
                }
            }
        }
    }

    /// Whether messages wait for the writer to have room.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Says what the state has to say.
    pub(super) fn tell_state_events(&mut self) {
        for event in self.state.take_events() {
            if event.is_recovery() {
                info!("{event}");
            } else if event.stops_packets() {
                error!("{event}");
            } else {
                warn!("{event}");
            }
        }
    }

    /// What is odd about lists of sequences of which some are used.
    pub(super) fn sequences_to_tell(&self) -> Findings {
        let config = self.engine.clients().config();
        let used = self.engine.used_sequences();
        used.map_or_else(Findings::default, |used| used_up(config, used))
    }
}

/// What the daemon itself has to tell the audit.
impl Door {
    pub(super) fn tell(&mut self, event: Event) {
        self.audit.write(AuditEvent::new(event, clock::now().wall));
    }

    pub(super) fn tell_state(&mut self, detail: &'static str) {
        let mut event = AuditEvent::new(Event::State, clock::now().wall);
        event.detail = Some(detail);
        self.audit.write(event);
    }

    pub(super) fn tell_counts(&mut self, event: Event, what: &'static str, count: u64) {
        let mut event = AuditEvent::new(event, clock::now().wall);
        event.counts = vec![(what, count)];
        self.audit.write(event);
    }

    pub(super) fn tell_port(&mut self, event: Event, port: Service, detail: &'static str) {
        let mut event = AuditEvent::new(event, clock::now().wall);
        event.port = Some(port);
        event.service = self.engine.clients().service_at(port).cloned();
        event.detail = Some(detail);
        self.audit.write(event);
    }
}
