//! Expiry, and mending what the kernel holds otherwise; pure.
//!
//! The kernel closes on time by itself: an expiry sends nothing. But its timeouts
//! stand still while the machine sleeps, and so does the daemon: where more than
//! five seconds (by the clock that counts sleep) lie between two ticks, which are
//! a second apart while anything is open, everything open is put to its right end
//! anew, and what has ended is removed. An element for one connection is removed
//! even if it has not ended: it may have been used, and must not come again.

use std::time::Duration;

use spad_model::{BootTime, Change, Element};
use spad_replay::{Holder, HolderKey, HolderRecord};

use super::entry::{ElementState, Lease};
use super::reconcile::drift;
use super::{Grants, Holding, Owner};

/// Ticks are this far apart while anything is open.
const PERIOD: Duration = Duration::from_secs(1);

/// Ticks are at least this far apart, so that many grants cost no more than few.
const MIN_PERIOD: Duration = Duration::from_millis(100);

/// Elements that one tick takes up, at most: each may be a record and an audit line.
const BATCH: usize = 64;

/// Ticks are this far apart while much is to be taken up at once: the audit's thread
/// keeps up with that.
const BATCH_INTERVAL: Duration = Duration::from_millis(2);

/// Ticks further apart than this: the machine slept.
const SUSPEND_GAP: Duration = Duration::from_secs(5);

/// What a tick gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TickResult {
    /// Whose time is over.
    pub expired: Vec<(Owner, Element)>,
    /// What mends the kernel.
    pub changes: Vec<Change>,
}

impl Grants {
    /// Takes away whose time is over, and mends what the kernel holds too long: some of
    /// it, where there is much, and the rest a moment later, so that no packet waits.
    pub fn tick(&mut self, now: BootTime) -> TickResult {
        let suspended = self
            .last_tick
            .is_some_and(|last| now.saturating_since(last) > SUSPEND_GAP);
        self.last_tick = Some(now);
        if suspended {
            self.recheck_all(now);
        }
        let mut result = TickResult::default();
        for _ in 0..BATCH {
            let Some((_, element)) = self.due.first().filter(|(ends, _)| *ends <= now) else {
                break;
            };
            self.expire(*element, now, &mut result.expired);
        }
        self.reconcile_queue.retry(now);
        result.changes = self.reconcile(now);
        let more = self.due.first().is_some_and(|(ends, _)| *ends <= now);
        self.has_backlog = more || !self.reconcile_queue.is_idle();
        if self.elements.is_empty() {
            self.last_tick = None;
        }
        result
    }

    /// When the next tick is due.
    #[must_use]
    pub fn next_tick(&self) -> Option<BootTime> {
        let last = self.last_tick.filter(|_| !self.elements.is_empty())?;
        if self.has_backlog {
            return Some(last.saturating_add(BATCH_INTERVAL));
        }
        let first = self.due.first().map(|(ends, _)| *ends);
        let reconcile_due = (!self.reconcile_queue.is_idle()).then_some(last);
        let due = first.into_iter().chain(reconcile_due);
        let due = due.chain(self.reconcile_queue.retry_due()).min();
        let latest = last.saturating_add(PERIOD);
        let due = due.map_or(latest, |due| due.min(latest));
        Some(due.max(last.saturating_add(MIN_PERIOD)))
    }

    /// The machine slept: nobody knows until when the kernel holds what it holds; too
    /// long, at any rate.
    fn recheck_all(&mut self, now: BootTime) {
        for (element, entry) in &mut self.elements {
            if entry.kernel.is_some() {
                entry.kernel = Some(BootTime::from_micros(u64::MAX));
            }
            if entry.in_flight == 0 && drift(entry, now).is_some() {
                self.reconcile_queue.push_after_suspend(*element);
            }
        }
    }

    /// Takes away who holds this element no longer, and the element once the kernel has
    /// closed it.
    fn expire(&mut self, element: Element, now: BootTime, expired: &mut Vec<(Owner, Element)>) {
        let Some(entry) = self.elements.get_mut(&element) else {
            return;
        };
        let ended: Vec<Lease> = entry
            .leases
            .extract_if(.., |held| held.ends() <= now)
            .collect();
        if entry.in_flight == 0 && drift(entry, now).is_some() {
            self.reconcile_queue.push(element);
        }
        for held in ended {
            // One that the kernel never took was never told of.
            if held.granted.is_some() {
                expired.push((held.owner, element));
            }
            self.unindex(&held, &element);
        }
        self.check_done(element, now);
    }

    /// Changes for what is not as it should be, but what waits for an answer.
    fn reconcile(&mut self, now: BootTime) -> Vec<Change> {
        let mut wanted = Vec::new();
        for _ in 0..BATCH {
            let Some((element, slept)) = self.reconcile_queue.pop() else {
                break;
            };
            let Some(entry) = self.elements.get(&element) else {
                continue;
            };
            if entry.in_flight > 0 {
                // Its answer looks again.
                continue;
            }
            match drift(entry, now) {
                Some(Some(_)) if slept && element.once => wanted.push((element, None)),
                Some(ends) => wanted.push((element, ends)),
                None => {}
            }
        }
        self.send_all(&wanted, now)
    }

    /// Every holder that the kernel's answers confirm, as the journal keeps it.
    pub fn holders(&self) -> impl Iterator<Item = HolderRecord> + '_ {
        self.holdings().filter_map(|holding| {
            Some(HolderRecord {
                key: holder_key(holding.owner, &holding.element)?,
                ends: holding.ends,
            })
        })
    }
}

impl Grants {
    /// Whether this holder has it.
    #[must_use]
    pub fn is_leased(&self, key: &HolderKey) -> bool {
        let owner = Owner::from(key.holder);
        let entry = self.elements.get(&key.element());
        entry.is_some_and(|entry| entry.leases.iter().any(|held| held.owner == owner))
    }

    /// How many elements the kernel was asked to take away and would not.
    #[must_use]
    pub fn failed_closes(&self, now: BootTime) -> usize {
        let open = |entry: &&ElementState| {
            let kernel = entry.kernel.is_some_and(|ends| ends > now);
            entry.leases.is_empty() && entry.in_flight == 0 && kernel
        };
        self.elements.values().filter(open).count()
    }

    /// Whether this holder has it no longer, and the kernel neither but for others.
    #[must_use]
    pub fn is_closed(&self, key: &HolderKey, now: BootTime) -> bool {
        let closed = |entry: &ElementState| {
            let kernel = !entry.leases.is_empty() || entry.kernel.is_none_or(|ends| ends <= now);
            entry.in_flight == 0 && kernel
        };
        !self.is_leased(key) && self.elements.get(&key.element()).is_none_or(closed)
    }
}

/// The journal's name of a holder of an element; who is unknown has none.
#[must_use]
pub fn holder_key(owner: Owner, element: &Element) -> Option<HolderKey> {
    let by = match owner {
        Owner::Unknown => return None,
        Owner::Admin => Holder::Admin,
        Owner::Client(id) => Holder::Client(id),
        Owner::Door(id) => Holder::Door(id),
    };
    Some(HolderKey {
        holder: by,
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
    pub fn holder(&self) -> Option<HolderRecord> {
        Some(HolderRecord {
            key: holder_key(self.owner, &self.element)?,
            ends: self.ends,
        })
    }
}
