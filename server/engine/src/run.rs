//! Declared commands: what the runner is asked, and what it says to it; pure.
//!
//! A packet that asks for a run was recorded before this. Its verdict waits for the
//! runner's word: nothing is told as started that was not.

use std::net::IpAddr;

use spa_proto::CommandName;
use spad_model::{
    Now, Reason, Requester, RunCommand, RunExit, RunId, RunRefusal, RunRequest, Verdict,
};

use super::firewall::PacketOrigin;
use super::knock::CompletedKnock;
use super::pending::PendingRun;
use super::{Disposition, Effect, Engine};
use crate::audit::event::{AuditEvent, Event};
use crate::audit::run::RunRecord;
use crate::policy::RunPermit;

/// A command that is asked for or running.
#[derive(Debug)]
pub(super) struct PendingCommand {
    origin: RunOrigin,
    command: CommandName,
    pub(super) started: bool,
}

impl PendingCommand {
    pub(super) fn is_for_packet(&self) -> bool {
        matches!(self.origin, RunOrigin::Packet(_))
    }
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
            .filter(|_| self.pending.has_room_for_command())
        else {
            return Disposition::Verdict(self.finish_packet(
                &origin,
                Reason::RunnerBusy,
                Vec::new(),
                now,
                effects,
            ));
        };
        let requester = Requester::Client(client, origin.sender.id);
        let source = origin.source;
        let origin = RunOrigin::Packet(origin);
        let id = self.request_command(command, requester, source, origin, effects);
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
        if !self.pending.has_room_for_door() {
            let line = knocked.line(Event::Refuse, Some(Reason::RunnerBusy), now);
            return effects.push(Effect::Audit(Box::new(line)));
        }
        let requester = Requester::Door(knocked.door.clone());
        let source = knocked.knock.source;
        let origin = RunOrigin::Knock(knocked);
        self.request_command(command, requester, source, origin, effects);
    }

    fn request_command(
        &mut self,
        command: CommandName,
        requester: Requester,
        source: IpAddr,
        origin: RunOrigin,
        effects: &mut Vec<Effect>,
    ) -> RunId {
        let id = self.pending.add_run(PendingRun::Command(PendingCommand {
            origin,
            command: command.clone(),
            started: false,
        }));
        effects.push(Effect::Run(RunRequest::Command(RunCommand {
            id,
            command,
            requester,
            source,
        })));
        id
    }

    /// Handles the runner's word that it started a run. Returns the verdict that waited for it.
    pub fn run_started(
        &mut self,
        id: RunId,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        let running = self.pending.start_command(id)?;
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

    /// Handles the runner's refusal of a run. Returns the verdict that waited for it.
    pub fn run_refused(
        &mut self,
        id: RunId,
        refusal: RunRefusal,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        self.run_aborted(id, refusal.into(), now, effects)
    }

    /// Ends a run that the runner never started: a record before it could not be written
    /// ([`Reason::StateUnwritable`]), or there is no runner ([`Reason::RunnerGone`]). A hook
    /// is not run again.
    pub fn run_aborted(
        &mut self,
        id: RunId,
        why: Reason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        let command = match self.pending.take_run(id)? {
            PendingRun::Command(command) => command,
            PendingRun::Hook(key) => {
                self.hook_refused(key, why, now, effects);
                return None;
            }
        };
        match command.origin {
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

    /// Audits the end of a run, with its output.
    pub fn run_ended(&mut self, exit: RunExit, now: Now, effects: &mut Vec<Effect>) {
        match self.pending.take_run(exit.id) {
            Some(PendingRun::Command(command)) => command_ended(command, exit, now, effects),
            Some(PendingRun::Hook(key)) => self.hook_ended(key, exit, now, effects),
            None => {}
        }
    }
}

fn command_ended(command: PendingCommand, exit: RunExit, now: Now, effects: &mut Vec<Effect>) {
    let mut line = match command.origin {
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
        command.command.to_string(),
        exit,
    )));
    effects.push(Effect::Audit(Box::new(line)));
}
