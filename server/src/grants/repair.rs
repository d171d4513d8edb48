//! Expiry, adoption at start, and mending what the kernel holds otherwise; pure.
//!
//! The kernel closes on time by itself: an expiry sends nothing. But its timeouts
//! stand still while the machine sleeps, and so does the daemon: where more than
//! five seconds (by the clock that counts sleep) lie between two ticks, which are
//! a second apart while anything is open, everything open is put to its right end
//! anew, and what has ended is removed. An element for one connection is removed
//! even if it has not ended: it may have been used, and must not come again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::Service;

use super::{Grants, Holding, Owner};
use crate::clock::BootTime;
use crate::firewall::{Change, ChangeId, Element, KernelElement};
use crate::grants::entry::{Entry, Held};
use crate::replay::{Holder, HolderKey, JournalRecord};

/// A mend that the kernel refused is tried again after this.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Ticks are this far apart while anything is open.
const PERIOD: Duration = Duration::from_secs(1);

/// Ticks are at least this far apart, so that many grants cost no more than few.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

/// Ticks further apart than this: the machine slept.
const SLEPT: Duration = Duration::from_secs(5);

/// The kernel may hold an element this much longer than its holders: the time
/// that a change takes to reach it.
const SLACK: Duration = Duration::from_secs(1);

/// What a tick gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Whose time is over.
    pub expired: Vec<(Owner, Element)>,
    /// What mends the kernel.
    pub changes: Vec<Change>,
}

/// The end the kernel should hold, where it holds a later one; the inner `None`: it
/// should not hold it at all.
#[expect(clippy::option_option, reason = "whether to mend, and to what")]
pub(super) fn differs(entry: &Entry, now: BootTime) -> Option<Option<BootTime>> {
    let kernel = entry.kernel.filter(|kernel| *kernel > now)?;
    match entry.latest().filter(|latest| *latest > now) {
        None => Some(None),
        Some(latest) if kernel > latest.saturating_add(SLACK) => Some(Some(latest)),
        Some(_) => None,
    }
}

impl Grants {
    /// Takes away whose time is over, and mends what the kernel holds too long.
    pub fn tick(&mut self, now: BootTime) -> Ticked {
        let slept = self
            .last_tick
            .is_some_and(|last| now.saturating_since(last) > SLEPT);
        self.last_tick = Some(now);
        let mut ticked = Ticked::default();
        if slept || self.earliest.is_some_and(|earliest| earliest <= now) {
            self.scan(now, slept, &mut ticked.expired);
        }
        for (owner, element) in &ticked.expired {
            self.forget(*owner, element);
        }
        if slept || self.dirty_due.is_some_and(|due| due <= now) {
            ticked.changes = self.mend(slept, now);
        }
        if self.elements.is_empty() {
            self.last_tick = None;
        }
        ticked
    }

    /// When the next tick is due.
    #[must_use]
    pub fn next_tick(&self) -> Option<BootTime> {
        let last = self.last_tick.filter(|_| !self.elements.is_empty())?;
        let mut due = last.saturating_add(PERIOD);
        due = self.earliest.map_or(due, |earliest| due.min(earliest));
        due = self.dirty_due.map_or(due, |dirty| due.min(dirty));
        Some(due.max(last.saturating_add(SHORTEST_PERIOD)))
    }

    fn scan(&mut self, now: BootTime, slept: bool, expired: &mut Vec<(Owner, Element)>) {
        let mut earliest: Option<BootTime> = None;
        for (element, entry) in &mut self.elements {
            entry.held.retain(|held| {
                let ends = held.ends();
                let over = ends <= now;
                if over {
                    expired.push((held.owner, *element));
                } else {
                    earliest = Some(earliest.map_or(ends, |earliest| earliest.min(ends)));
                }
                !over
            });
            if slept && entry.kernel.is_some() {
                // Nobody knows until when the kernel holds it: too long, at any rate.
                entry.kernel = Some(BootTime::from_micros(u64::MAX));
            }
            if entry.in_flight == 0 && differs(entry, now).is_some() {
                self.dirty.insert(*element);
                self.dirty_due = self.dirty_due.or(Some(now));
            }
        }
        // What the kernel has closed by now is done with.
        self.elements.retain(|_, entry| !entry.is_over(now));
        // An element without holders is looked at again when the kernel has closed it.
        let unheld = self.elements.values().filter(|entry| entry.held.is_empty());
        let closing = unheld.filter_map(|entry| entry.kernel.filter(|ends| *ends > now));
        self.earliest = closing.chain(earliest).min();
    }

    /// Changes for everything that is not as it should be, but what waits for an answer.
    fn mend(&mut self, slept: bool, now: BootTime) -> Vec<Change> {
        self.dirty_due = None;
        let mut wanted = Vec::new();
        for element in std::mem::take(&mut self.dirty) {
            let Some(entry) = self.elements.get(&element) else {
                continue;
            };
            if entry.in_flight > 0 {
                // Its answer looks again.
                continue;
            }
            match differs(entry, now) {
                Some(Some(_)) if slept && element.once => wanted.push((element, None)),
                Some(ends) => wanted.push((element, ends)),
                None => {}
            }
        }
        self.send_all(&wanted, now)
    }

    /// At start: what the kernel holds, and who holds it by the journal. What the
    /// journal does not know is held by nobody knows whom, and runs out; holders of
    /// what the kernel does not hold are given back, to be struck from the journal.
    pub fn adopt(
        &mut self,
        kernel: &[KernelElement],
        holders: Vec<Holder>,
        now: BootTime,
    ) -> Vec<HolderKey> {
        let begun = self.next_id();
        // A later record of one holder replaces an earlier one.
        let mut by_hole: HashMap<Hole, BTreeMap<KeyId, Holder>> = HashMap::new();
        for holder in holders {
            let holders = by_hole.entry(hole_of_key(&holder.key)).or_default();
            holders.insert(holder.key.id, holder);
        }
        let mut taken: BTreeSet<HolderKey> = BTreeSet::new();
        for KernelElement { element, remaining } in kernel {
            let until = now.saturating_add(*remaining);
            let entry = self.elements.entry(*element).or_default();
            entry.kernel = Some(until);
            let known = by_hole.get(&hole_of(element));
            let known = known.into_iter().flat_map(BTreeMap::values);
            for holder in known.filter(|holder| holder.ends > now) {
                taken.insert(holder.key);
                let owner = Owner::Client(holder.key.id);
                entry
                    .held
                    .push(adopted(owner, begun, holder.ends.min(until)));
            }
            if entry.held.is_empty() {
                entry.held.push(adopted(Owner::Unknown, begun, until));
            }
            for held in &entry.held {
                self.by_owner
                    .entry(held.owner)
                    .or_default()
                    .insert(*element);
                let ends = held.ends();
                self.earliest = Some(self.earliest.map_or(ends, |earliest| earliest.min(ends)));
            }
            if differs(entry, now).is_some() {
                self.dirty.insert(*element);
                self.dirty_due = Some(now);
            }
        }
        if !self.elements.is_empty() {
            self.last_tick = Some(now);
        }
        let all = by_hole.into_values().flat_map(BTreeMap::into_values);
        all.map(|holder| holder.key)
            .filter(|key| !taken.contains(key))
            .collect()
    }

    /// Every holder that the kernel's answers confirm, as the journal keeps it.
    pub fn holders(&self) -> impl Iterator<Item = Holder> + '_ {
        self.holdings().filter_map(|holding| {
            Some(Holder {
                key: key_of(holding.owner, &holding.element)?,
                ends: holding.ends,
            })
        })
    }

    /// What the journal should say once this holder's element is gone: the journal does
    /// not tell an element for one connection from the other, which may still be held.
    pub fn gone(&self, owner: Owner, element: &Element) -> Option<JournalRecord> {
        let key = key_of(owner, element)?;
        let other = Element {
            once: !element.once,
            ..*element
        };
        let held = self.elements.get(&other).map(|entry| entry.held.iter());
        let mut held = held.into_iter().flatten();
        let still = held.find(|held| held.owner == owner);
        Some(match still.and_then(|held| held.granted) {
            Some(ends) => JournalRecord::Holder(Holder { key, ends }),
            None => JournalRecord::HolderGone(key),
        })
    }
}

fn adopted(owner: Owner, since: ChangeId, ends: BootTime) -> Held {
    Held {
        owner,
        since,
        granted: Some(ends),
        asked: None,
    }
}

/// What the journal keeps of an element: all but whether it is for one connection.
type Hole = (IpAddr, Service, Option<NonZeroU16>);

fn hole_of(element: &Element) -> Hole {
    (element.address, element.service, element.source_port)
}

fn hole_of_key(key: &HolderKey) -> Hole {
    (key.address, key.service, key.source_port)
}

/// The journal's name of a holder of an element; only clients have one.
#[must_use]
pub fn key_of(owner: Owner, element: &Element) -> Option<HolderKey> {
    match owner {
        Owner::Unknown => None,
        Owner::Client(id) => Some(HolderKey {
            id,
            address: element.address,
            service: element.service,
            source_port: element.source_port,
        }),
    }
}

impl Holding {
    /// As the journal keeps it.
    #[must_use]
    pub fn holder(&self) -> Option<Holder> {
        Some(Holder {
            key: key_of(self.owner, &self.element)?,
            ends: self.ends,
        })
    }
}
