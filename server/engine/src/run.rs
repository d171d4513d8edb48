//! Declared commands: what the runner is asked, and what it says to it; pure.
//!
//! A packet that asks for a run was recorded before this. Its verdict waits for the
//! runner's word: nothing is told as started that was not.

use spa_proto::CommandName;
use spad_model::{
    Now, Reason, Requester, RunCommand, RunExit, RunId, RunRefusal, RunRequest, Verdict,
};

use super::firewall::PacketOrigin;
use super::knock::CompletedKnock;
use super::{Disposition, Effect, Engine};
use crate::audit::event::{AuditEvent, Event};
use crate::audit::run::RunRecord;
use crate::policy::RunPermit;

/// Runs that are asked for or under way, at most: more than the runner has at once.
const MAX_RUNS: usize = 64;
/// Of these for doors.
const MAX_FOR_DOORS: usize = 16;

/// A run that is asked for, or under way.
#[derive(Debug)]
pub(super) struct PendingRun {
    origin: RunOrigin,
    command: CommandName,
    started: bool,
}

/// By what it was asked for.
#[derive(Debug)]
enum RunOrigin {
    /// A packet, whose verdict waits for the start.
    Packet(PacketOrigin),
    /// A whole sequence of knocks, which had its own already.
    Knock(CompletedKnock),
}

impl Engine {
    pub(super) fn run(
        &mut self,
        permit: RunPermit,
        origin: PacketOrigin,
        effects: &mut Vec<Effect>,
    ) -> Disposition {
        let now = origin.at;
        let command = permit.into_command();
        let Some(client) = origin
            .client
            .clone()
            .filter(|_| self.pending_runs.len() < MAX_RUNS)
        else {
            return Disposition::Verdict(self.finish_packet(
                &origin,
                Reason::RunnerBusy,
                Vec::new(),
                now,
                effects,
            ));
        };
        let id = self.next_run();
        effects.push(Effect::Run(RunRequest::Command(RunCommand {
            id,
            command: command.clone(),
            requester: Requester::Client(client, origin.sender.id),
            source: origin.source,
        })));
        let pending = PendingRun {
            origin: RunOrigin::Packet(origin),
            command,
            started: false,
        };
        self.pending_runs.insert(id, pending);
        Disposition::AwaitingRunner(id)
    }

    /// A door's command. Whatever comes of it is told, and is no verdict.
    pub(super) fn run_for_door(
        &mut self,
        command: CommandName,
        knocked: CompletedKnock,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let runs = self.pending_runs.values();
        let door_runs = runs.filter(|running| matches!(running.origin, RunOrigin::Knock(_)));
        if door_runs.count() >= MAX_FOR_DOORS || self.pending_runs.len() >= MAX_RUNS {
            let line = knocked.line(Event::Refuse, Some(Reason::RunnerBusy), now);
            return effects.push(Effect::Audit(Box::new(line)));
        }
        let id = self.next_run();
        effects.push(Effect::Run(RunRequest::Command(RunCommand {
            id,
            command: command.clone(),
            requester: Requester::Door(knocked.door.clone()),
            source: knocked.knock.source,
        })));
        let pending = PendingRun {
            origin: RunOrigin::Knock(knocked),
            command,
            started: false,
        };
        self.pending_runs.insert(id, pending);
    }

    pub(super) fn next_run(&mut self) -> RunId {
        self.last_run = self.last_run.saturating_add(1);
        RunId(self.last_run)
    }

    /// The runner started it; gives the verdict that waited for this.
    pub fn run_started(
        &mut self,
        id: RunId,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        let running = self
            .pending_runs
            .get_mut(&id)
            .filter(|running| !running.started)?;
        running.started = true;
        let command = running.command.to_string();
        let reason = Reason::Started;
        let origin = match &running.origin {
            RunOrigin::Packet(arrival) => arrival.clone(),
            RunOrigin::Knock(knocked) => {
                let mut line = knocked.line(Event::RunStart, Some(reason), now);
                line.run = Some(Box::new(RunRecord::started(command)));
                effects.push(Effect::Audit(Box::new(line)));
                return None;
            }
        };
        let mut line = self.refusal_event(&origin, reason, now);
        line.event = Event::RunStart;
        line.latency = Some(now.boot.saturating_since(origin.at.boot));
        line.run = Some(Box::new(RunRecord::started(command)));
        self.counters.count(reason);
        effects.push(Effect::Audit(Box::new(line)));
        Some(Verdict {
            reason,
            client: origin.client,
            elements: Vec::new(),
        })
    }

    /// The runner did not start it.
    pub fn run_refused(
        &mut self,
        id: RunId,
        refusal: RunRefusal,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        self.run_aborted(id, refusal.into(), now, effects)
    }

    /// It was never asked for: a record before it could not be written
    /// ([`Reason::StateUnwritable`]), or there is no runner ([`Reason::RunnerGone`]).
    pub fn run_aborted(
        &mut self,
        id: RunId,
        why: Reason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        match self.pending_runs.remove(&id)?.origin {
            RunOrigin::Packet(arrival) => {
                Some(self.finish_packet(&arrival, why, Vec::new(), now, effects))
            }
            RunOrigin::Knock(knocked) => {
                let line = knocked.line(Event::Refuse, Some(why), now);
                effects.push(Effect::Audit(Box::new(line)));
                None
            }
        }
    }

    /// It is over: told, with what it said.
    pub fn run_ended(&mut self, ended: RunExit, now: Now, effects: &mut Vec<Effect>) {
        let Some(running) = self.pending_runs.remove(&ended.id) else {
            return;
        };
        let mut line = match running.origin {
            RunOrigin::Packet(arrival) => {
                let mut line = AuditEvent::new(Event::Run, now.wall);
                line.client = arrival.client;
                line.key = Some(arrival.sender.id);
                line.source = Some(arrival.source);
                line
            }
            RunOrigin::Knock(knocked) => knocked.line(Event::Run, None, now),
        };
        line.run = Some(Box::new(RunRecord::ended(
            running.command.to_string(),
            ended,
        )));
        effects.push(Effect::Audit(Box::new(line)));
    }

    /// Packets whose verdict the runner has yet to decide.
    pub(super) fn runs_pending(&self) -> usize {
        let runs = self.pending_runs.values();
        let waiting = runs.filter(|running| !running.started);
        let packets = waiting.filter(|running| matches!(running.origin, RunOrigin::Packet(_)));
        packets.count()
    }
}
