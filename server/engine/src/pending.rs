//! What waits for an answer of the firewall writer or the command runner; pure.
//!
//! Each change and each run waits here once, so its answer finds who asked for it.

use std::collections::BTreeMap;
use std::time::Duration;

use spad_model::{ChangeId, Element, Reason, RunId};
use spad_replay::HolderKey;

use super::firewall::PacketOrigin;
use super::knock::PendingKnock;
use super::run::PendingCommand;
use crate::policy::AdminPermit;

/// Commands that are asked for or running, at most: more than the runner runs at once.
const MAX_COMMANDS: usize = 64;
/// How many of these doors may have.
const MAX_FOR_DOORS: usize = 16;

/// Who waits for the firewall writer to answer a change.
#[derive(Debug)]
pub(super) enum PendingChange {
    /// A packet, whose verdict the answer decides.
    Packet {
        origin: PacketOrigin,
        /// The verdict if the kernel accepts the change.
        reason: Reason,
        elements: Vec<(Element, Duration)>,
    },
    /// A completed sequence of knocks.
    Knock(PendingKnock),
    /// An administrator.
    Admin { uid: u32, permit: AdminPermit },
}

/// What the command runner was asked to run and has not ended yet.
#[derive(Debug)]
pub(super) enum PendingRun {
    /// A command, for a packet or a door.
    Command(PendingCommand),
    /// The hook of this holder's grant.
    Hook(HolderKey),
}

/// Everything that waits for an answer.
#[derive(Debug, Default)]
pub(super) struct Pending {
    changes: BTreeMap<ChangeId, PendingChange>,
    runs: BTreeMap<RunId, PendingRun>,
    last_run: u64,
}

impl Pending {
    pub(super) fn add_change(&mut self, id: ChangeId, change: PendingChange) {
        self.changes.insert(id, change);
    }

    pub(super) fn take_change(&mut self, id: ChangeId) -> Option<PendingChange> {
        self.changes.remove(&id)
    }

    /// Gives the run its id.
    pub(super) fn add_run(&mut self, run: PendingRun) -> RunId {
        self.last_run = self.last_run.saturating_add(1);
        let id = RunId(self.last_run);
        self.runs.insert(id, run);
        id
    }

    /// Marks a command as started. Returns it unless it had started before.
    pub(super) fn start_command(&mut self, id: RunId) -> Option<&PendingCommand> {
        match self.runs.get_mut(&id)? {
            PendingRun::Command(command) if !command.started => {
                command.started = true;
                Some(command)
            }
            PendingRun::Command(_) | PendingRun::Hook(_) => None,
        }
    }

    pub(super) fn take_run(&mut self, id: RunId) -> Option<PendingRun> {
        self.runs.remove(&id)
    }

    /// Whether one more command may be asked for.
    pub(super) fn has_room_for_command(&self) -> bool {
        self.commands().count() < MAX_COMMANDS
    }

    /// Whether one more command may be asked for by a door.
    pub(super) fn has_room_for_door(&self) -> bool {
        let for_doors = self.commands().filter(|command| !command.is_for_packet());
        for_doors.count() < MAX_FOR_DOORS && self.has_room_for_command()
    }

    pub(super) fn running_hooks(&self) -> usize {
        let runs = self.runs.values();
        runs.filter(|run| matches!(run, PendingRun::Hook(_)))
            .count()
    }

    /// How many packets and completed sequences wait for their verdict.
    pub(super) fn undecided(&self) -> usize {
        let changes = self.changes.values();
        let changes = changes.filter(|change| !matches!(change, PendingChange::Admin { .. }));
        let commands = self.commands();
        let commands = commands.filter(|command| !command.started && command.is_for_packet());
        changes.count().saturating_add(commands.count())
    }

    fn commands(&self) -> impl Iterator<Item = &PendingCommand> {
        self.runs.values().filter_map(|run| match run {
            PendingRun::Command(command) => Some(command),
            PendingRun::Hook(_) => None,
        })
    }
}
