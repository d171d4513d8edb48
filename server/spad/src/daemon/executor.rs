//! [IO] Executes the engine's effects: the journal first, then the firewall, then the audit.
//!
//! The executor owns everything that a verdict may touch. If a packet's record cannot be written,
//! the packet does not reach the firewall, unless the configuration allows it.

use spa_findings::Findings;
use spa_proto::Service;
use spad_config::check_used_sequences;
use spad_engine::audit::event::{AuditEvent, Event};
use spad_engine::{Effect, Engine, UsedSequence};
use spad_firewall::{ToWriter, WriterClient};
use spad_ipc::HelperError;
use spad_model::{Change, ChangeResult, FrameFault, Now, Reason, Received};
use spad_replay::{StateDir, UsedSequences};
use spad_sys::clock;
use tracing::{error, info, warn};

use super::liveness::Liveness;
use crate::audit::AuditLog;
use crate::runner::link::RunnerClient;

/// Messages that may wait while the firewall writer is behind. More changes are refused.
const MAX_BACKLOG: usize = 1024;

/// The engine and what it acts on.
pub(super) struct Executor {
    pub(super) engine: Engine,
    pub(super) state: StateDir,
    pub(super) used: UsedSequences,
    pub(super) writer: WriterClient,
    pub(super) audit: AuditLog,
    /// None if the configuration of the start declared no command and no hook.
    pub(super) runner: Option<RunnerClient>,
    pub(super) writer_liveness: Liveness,
    pub(super) runner_liveness: Liveness,
    /// Why the runner has ended. This process has to end too.
    pub(super) runner_error: Option<HelperError>,
    pub(super) effects: Vec<Effect>,
    /// Why the writer has ended. This process has to end too.
    pub(super) writer_error: Option<HelperError>,
}

impl Executor {
    pub(super) fn new(
        engine: Engine,
        state: StateDir,
        used: UsedSequences,
        writer: WriterClient,
        runner: Option<RunnerClient>,
        audit: AuditLog,
    ) -> Self {
        Self {
            engine,
            state,
            used,
            writer,
            audit,
            runner,
            writer_liveness: Liveness::default(),
            runner_liveness: Liveness::default(),
            runner_error: None,
            effects: Vec::new(),
            writer_error: None,
        }
    }

    /// Handles one frame of the ring.
    pub(super) fn on_frame(&mut self, frame: Result<Received<'_>, FrameFault>, now: Now) {
        match frame {
            Ok(Received::Knock(hit)) => {
                self.engine.on_knock(&hit, now, &mut self.effects);
                self.execute(now);
            }
            Ok(Received::Datagram(datagram)) => {
                self.engine.on_datagram(&datagram, now, &mut self.effects);
                self.execute(now);
            }
            Err(fault) => self.engine.count_frame_fault(fault),
        }
    }

    /// Handles the writer's answer to a change.
    pub(super) fn on_firewall_answer(&mut self, answer: ChangeResult, now: Now) {
        self.engine
            .on_firewall_answer(answer, now, &mut self.effects);
        self.execute(now);
    }

    /// Runs `work` on the engine and executes its effects.
    pub(super) fn run_engine<T>(
        &mut self,
        now: Now,
        work: impl FnOnce(&mut Engine, &mut Vec<Effect>) -> T,
    ) -> T {
        let done = work(&mut self.engine, &mut self.effects);
        self.execute(now);
        done
    }

    /// Executes the effects in their order. A refused change or run has effects of its own.
    fn execute(&mut self, now: Now) {
        let mut recorded = true;
        let mut effects = std::mem::take(&mut self.effects);
        while !effects.is_empty() {
            for effect in effects.drain(..) {
                match effect {
                    // The state reports an error once, by an event.
                    Effect::Record(record) => recorded &= self.state.append(&record).is_ok(),
                    Effect::MarkSequenceUsed(used) => recorded &= self.mark_used(&used, now),
                    Effect::Firewall(change) if recorded => self.send_change(change, now),
                    Effect::Firewall(change) => {
                        let reason = Reason::StateUnwritable;
                        self.engine
                            .abort_change(change.id, reason, now, &mut self.effects);
                    }
                    Effect::Run(request) => self.request_run(request, recorded, now),
                    Effect::Audit(event) => self.audit.write(*event),
                }
            }
            // Refusals may have added effects. The emptied vector keeps its capacity.
            std::mem::swap(&mut effects, &mut self.effects);
        }
        self.effects = effects;
    }

    /// Records that a sequence is used. Returns false if the record may be lost: then the sequence
    /// must open nothing.
    fn mark_used(&mut self, used: &UsedSequence, now: Now) -> bool {
        let UsedSequence {
            door,
            sequence,
            remaining: left,
        } = used;
        if let Err(error) = self.used.append(sequence, now.wall) {
            error!("the door {door} stays shut: {error}");
            return false;
        }
        // The state reports an error once, by an event.
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

    /// Writes used sequences again that could not be written. The status reports another failure.
    pub(super) fn retry_pending(&mut self) {
        if let Ok(count @ 1..) = self.used.retry_pending() {
            // If this fails, the file contains more than the journal knows of.
            let _ = self.state.append_used(self.used.mark());
            info!("that {count} sequences for one use are used is written down now");
        }
    }

    fn send_change(&mut self, change: Change, now: Now) {
        if self.writer.backlog() >= MAX_BACKLOG || self.writer_liveness.is_unresponsive() {
            let reason = Reason::FirewallUnresponsive;
            self.engine
                .abort_change(change.id, reason, now, &mut self.effects);
        } else {
            // While a change waits for its answer, the grants wake this process each second.
            self.writer_liveness.expect_answer(now.boot);
            self.queue(ToWriter::Change(change));
        }
    }

    /// Sends a message to the writer, in order. It waits if the writer has no room.
    pub(super) fn send(&mut self, message: ToWriter) {
        self.writer_liveness
            .expect_answer_and_check(clock::now().boot);
        self.queue(message);
    }

    fn queue(&mut self, message: ToWriter) {
        if let Err(error) = self.writer.send(message) {
            self.writer_error = Some(error);
        }
    }

    /// Sends the writer what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        if let Err(error) = self.writer.flush() {
            self.writer_error = Some(error);
        }
    }

    /// Logs the state's events.
    pub(super) fn log_state_events(&mut self) {
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

    /// Findings about lists of sequences of which some are used.
    pub(super) fn sequence_findings(&self) -> Findings {
        let config = self.engine.clients().config();
        let used = self.engine.used_sequences();
        used.map_or_else(Findings::default, |used| check_used_sequences(config, used))
    }
}

/// Audit lines about the daemon itself.
impl Executor {
    pub(super) fn audit_event(&mut self, event: Event) {
        self.audit.write(AuditEvent::new(event, clock::now().wall));
    }

    pub(super) fn audit_state(&mut self, detail: &'static str) {
        let mut event = AuditEvent::new(Event::State, clock::now().wall);
        event.detail = Some(detail);
        self.audit.write(event);
    }

    pub(super) fn audit_counts(&mut self, event: Event, what: &'static str, count: u64) {
        let mut event = AuditEvent::new(event, clock::now().wall);
        event.counts = vec![(what, count)];
        self.audit.write(event);
    }

    pub(super) fn audit_port(&mut self, event: Event, port: Service, detail: &'static str) {
        let mut event = AuditEvent::new(event, clock::now().wall);
        event.port = Some(port);
        event.service = self.engine.clients().service_at(port).cloned();
        event.detail = Some(detail);
        self.audit.write(event);
    }
}
