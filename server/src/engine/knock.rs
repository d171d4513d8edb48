//! The side door: knocks → effects; pure.
//!
//! No stage of a packet's way is passed here, for a knock proves nothing: whoever sends
//! the right ones is let in. So what a door may do is narrow: its own services, for the
//! address that knocked, so many grants at a time, so many in so long.

use std::collections::BTreeMap;

use super::{Effect, Engine};
use crate::audit::Event;
use crate::clock::Now;
use crate::config::Config;
use crate::firewall::ChangeId;
use crate::grants::Owner;
use crate::knocking::{Demands, Heard, Hit, Tracker};
use crate::policy::{ByKnock, Rates, by_knock};
use crate::verdict::Reason;

/// Elements that one door may hold: who knows its sequence can knock in anybody's name,
/// and must not fill the kernel's sets.
const HELD: usize = 1024;

/// The doors, and what was asked for by them.
#[derive(Debug)]
pub(super) struct Doors {
    tracker: Tracker,
    /// What is heard, from the start to the end.
    heard: Demands,
    /// Of each door.
    rates: Rates,
    asked: BTreeMap<ChangeId, Asked>,
}

/// A whole sequence whose verdict the firewall writer decides.
#[derive(Debug)]
struct Asked {
    knocked: ByKnock,
    hit: Hit,
    at: Now,
}

impl Doors {
    pub(super) fn of(config: &Config) -> Self {
        let doors = config.knock.iter().map(|knock| knock.door.clone());
        Self {
            // Which are used is not known, so none is taken for unused.
            tracker: Tracker::new(doors.collect(), |_| true),
            heard: config.listen.carriers.knocks.clone(),
            rates: Rates::for_clients(config.knock.len()),
            asked: BTreeMap::new(),
        }
    }

    /// Of a new configuration: attempts begin anew, answers are still waited for.
    pub(super) fn reload(&mut self, config: &Config) {
        let Self { heard, asked, .. } = std::mem::replace(self, Self::of(config));
        *self = Self {
            heard,
            asked,
            ..Self::of(config)
        };
    }

    /// Sequences whose verdict the firewall writer has yet to decide.
    pub(super) fn pending(&self) -> usize {
        self.asked.len()
    }
}

impl Engine {
    /// Hears one knock. It ends in exactly one reason, now or with the firewall writer's
    /// answer.
    pub fn knock(&mut self, hit: &Hit, now: Now, effects: &mut Vec<Effect>) {
        let mut completed = None;
        self.doors.tracker.hear(hit, now.boot, |door, heard| {
            if let Heard::Whole(_) = heard {
                completed = Some(door);
            }
        });
        let Some(door) = completed else {
            return self.counters.count(Reason::Knock);
        };
        let Some(knocked) = self.may_open(door, hit, now) else {
            return self.counters.count(Reason::KnockRefused);
        };
        let change = self.grants.open_by_knock(&knocked, now.boot);
        let asked = Asked {
            knocked,
            hit: *hit,
            at: now,
        };
        self.doors.asked.insert(change.id, asked);
        effects.push(Effect::Firewall(change));
    }

    fn may_open(&mut self, place: usize, hit: &Hit, now: Now) -> Option<ByKnock> {
        let config = self.clients.config();
        let door = config.knock.get(place)?;
        // A strict door that is deaf to wrong knocks would open to a scan.
        if !self.doors.heard.cover(&door.door) {
            return None;
        }
        let knocked = by_knock(config, door, hit.source)?;
        if knocked.elements().is_empty() {
            return None;
        }
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
        let Some(Asked { knocked, hit, at }) = self.doors.asked.remove(&id) else {
            return;
        };
        self.counters.count(refused.unwrap_or(Reason::KnockOpened));
        let event = match refused {
            Some(_) => Event::Refuse,
            None => Event::Grant,
        };
        for (element, ttl) in knocked.elements() {
            let mut line = self.about(event, Owner::Door(knocked.door()), element, now);
            line.source = Some(hit.source);
            line.interface = Some(hit.interface);
            line.reason = Some(refused.unwrap_or(Reason::KnockOpened));
            line.ttl = Some(*ttl);
            line.latency = Some(now.boot.saturating_since(at.boot));
            effects.push(Effect::Audit(Box::new(line)));
        }
    }
}
