//! Declared commands: what the runner is asked, and what it says to it; pure.
//!
//! A packet that asks for a run was recorded before this. Its verdict waits for the
//! runner's word: nothing is told as started that was not.

use spa_proto::CommandName;

use super::act::Arrival;
use super::knock::Knocked;
use super::{Effect, Engine, Judged};
use crate::audit::{AuditEvent, Event, RunLine};
use crate::clock::Now;
use crate::policy::RunPermit;
use crate::runner::message::{Ended, RunBy, RunCommand, RunId, RunRefusal, ToRunner};
use crate::verdict::{Reason, Verdict};

/// Runs that are asked for or under way, at most: more than the runner has at once.
const MOST: usize = 64;
/// Of these for doors.
const OF_DOORS: usize = 16;

/// A run that is asked for, or under way.
#[derive(Debug)]
pub(super) struct Running {
    by: By,
    command: CommandName,
    started: bool,
}

/// By what it was asked for.
#[derive(Debug)]
enum By {
    /// A packet, whose verdict waits for the start.
    Packet(Arrival),
    /// A whole sequence of knocks, which had its own already.
    Knock(Knocked),
}

impl Engine {
    pub(super) fn run(
        &mut self,
        permit: RunPermit,
        arrival: Arrival,
        effects: &mut Vec<Effect>,
    ) -> Judged {
        let now = arrival.at;
        let command = permit.into_command();
        let Some(client) = arrival.client.clone().filter(|_| self.runs.len() < MOST) else {
            return Judged::Verdict(self.conclude(
                &arrival,
                Reason::RunnerBusy,
                Vec::new(),
                now,
                effects,
            ));
        };
        let id = self.next_run();
        effects.push(Effect::Run(ToRunner::Run(RunCommand {
            id,
            command: command.clone(),
            by: RunBy::Client(client, arrival.sender.id),
            source: arrival.source,
        })));
        let running = Running {
            by: By::Packet(arrival),
            command,
            started: false,
        };
        self.runs.insert(id, running);
        Judged::Running(id)
    }

    /// A door's command. Whatever comes of it is told, and is no verdict.
    pub(super) fn run_by_knock(
        &mut self,
        command: CommandName,
        knocked: Knocked,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let runs = self.runs.values();
        let of_doors = runs.filter(|running| matches!(running.by, By::Knock(_)));
        if of_doors.count() >= OF_DOORS || self.runs.len() >= MOST {
            let line = knocked.line(Event::Refuse, Some(Reason::RunnerBusy), now);
            return effects.push(Effect::Audit(Box::new(line)));
        }
        let id = self.next_run();
        effects.push(Effect::Run(ToRunner::Run(RunCommand {
            id,
            command: command.clone(),
            by: RunBy::Door(knocked.door.clone()),
            source: knocked.hit.source,
        })));
        let running = Running {
            by: By::Knock(knocked),
            command,
            started: false,
        };
        self.runs.insert(id, running);
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
        let running = self.runs.get_mut(&id).filter(|running| !running.started)?;
        running.started = true;
        let command = running.command.to_string();
        let reason = Reason::Started;
        let arrival = match &running.by {
            By::Packet(arrival) => arrival.clone(),
            By::Knock(knocked) => {
                let mut line = knocked.line(Event::RunStart, Some(reason), now);
                line.run = Some(Box::new(RunLine::of(command)));
                effects.push(Effect::Audit(Box::new(line)));
                return None;
            }
        };
        let mut line = self.refusal(&arrival, reason, now);
        line.event = Event::RunStart;
        line.latency = Some(now.boot.saturating_since(arrival.at.boot));
        line.run = Some(Box::new(RunLine::of(command)));
        self.counters.count(reason);
        effects.push(Effect::Audit(Box::new(line)));
        Some(Verdict {
            reason,
            client: arrival.client,
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
        self.run_abandoned(id, refusal.into(), now, effects)
    }

    /// It was never asked for: a record before it could not be written
    /// ([`Reason::StateUnwritable`]), or there is no runner ([`Reason::RunnerGone`]).
    pub fn run_abandoned(
        &mut self,
        id: RunId,
        why: Reason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        match self.runs.remove(&id)?.by {
            By::Packet(arrival) => Some(self.conclude(&arrival, why, Vec::new(), now, effects)),
            By::Knock(knocked) => {
                let line = knocked.line(Event::Refuse, Some(why), now);
                effects.push(Effect::Audit(Box::new(line)));
                None
            }
        }
    }

    /// It is over: told, with what it said.
    pub fn run_ended(&mut self, ended: Ended, now: Now, effects: &mut Vec<Effect>) {
        let Some(running) = self.runs.remove(&ended.id) else {
            return;
        };
        let mut line = match running.by {
            By::Packet(arrival) => {
                let mut line = AuditEvent::new(Event::Run, now.wall);
                line.client = arrival.client;
                line.key = Some(arrival.sender.id);
                line.source = Some(arrival.source);
                line
            }
            By::Knock(knocked) => knocked.line(Event::Run, None, now),
        };
        line.run = Some(Box::new(RunLine::ended(running.command.to_string(), ended)));
        effects.push(Effect::Audit(Box::new(line)));
    }

    /// Packets whose verdict the runner has yet to decide.
    pub(super) fn runs_pending(&self) -> usize {
        let runs = self.runs.values();
        let waiting = runs.filter(|running| !running.started);
        let packets = waiting.filter(|running| matches!(running.by, By::Packet(_)));
        packets.count()
    }
}
