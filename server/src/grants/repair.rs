//! Expiry, and mending what the kernel holds otherwise; pure.
//!
//! The kernel closes on time by itself: an expiry sends nothing. But its timeouts
//! stand still while the machine sleeps, and so does the daemon: where more than
//! five seconds (by the clock that counts sleep) lie between two ticks, which are
//! a second apart while anything is open, everything open is put to its right end
//! anew, and what has ended is removed. An element for one connection is removed
//! even if it has not ended: it may have been used, and must not come again.

use std::time::Duration;

use super::entry::{Entry, Held};
use super::mending::differs;
use super::{Grants, Holding, Owner};
use crate::clock::BootTime;
use crate::firewall::{Change, Element};
use crate::replay::{HeldBy, Holder, HolderKey};

/// Ticks are this far apart while anything is open.
const PERIOD: Duration = Duration::from_secs(1);

/// Ticks are at least this far apart, so that many grants cost no more than few.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

/// Elements that one tick takes up, at most: each may be a record and an audit line.
const PORTION: usize = 64;

/// Ticks are this far apart while much is to be taken up at once: the audit's thread
/// keeps up with that.
const PACE: Duration = Duration::from_millis(2);

/// Ticks further apart than this: the machine slept.
const SLEPT: Duration = Duration::from_secs(5);

/// What a tick gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Whose time is over.
    pub expired: Vec<(Owner, Element)>,
    /// What mends the kernel.
    pub changes: Vec<Change>,
}

impl Grants {
    /// Takes away whose time is over, and mends what the kernel holds too long: some of
    /// it, where there is much, and the rest a moment later, so that no packet waits.
    pub fn tick(&mut self, now: BootTime) -> Ticked {
        let slept = self
            .last_tick
            .is_some_and(|last| now.saturating_since(last) > SLEPT);
        self.last_tick = Some(now);
        if slept {
            self.doubt(now);
        }
        let mut ticked = Ticked::default();
        for _ in 0..PORTION {
            let Some((_, element)) = self.due.first().filter(|(ends, _)| *ends <= now) else {
                break;
            };
            self.expire(*element, now, &mut ticked.expired);
        }
        self.mending.retry(now);
        ticked.changes = self.mend(now);
        let more = self.due.first().is_some_and(|(ends, _)| *ends <= now);
        self.behind = more || !self.mending.is_idle();
        if self.elements.is_empty() {
            self.last_tick = None;
        }
        ticked
    }

    /// When the next tick is due.
    #[must_use]
    pub fn next_tick(&self) -> Option<BootTime> {
        let last = self.last_tick.filter(|_| !self.elements.is_empty())?;
        if self.behind {
            return Some(last.saturating_add(PACE));
        }
        let first = self.due.first().map(|(ends, _)| *ends);
        let mending = (!self.mending.is_idle()).then_some(last);
        let due = first.into_iter().chain(mending);
        let due = due.chain(self.mending.retry_due()).min();
        let latest = last.saturating_add(PERIOD);
        let due = due.map_or(latest, |due| due.min(latest));
        Some(due.max(last.saturating_add(SHORTEST_PERIOD)))
    }

    /// The machine slept: nobody knows until when the kernel holds what it holds; too
    /// long, at any rate.
    fn doubt(&mut self, now: BootTime) {
        for (element, entry) in &mut self.elements {
            if entry.kernel.is_some() {
                entry.kernel = Some(BootTime::from_micros(u64::MAX));
            }
            if entry.in_flight == 0 && differs(entry, now).is_some() {
                self.mending.after_sleep(*element);
            }
        }
    }

    /// Takes away who holds this element no longer, and the element once the kernel has
    /// closed it.
    fn expire(&mut self, element: Element, now: BootTime, expired: &mut Vec<(Owner, Element)>) {
        let Some(entry) = self.elements.get_mut(&element) else {
            return;
        };
        let over: Vec<Held> = entry
            .held
            .extract_if(.., |held| held.ends() <= now)
            .collect();
        if entry.in_flight == 0 && differs(entry, now).is_some() {
            self.mending.soon(element);
        }
        for held in over {
            // One that the kernel never took was never told of.
            if held.granted.is_some() {
                expired.push((held.owner, element));
            }
            self.forget(&held, &element);
        }
        self.settled(element, now);
    }

    /// Changes for what is not as it should be, but what waits for an answer.
    fn mend(&mut self, now: BootTime) -> Vec<Change> {
        let mut wanted = Vec::new();
        for _ in 0..PORTION {
            let Some((element, slept)) = self.mending.next() else {
                break;
            };
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

    /// Every holder that the kernel's answers confirm, as the journal keeps it.
    pub fn holders(&self) -> impl Iterator<Item = Holder> + '_ {
        self.holdings().filter_map(|holding| {
            Some(Holder {
                key: key_of(holding.owner, &holding.element)?,
                ends: holding.ends,
            })
        })
    }
}

impl HolderKey {
    pub(super) fn owner(&self) -> Owner {
        match self.by {
            HeldBy::Client(id) => Owner::Client(id),
            HeldBy::Administrator => Owner::Administrator,
            HeldBy::Door(id) => Owner::Door(id),
        }
    }

    /// What is held.
    pub(super) const fn element(&self) -> Element {
        Element {
            address: self.address,
            prefix: self.prefix,
            service: self.service,
            source_port: self.source_port,
            once: self.once,
        }
    }
}

impl Grants {
    /// Whether this holder has it.
    #[must_use]
    pub fn is_held(&self, key: &HolderKey) -> bool {
        let owner = key.owner();
        let entry = self.elements.get(&key.element());
        entry.is_some_and(|entry| entry.held.iter().any(|held| held.owner == owner))
    }

    /// How many elements the kernel was asked to take away and would not.
    #[must_use]
    pub fn still_open(&self, now: BootTime) -> usize {
        let open = |entry: &&Entry| {
            let kernel = entry.kernel.is_some_and(|ends| ends > now);
            entry.held.is_empty() && entry.in_flight == 0 && kernel
        };
        self.elements.values().filter(open).count()
    }

    /// Whether this holder has it no longer, and the kernel neither but for others.
    #[must_use]
    pub fn is_over(&self, key: &HolderKey, now: BootTime) -> bool {
        let closed = |entry: &Entry| {
            let kernel = !entry.held.is_empty() || entry.kernel.is_none_or(|ends| ends <= now);
            entry.in_flight == 0 && kernel
        };
        !self.is_held(key) && self.elements.get(&key.element()).is_none_or(closed)
    }
}

/// The journal's name of a holder of an element; who is unknown has none.
#[must_use]
pub fn key_of(owner: Owner, element: &Element) -> Option<HolderKey> {
    let by = match owner {
        Owner::Unknown => return None,
        Owner::Administrator => HeldBy::Administrator,
        Owner::Client(id) => HeldBy::Client(id),
        Owner::Door(id) => HeldBy::Door(id),
    };
    Some(HolderKey {
        by,
        address: element.address,
        prefix: element.prefix,
        service: element.service,
        source_port: element.source_port,
        once: element.once,
    })
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
