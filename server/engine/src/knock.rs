//! The side door: knocks → effects; pure.
//!
//! No stage of a packet's way is passed here, for a knock proves nothing: whoever sends
//! the right ones is let in. So what a door may do is narrow: its own services, for the
//! address that knocked, so many grants at a time, so many in so long.
//!
//! A sequence for one use is used up with its last knock, whatever follows: it was seen.

use std::collections::HashSet;
use std::sync::Arc;

use spad_config::{Config, Door};
use spad_model::knock::{KnockFilter, KnockProgress, ObservedKnock, Sequence, Tracker};
use spad_model::{DoorName, Now, Reason};

use super::pending::PendingChange;
use super::{Effect, Engine, UsedSequence};
use crate::audit::event::{AuditEvent, Event};
use crate::grants::Owner;
use crate::policy::{DoorPermit, Rates, door_permit};

/// Elements that one door may hold: who knows its sequence can knock in anybody's name,
/// and must not fill the kernel's sets.
const MAX_GRANTS_PER_DOOR: usize = 1024;

/// The doors, and what was asked for by them.
#[derive(Debug)]
pub(super) struct KnockService {
    tracker: Tracker,
    /// Sequences that no door opens by again; none where that is not known, and then no
    /// sequence for one use opens.
    used: Option<HashSet<Sequence>>,
    /// What is heard, from the start to the end.
    filter: KnockFilter,
    /// Of each door.
    rates: Rates,
}

/// A whole sequence whose verdict the firewall writer decides.
#[derive(Debug)]
pub(super) struct PendingKnock {
    permit: DoorPermit,
    knocked: CompletedKnock,
}

/// The last knock of a sequence, for its audit lines.
#[derive(Debug)]
pub(super) struct CompletedKnock {
    /// The door's name, also once it is gone from the configuration.
    pub(super) door: DoorName,
    pub(super) knock: ObservedKnock,
    at: Now,
}

impl CompletedKnock {
    /// What came of it; with a reason, where and how soon as well.
    pub(super) fn line(&self, event: Event, reason: Option<Reason>, now: Now) -> AuditEvent {
        let mut line = AuditEvent::new(event, now.wall);
        line.door = Some(self.door.clone());
        line.source = Some(self.knock.source);
        line.reason = reason;
        if reason.is_some() {
            line.interface = Some(self.knock.interface);
            line.latency = Some(now.boot.saturating_since(self.at.boot));
        }
        line
    }
}

impl KnockService {
    pub(super) fn new(config: &Config, used: Option<HashSet<Sequence>>) -> Self {
        let doors = config.knock.iter().map(|knock| knock.pattern.clone());
        let is_used =
            |sequence: &Sequence| used.as_ref().is_none_or(|used| used.contains(sequence));
        Self {
            tracker: Tracker::new(doors.collect(), is_used),
            used,
            filter: config.listen.carriers.knocks.clone(),
            rates: Rates::for_clients(config.knock.len()),
        }
    }

    /// Uses a new configuration; every attempt starts again. The filter is the capture's,
    /// which stays until the next start.
    pub(super) fn reload(&mut self, config: &Config) {
        let new = Self::new(config, self.used.take());
        let old = std::mem::replace(self, new);
        self.filter = old.filter;
    }
}

impl Engine {
    /// At the start: the sequences for one use that are used. Before this none opens.
    pub fn load_used_sequences(&mut self, used: HashSet<Sequence>) {
        self.knock_service.used = Some(used);
        self.knock_service.reload(self.clients.config());
    }

    /// The sequences for one use that are used, if that is known.
    #[must_use]
    pub fn used_sequences(&self) -> Option<&HashSet<Sequence>> {
        self.knock_service.used.as_ref()
    }

    /// How many sequences each door has left that opens once by each.
    pub fn remaining_sequences(&self) -> impl Iterator<Item = (&DoorName, usize)> {
        let doors = self.clients.config().knock.iter().enumerate();
        let doors = doors.filter(|(_, door)| door.pattern.sequences.one_time().is_some());
        doors.map(|(place, door)| (&door.name, self.knock_service.tracker.remaining(place)))
    }

    /// Hears one knock. It ends in exactly one reason, now or with the firewall writer's
    /// answer.
    pub fn on_knock(&mut self, knock: &ObservedKnock, now: Now, effects: &mut Vec<Effect>) {
        self.on_knock_with(knock, now, effects, |_, _| {});
    }

    /// The same; `tell` is told what it was to each door that heard it.
    pub fn on_knock_with(
        &mut self,
        knock: &ObservedKnock,
        now: Now,
        effects: &mut Vec<Effect>,
        mut observe: impl FnMut(&Door, KnockProgress<'_>),
    ) {
        let config = Arc::clone(self.clients.config());
        let (mut completed, mut used) = (None, None);
        self.knock_service
            .tracker
            .observe(knock, now.boot, |place, heard| {
                if let KnockProgress::Completed(sequence) = heard {
                    completed = Some(place);
                    used = sequence.cloned();
                }
                if let Some(door) = config.knock.get(place) {
                    observe(door, heard);
                }
            });
        let Some(door) = completed else {
            return self.counters.count(Reason::Knock);
        };
        if let Some(sequence) = used {
            effects.extend(self.mark_used(door, sequence));
        }
        let permit = self.may_open(door, knock, now);
        let Some((permit, door)) = permit.zip(config.knock.get(door)) else {
            return self.counters.count(Reason::KnockRefused);
        };
        let knocked = CompletedKnock {
            door: door.name.clone(),
            knock: *knock,
            at: now,
        };
        match permit.run() {
            Some(command) if permit.elements().is_empty() => {
                self.counters.count(Reason::KnockRan);
                self.run_for_door(command.clone(), knocked, now, effects);
            }
            _ => {
                let change = self.grants.open_door(&permit, now.boot);
                let knock = PendingChange::Knock(PendingKnock { permit, knocked });
                self.pending.add_change(change.id, knock);
                effects.push(Effect::Firewall(change));
            }
        }
    }

    fn mark_used(&mut self, index: usize, sequence: Sequence) -> Option<Effect> {
        let known = self.knock_service.used.as_mut()?;
        known.insert(sequence.clone());
        let door = self.clients.config().knock.get(index)?;
        Some(Effect::MarkSequenceUsed(UsedSequence {
            door: door.name.clone(),
            sequence,
            remaining: self.knock_service.tracker.remaining(index),
        }))
    }

    fn may_open(&mut self, index: usize, knock: &ObservedKnock, now: Now) -> Option<DoorPermit> {
        let config = self.clients.config();
        let door = config.knock.get(index)?;
        // A strict door that is deaf to wrong knocks would open to a scan.
        if !self.knock_service.filter.covers(&door.pattern) {
            return None;
        }
        let permit = door_permit(config, door, knock.source)?;
        let grants = self.grants.count_for_owner(Owner::Door(permit.door()));
        let room = grants.saturating_add(permit.elements().len()) <= MAX_GRANTS_PER_DOOR;
        let rate = config.grants.rate;
        (room && self.knock_service.rates.admit(index, rate, now.boot)).then_some(permit)
    }

    /// Counts and audits a completed sequence whose change is answered, and runs its command.
    pub(super) fn finish_knock(
        &mut self,
        knock: PendingKnock,
        refused: Option<Reason>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let PendingKnock { permit, knocked } = knock;
        self.counters.count(refused.unwrap_or(Reason::KnockOpened));
        let event = match refused {
            Some(_) => Event::Refuse,
            None => Event::Grant,
        };
        for (element, ttl) in permit.elements() {
            let reason = refused.unwrap_or(Reason::KnockOpened);
            let mut line = knocked.line(event, Some(reason), now);
            self.describe(&mut line, element);
            line.ttl = Some(*ttl);
            effects.push(Effect::Audit(Box::new(line)));
        }
        // What runs beside it may count on being reached.
        if let (None, Some(command)) = (refused, permit.run()) {
            self.run_for_door(command.clone(), knocked, now, effects);
        }
    }
}
