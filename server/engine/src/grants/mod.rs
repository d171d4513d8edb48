//! Stage `grant`: what is open, for whom, until when; pure.
//!
//! Takes permits, answers and the time; gives changes for the firewall writer.
//! For each element it knows every holder and its end; the kernel gets the
//! latest. A close, a revocation or an expiry takes one holder away and touches
//! the kernel only for what remains, so that no client can shorten or close what
//! another holds at the same address. The last packet of one holder decides about
//! its own time, longer or shorter.
//!
//! Nothing counts as granted before the kernel took it; a refused change leaves
//! each holder with what it had. Where kernel and holders differ afterwards, the
//! element is mended at the next tick, and tried again each second until the
//! kernel takes it: a hole is never left open for want of an answer. Nor for a late
//! one: a change that the writer could not make at once is mended to its end.
//!
//! Of an element for one connection the kernel does not say whether it was used. A
//! close by one holder puts it again for what remains to the other, who may so get
//! a second connection within his own time; never to close his was thought better.

mod adopt;

mod shorten;

mod entry;

mod reconcile;

mod expiry;

mod eviction;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

pub use entry::Owner;
use entry::{ElementState, Lease};
pub use expiry::{TickResult, holder_key};
use reconcile::{ReconcileQueue, SLACK};
use spa_keys::KeyId;
use spad_model::{BootTime, Change, ChangeId, Element, MAX_STEPS, Step};

use crate::policy::{AdminPermit, DoorPermit, OpenPermit};

/// The kernel counts milliseconds.
const MIN_TTL: Duration = Duration::from_millis(1);

/// Who has what open.
#[derive(Debug, Default)]
pub struct Grants {
    elements: HashMap<Element, ElementState>,
    by_owner: BTreeMap<Owner, BTreeSet<Element>>,
    /// Grants that the kernel took: the length of [`Self::holdings`].
    granted: usize,
    /// Every element that has an end, once, in the order of ends.
    due: BTreeSet<(BootTime, Element)>,
    in_flight: BTreeMap<ChangeId, InFlight>,
    reconcile_queue: ReconcileQueue,
    changes: u64,
    last_tick: Option<BootTime>,
    /// The last tick left something for the next.
    has_backlog: bool,
}

/// A change that is not answered yet.
#[derive(Debug)]
struct InFlight {
    at: BootTime,
    /// What the kernel holds once it is done.
    steps: Vec<(Element, Option<BootTime>)>,
    /// Whose permit it was, with the ends of its own time.
    opens: Option<(Owner, Vec<(Element, BootTime)>)>,
    /// What gives way to it.
    evictions: Vec<(Owner, Element)>,
}

/// What an answer decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeOutcome {
    /// What is granted by it, once each.
    pub granted: Vec<Holding>,
    /// Who holds what no longer, because something newer took its place.
    pub evicted: Vec<(Owner, Element)>,
    /// It was done when all that it should open had ended already.
    pub too_late: bool,
}

/// One holder of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Who.
    pub owner: Owner,
    /// What.
    pub element: Element,
    /// Until when.
    pub ends: BootTime,
}

/// Whether all of these have ended.
fn all_expired(opens: &[(Element, BootTime)], now: BootTime) -> bool {
    !opens.is_empty() && opens.iter().all(|(_, ends)| *ends <= now)
}

impl Grants {
    /// Opens what the permit says, renews what its holder holds already. The
    /// holder counts as such when the change is answered well.
    pub fn open(&mut self, permit: &OpenPermit, now: BootTime) -> Change {
        let owner = Owner::Client(permit.key_id());
        self.upsert(owner, permit.elements(), Vec::new(), now)
    }

    /// The same for an administrator.
    pub fn open_admin(&mut self, permit: &AdminPermit, now: BootTime) -> Change {
        self.upsert(Owner::Admin, permit.elements(), Vec::new(), now)
    }

    /// The same for whoever knocked at a door.
    pub fn open_door(&mut self, permit: &DoorPermit, now: BootTime) -> Change {
        let owner = Owner::Door(permit.door());
        self.upsert(owner, permit.elements(), Vec::new(), now)
    }

    /// How many elements this one holds, those too that the kernel has not taken yet.
    #[must_use]
    pub fn count_for_owner(&self, owner: Owner) -> usize {
        self.by_owner.get(&owner).map_or(0, BTreeSet::len)
    }

    fn upsert(
        &mut self,
        owner: Owner,
        elements: &[(Element, Duration)],
        evictions: Vec<(Owner, Element)>,
        now: BootTime,
    ) -> Change {
        let id = self.next_id();
        if self.elements.is_empty() {
            self.last_tick = Some(now);
        }
        let mut wanted = self.begin_eviction(&evictions, id);
        let mut opens = Vec::new();
        for (element, ttl) in elements {
            let ends = now.saturating_add(*ttl);
            let entry = self.elements.entry(*element).or_default();
            match entry.lease_mut(owner) {
                Some(held) => {
                    held.requested = Some((id, ends));
                    held.last = id;
                    held.evicted_by = None;
                }
                None => entry.leases.push(Lease {
                    owner,
                    since: id,
                    granted: None,
                    requested: Some((id, ends)),
                    last: id,
                    evicted_by: None,
                }),
            }
            wanted.push((*element, entry.latest_end()));
            opens.push((*element, ends));
            self.by_owner.entry(owner).or_default().insert(*element);
            self.schedule_check(*element);
        }
        self.send(id, wanted, Some((owner, opens)), evictions, now)
    }

    /// Takes these holders away. What nobody else holds is removed from the
    /// kernel; what others hold for less long is shortened to them.
    pub fn withdraw(&mut self, holders: &[(Owner, Element)], now: BootTime) -> Vec<Change> {
        // Once each, though two keys of one client may hold it: the last one's is how it ends.
        let mut wanted = BTreeMap::new();
        for (owner, element) in holders {
            let Some(entry) = self.elements.get_mut(element) else {
                continue;
            };
            let Some(removed) = entry.remove(*owner) else {
                continue;
            };
            let latest = entry.latest_end();
            if latest.is_none_or(|latest| latest < removed.ends()) {
                let _before = wanted.insert(*element, latest);
            }
            self.unindex(&removed, element);
            self.schedule_check(*element);
        }
        let wanted: Vec<_> = wanted.into_iter().collect();
        self.send_all(&wanted, now)
    }

    /// Takes the writer's answer. Gives what came of it.
    pub fn on_answer(&mut self, id: ChangeId, done: bool, now: BootTime) -> ChangeOutcome {
        let Some(sent) = self.in_flight.remove(&id) else {
            return ChangeOutcome::default();
        };
        // Steps say for how long, so what was done late also ends late.
        let late = now.saturating_since(sent.at);
        let late = if late > SLACK { late } else { Duration::ZERO };
        let mut granted = Vec::new();
        let opens = sent.opens.as_ref();
        let too_late = done && opens.is_some_and(|(_, opens)| all_expired(opens, now));
        let accepted = done && !too_late;
        if let Some((owner, opens)) = sent.opens {
            for (element, ends) in opens {
                if self.finish_lease(owner, element, id, accepted.then_some(ends)) {
                    granted.push(Holding {
                        owner,
                        element,
                        ends,
                    });
                }
            }
        }
        let evicted = self.finish_eviction(id, done, sent.evictions);
        for (element, kernel) in sent.steps {
            let Some(entry) = self.elements.get_mut(&element) else {
                continue;
            };
            entry.in_flight = entry.in_flight.saturating_sub(1);
            if done {
                entry.kernel = kernel.map(|ends| ends.saturating_add(late));
            }
            // Taken late, it may have been used since: not put again, but taken away at its end.
            let may_be_used =
                done && element.once && !late.is_zero() && entry.latest_end() > Some(now);
            if entry.in_flight == 0 && !may_be_used && reconcile::drift(entry, now).is_some() {
                if done {
                    self.reconcile_queue.push(element);
                } else {
                    self.reconcile_queue.push_delayed(element, now);
                }
            }
            self.check_done(element, now);
        }
        ChangeOutcome {
            granted,
            evicted,
            too_late,
        }
    }

    /// Nobody waits for the answer to this change any more: whoever asked by it is refused.
    /// It may be made still; then its answer fixes what the kernel holds.
    pub fn abandon(&mut self, id: ChangeId) {
        let sent = self.in_flight.get_mut(&id);
        let Some((owner, opens)) = sent.and_then(|sent| sent.opens.take()) else {
            return;
        };
        for (element, _) in opens {
            self.finish_lease(owner, element, id, None);
            self.schedule_check(element);
        }
    }

    /// Every change that waits for an answer.
    pub fn unanswered(&self) -> impl Iterator<Item = ChangeId> + '_ {
        self.in_flight.keys().copied()
    }

    /// One holder of one element, once the change it asked by is answered: with
    /// its new end, or refused. True where it holds by this very change.
    fn finish_lease(
        &mut self,
        owner: Owner,
        element: Element,
        id: ChangeId,
        ends: Option<BootTime>,
    ) -> bool {
        let held = self
            .elements
            .get_mut(&element)
            .and_then(|entry| entry.lease_mut(owner));
        let Some(held) = held.filter(|held| held.since <= id) else {
            return false;
        };
        let is_latest = held.requested.is_some_and(|(asked, _)| asked == id);
        if is_latest {
            held.requested = None;
        }
        if ends.is_some() && std::mem::replace(&mut held.granted, ends).is_none() {
            self.granted = self.granted.saturating_add(1);
        } else if held.granted.is_none() && held.requested.is_none() {
            let entry = self.elements.get_mut(&element);
            if let Some(taken) = entry.and_then(|entry| entry.remove(owner)) {
                self.unindex(&taken, &element);
            }
        }
        ends.is_some()
    }

    /// What these keys hold, each element once.
    pub fn elements_for_keys<'a>(&'a self, ids: &'a [KeyId]) -> impl Iterator<Item = Element> + 'a {
        let elements = |id: &KeyId| self.by_owner.get(&Owner::Client(*id));
        let all: BTreeSet<Element> = ids.iter().filter_map(elements).flatten().copied().collect();
        all.into_iter()
    }

    /// Every holder whose grant the kernel took, in no order.
    pub fn holdings(&self) -> impl Iterator<Item = Holding> + '_ {
        let all = self.elements.iter();
        all.flat_map(|(element, entry)| {
            entry.leases.iter().filter_map(|held| held.holding(element))
        })
    }

    /// How many [`Self::holdings`] are. One that just ended counts until a tick found it.
    #[must_use]
    pub const fn granted(&self) -> usize {
        self.granted
    }

    /// The next holders whose grant the kernel took, in the order of holders, from what
    /// `after` says on, which then says how far it came. At most about `most`; false
    /// where these were the last.
    pub fn holdings_page(
        &self,
        after: &mut Option<(Owner, Element)>,
        limit: usize,
        mut each: impl FnMut(Holding),
    ) -> bool {
        let begin = *after;
        let owners = match begin {
            Some((owner, _)) => self.by_owner.range(owner..),
            None => self.by_owner.range(..),
        };
        let mut remaining = limit;
        for (owner, elements) in owners {
            let from = match &begin {
                Some((last, element)) if last == owner => Bound::Excluded(element),
                _ => Bound::Unbounded,
            };
            for element in elements.range((from, Bound::Unbounded)) {
                if remaining == 0 {
                    return true;
                }
                remaining = remaining.saturating_sub(1);
                *after = Some((*owner, *element));
                let entry = self.elements.get(element);
                let mut held = entry.into_iter().flat_map(|entry| &entry.leases);
                let held = held.find(|held| held.owner == *owner);
                held.and_then(|held| held.holding(element)).map(&mut each);
            }
        }
        false
    }

    /// Every holder, those too whose grant the kernel has not taken yet.
    pub fn owners(&self) -> impl Iterator<Item = (Owner, Element)> + '_ {
        let all = self.by_owner.iter();
        all.flat_map(|(owner, elements)| elements.iter().map(|element| (*owner, *element)))
    }

    /// What this one holds, what the kernel has not taken yet too.
    pub fn elements_for_owner(&self, owner: Owner) -> impl Iterator<Item = (Owner, Element)> + '_ {
        let held = self.by_owner.get(&owner).into_iter().flatten();
        held.map(move |element| (owner, *element))
    }

    /// The last change that waits for an answer.
    #[must_use]
    pub fn last_unanswered(&self) -> Option<ChangeId> {
        self.in_flight.keys().next_back().copied()
    }

    /// Whether this change waits for an answer.
    #[must_use]
    pub fn is_unanswered(&self, id: ChangeId) -> bool {
        self.in_flight.contains_key(&id)
    }

    fn next_id(&mut self) -> ChangeId {
        self.changes = self.changes.saturating_add(1);
        ChangeId(self.changes)
    }

    /// What else knew of a holder that was taken away.
    fn unindex(&mut self, lease: &Lease, element: &Element) {
        if lease.granted.is_some() {
            self.granted = self.granted.saturating_sub(1);
        }
        if let Some(elements) = self.by_owner.get_mut(&lease.owner) {
            elements.remove(element);
            if elements.is_empty() {
                self.by_owner.remove(&lease.owner);
            }
        }
    }

    /// Puts the element to its place in the order of ends; to be called when one changed.
    fn schedule_check(&mut self, element: Element) {
        let Some(entry) = self.elements.get_mut(&element) else {
            return;
        };
        let next = entry.next_end();
        if entry.due != next {
            let before = std::mem::replace(&mut entry.due, next);
            if let Some(before) = before {
                self.due.remove(&(before, element));
            }
            self.due.extend(next.map(|next| (next, element)));
        }
    }

    /// Forgets the element where nothing more is to be known of it.
    fn check_done(&mut self, element: Element, now: BootTime) {
        let entry = self.elements.get(&element);
        let Some(entry) = entry.filter(|entry| entry.is_expired(now)) else {
            return self.schedule_check(element);
        };
        if let Some(due) = entry.due {
            self.due.remove(&(due, element));
        }
        self.elements.remove(&element);
    }

    /// Changes that bring these elements to these ends, as many as it takes.
    fn send_all(&mut self, wanted: &[(Element, Option<BootTime>)], now: BootTime) -> Vec<Change> {
        let mut changes = Vec::new();
        for some in wanted.chunks(MAX_STEPS) {
            let id = self.next_id();
            changes.push(self.send(id, some.to_vec(), None, Vec::new(), now));
        }
        changes
    }

    fn send(
        &mut self,
        id: ChangeId,
        mut wanted: Vec<(Element, Option<BootTime>)>,
        opens: Option<(Owner, Vec<(Element, BootTime)>)>,
        evictions: Vec<(Owner, Element)>,
        now: BootTime,
    ) -> Change {
        let mut steps = Vec::with_capacity(wanted.len());
        for (element, ends) in &mut wanted {
            let element = *element;
            let ttl = ends
                .map(|ends| ends.saturating_since(now))
                .filter(|ttl| *ttl >= MIN_TTL);
            match ttl {
                Some(ttl) => steps.push(Step::Put { element, ttl }),
                None => {
                    *ends = None;
                    steps.push(Step::Remove { element });
                }
            }
            if let Some(entry) = self.elements.get_mut(&element) {
                entry.in_flight = entry.in_flight.saturating_add(1);
            }
        }
        self.in_flight.insert(
            id,
            InFlight {
                at: now,
                steps: wanted,
                opens,
                evictions,
            },
        );
        Change { id, steps }
    }
}
