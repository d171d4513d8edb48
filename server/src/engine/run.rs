//! Declared commands: what the runner is asked, and what it says to it; pure.
//!
//! A packet that asks for a run was recorded before this. Its verdict waits for the
//! runner's word: nothing is told as started that was not.

use spa_proto::CommandName;

use super::act::Arrival;
use super::{Effect, Engine, Judged};
use crate::audit::{AuditEvent, Event, RunLine};
use crate::clock::Now;
use crate::policy::RunPermit;
use crate::runner::message::{Ended, RunCommand, RunId, RunRefusal, ToRunner};
use crate::verdict::{Reason, Verdict};

/// Runs that are asked for or under way, at most: more than the runner has at once.
const MOST: usize = 64;

/// A run that is asked for, or under way.
#[derive(Debug)]
pub(super) struct Running {
    arrival: Arrival,
    command: CommandName,
    started: bool,
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
            client,
            key: arrival.sender.id,
            source: arrival.source,
        })));
        let running = Running {
            arrival,
            command,
            started: false,
        };
        self.runs.insert(id, running);
        Judged::Running(id)
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
        let (arrival, command) = (running.arrival.clone(), running.command.to_string());
        let reason = Reason::Started;
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
        let running = self.runs.remove(&id)?;
        Some(self.conclude(&running.arrival, why, Vec::new(), now, effects))
    }

    /// It is over: told, with what it said.
    pub fn run_ended(&mut self, ended: Ended, now: Now, effects: &mut Vec<Effect>) {
        let Some(running) = self.runs.remove(&ended.id) else {
            return;
        };
        let mut line = AuditEvent::new(Event::Run, now.wall);
        line.client = running.arrival.client;
        line.key = Some(running.arrival.sender.id);
        line.source = Some(running.arrival.source);
        line.run = Some(Box::new(RunLine::ended(running.command.to_string(), ended)));
        effects.push(Effect::Audit(Box::new(line)));
    }

    /// Packets whose verdict the runner has yet to decide.
    pub(super) fn runs_pending(&self) -> usize {
        let runs = self.runs.values();
        runs.filter(|running| !running.started).count()
    }
}
