//! The side door: knocks → effects; pure.
//!
//! No stage of a packet's way is passed here, for a knock proves nothing: whoever sends
//! the right ones is let in. So what a door may do is narrow: its own services, for the
//! address that knocked, so many grants at a time, so many in so long.
//!
//! A sequence for one use is used up with its last knock, whatever follows: it was seen.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::{Effect, Engine, UsedUp};
use crate::audit::{AuditEvent, Event};
use crate::clock::Now;
use crate::config::{Config, DoorName, KnockDoor};
use crate::firewall::ChangeId;
use crate::grants::Owner;
use crate::knocking::{Demands, Heard, Hit, Sequence, Tracker};
use crate::policy::{ByKnock, Rates, by_knock};
use crate::verdict::Reason;

/// Elements that one door may hold: who knows its sequence can knock in anybody's name,
/// and must not fill the kernel's sets.
const HELD: usize = 1024;

/// The doors, and what was asked for by them.
#[derive(Debug)]
pub(super) struct Doors {
    tracker: Tracker,
    /// Sequences that no door opens by again; none where that is not known, and then no
    /// sequence for one use opens.
    used: Option<HashSet<Sequence>>,
    /// What is heard, from the start to the end.
    heard: Demands,
    /// Of each door.
    rates: Rates,
    asked: BTreeMap<ChangeId, Asked>,
}

/// A whole sequence whose verdict the firewall writer decides.
#[derive(Debug)]
struct Asked {
    permit: ByKnock,
    knocked: Knocked,
}

/// The last knock of a sequence, for its audit lines.
#[derive(Debug)]
pub(super) struct Knocked {
    /// The door's name, also once it is gone from the configuration.
    pub(super) door: DoorName,
    pub(super) hit: Hit,
    at: Now,
}

impl Knocked {
    /// What came of it; with a reason, where and how soon as well.
    pub(super) fn line(&self, event: Event, reason: Option<Reason>, now: Now) -> AuditEvent {
        let mut line = AuditEvent::new(event, now.wall);
        line.door = Some(self.door.clone());
        line.source = Some(self.hit.source);
        line.reason = reason;
        if reason.is_some() {
            line.interface = Some(self.hit.interface);
            line.latency = Some(now.boot.saturating_since(self.at.boot));
        }
        line
    }
}

impl Doors {
    pub(super) fn of(config: &Config, used: Option<HashSet<Sequence>>) -> Self {
        let doors = config.knock.iter().map(|knock| knock.door.clone());
        let is_used =
            |sequence: &Sequence| used.as_ref().is_none_or(|used| used.contains(sequence));
        Self {
            tracker: Tracker::new(doors.collect(), is_used),
            used,
            heard: config.listen.carriers.knocks.clone(),
            rates: Rates::for_clients(config.knock.len()),
            asked: BTreeMap::new(),
        }
    }

    /// Of a new configuration: attempts begin anew, answers are still waited for.
    pub(super) fn reload(&mut self, config: &Config) {
        let new = Self::of(config, self.used.take());
        let Self { heard, asked, .. } = std::mem::replace(self, new);
        (self.heard, self.asked) = (heard, asked);
    }

    /// Sequences whose verdict the firewall writer has yet to decide.
    pub(super) fn pending(&self) -> usize {
        self.asked.len()
    }
}

impl Engine {
    /// At the start: the sequences for one use that are used. Before this none opens.
    pub fn recall_used(&mut self, used: HashSet<Sequence>) {
        self.doors.used = Some(used);
        self.doors.reload(self.clients.config());
    }

    /// The sequences for one use that are used, if that is known.
    #[must_use]
    pub fn used_sequences(&self) -> Option<&HashSet<Sequence>> {
        self.doors.used.as_ref()
    }

    /// How many sequences each door has left that opens once by each.
    pub fn sequences_left(&self) -> impl Iterator<Item = (&DoorName, usize)> {
        let doors = self.clients.config().knock.iter().enumerate();
        let doors = doors.filter(|(_, door)| door.door.sequences.one_time().is_some());
        doors.map(|(place, door)| (&door.name, self.doors.tracker.left(place)))
    }

    /// Hears one knock. It ends in exactly one reason, now or with the firewall writer's
    /// answer.
    pub fn knock(&mut self, hit: &Hit, now: Now, effects: &mut Vec<Effect>) {
        self.knock_and_tell(hit, now, effects, |_, _| {});
    }

    /// The same; `tell` is told what it was to each door that heard it.
    pub fn knock_and_tell(
        &mut self,
        hit: &Hit,
        now: Now,
        effects: &mut Vec<Effect>,
        mut tell: impl FnMut(&KnockDoor, Heard<'_>),
    ) {
        let config = Arc::clone(self.clients.config());
        let (mut completed, mut used) = (None, None);
        self.doors.tracker.hear(hit, now.boot, |place, heard| {
            if let Heard::Whole(sequence) = heard {
                completed = Some(place);
                used = sequence.cloned();
            }
            if let Some(door) = config.knock.get(place) {
                tell(door, heard);
            }
        });
        let Some(door) = completed else {
            return self.counters.count(Reason::Knock);
        };
        if let Some(sequence) = used {
            effects.extend(self.use_up(door, sequence));
        }
        let permit = self.may_open(door, hit, now);
        let Some((permit, door)) = permit.zip(config.knock.get(door)) else {
            return self.counters.count(Reason::KnockRefused);
        };
        let knocked = Knocked {
            door: door.name.clone(),
            hit: *hit,
            at: now,
        };
        match permit.run() {
            Some(command) if permit.elements().is_empty() => {
                self.counters.count(Reason::KnockRan);
                self.run_by_knock(command.clone(), knocked, now, effects);
            }
            _ => {
                let change = self.grants.open_by_knock(&permit, now.boot);
                let asked = Asked { permit, knocked };
                self.doors.asked.insert(change.id, asked);
                effects.push(Effect::Firewall(change));
            }
        }
    }

    fn use_up(&mut self, place: usize, sequence: Sequence) -> Option<Effect> {
        let known = self.doors.used.as_mut()?;
        known.insert(sequence.clone());
        let door = self.clients.config().knock.get(place)?;
        Some(Effect::UseUp(UsedUp {
            door: door.name.clone(),
            sequence,
            left: self.doors.tracker.left(place),
        }))
    }

    fn may_open(&mut self, place: usize, hit: &Hit, now: Now) -> Option<ByKnock> {
        let config = self.clients.config();
        let door = config.knock.get(place)?;
        // A strict door that is deaf to wrong knocks would open to a scan.
        if !self.doors.heard.cover(&door.door) {
            return None;
        }
        let knocked = by_knock(config, door, hit.source)?;
        let held = self.grants.count_of(Owner::Door(knocked.door()));
        let room = held.saturating_add(knocked.elements().len()) <= HELD;
        let rate = config.grants.rate;
        (room && self.doors.rates.admit(place, rate, now.boot)).then_some(knocked)
    }

    /// Tells of a whole sequence that is answered.
    pub(super) fn settle_knock(
        &mut self,
        id: ChangeId,
        refused: Option<Reason>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(Asked { permit, knocked }) = self.doors.asked.remove(&id) else {
            return;
        };
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
            self.run_by_knock(command.clone(), knocked, now, effects);
        }
    }
}
