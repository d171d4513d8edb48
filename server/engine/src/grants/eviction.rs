//! Grants that give way to newer ones of their client; pure.
//!
//! The old one goes and the new one comes in one change. Until that is answered the old one
//! is held still: a change that the kernel refuses leaves its client what it had. Only this
//! client's holding ends; the kernel keeps the element as long as anybody else holds it.

use spa_keys::KeyId;
use spad_model::{BootTime, Change, ChangeId, Element, MAX_STEPS};

use super::{Grants, Owner};
use crate::policy::{Age, OpenPermit};

impl Grants {
    /// What these keys hold, once a key, each with its age;
    /// not what gives way already.
    pub fn elements_with_age<'a>(
        &'a self,
        ids: &'a [KeyId],
    ) -> impl Iterator<Item = (Element, Age)> + 'a {
        let owners = ids.iter().map(|id| Owner::Client(*id));
        let all = owners.flat_map(|owner| self.elements_for_owner(owner));
        all.filter_map(|(owner, element)| {
            let lease = self.elements.get(&element)?.lease(owner)?;
            let age = Age {
                last: lease.last,
                ends: lease.ends(),
            };
            lease.evicted_by.is_none().then_some((element, age))
        })
    }

    /// Opens what the permit says in place of what gives way, by these keys of the same
    /// client. What is more than one change takes goes by changes of its own, before it.
    pub fn open_evicting(
        &mut self,
        permit: &OpenPermit,
        keys: &[KeyId],
        now: BootTime,
    ) -> (Vec<Change>, Change) {
        let held = |element: &Element| {
            let entry = self.elements.get(element);
            let owners = keys.iter().map(|id| Owner::Client(*id));
            let holders =
                owners.filter(|owner| entry.is_some_and(|entry| entry.lease(*owner).is_some()));
            holders.map(|owner| (owner, *element)).collect::<Vec<_>>()
        };
        let room = MAX_STEPS.saturating_sub(permit.elements().len());
        let elements = permit.evictions();
        let (beside, before) = elements.split_at(room.min(elements.len()));
        let beside: Vec<_> = beside.iter().flat_map(held).collect();
        let before: Vec<Vec<_>> = before
            .chunks(MAX_STEPS)
            .map(|some| some.iter().flat_map(held).collect())
            .collect();
        let mut changes = Vec::with_capacity(before.len());
        for some in before {
            let id = self.next_id();
            let wanted = self.begin_eviction(&some, id);
            changes.push(self.send(id, wanted, None, some, now));
        }
        let owner = Owner::Client(permit.key_id());
        let change = self.upsert(owner, permit.elements(), beside, now);
        (changes, change)
    }

    /// Marks these as giving way by this change; gives the end that each element is to have.
    pub(super) fn begin_eviction(
        &mut self,
        holders: &[(Owner, Element)],
        id: ChangeId,
    ) -> Vec<(Element, Option<BootTime>)> {
        let mut wanted: Vec<(Element, Option<BootTime>)> = Vec::new();
        for (owner, element) in holders {
            let Some(entry) = self.elements.get_mut(element) else {
                continue;
            };
            if let Some(held) = entry.lease_mut(*owner) {
                held.evicted_by = Some(id);
            }
            let latest = entry.latest_end();
            // Two keys of one client may hold the same element.
            match wanted.iter_mut().find(|(other, _)| other == element) {
                Some((_, ends)) => *ends = latest,
                None => wanted.push((*element, latest)),
            }
        }
        wanted
    }

    /// The change is answered: whoever gave way by it holds no longer, or as before.
    pub(super) fn finish_eviction(
        &mut self,
        id: ChangeId,
        done: bool,
        holders: Vec<(Owner, Element)>,
    ) -> Vec<(Owner, Element)> {
        let mut evicted = Vec::new();
        for (owner, element) in holders {
            let Some(entry) = self.elements.get_mut(&element) else {
                continue;
            };
            // Renewed since: it stays.
            let Some(held) = entry
                .lease_mut(owner)
                .filter(|held| held.evicted_by == Some(id))
            else {
                continue;
            };
            if !done {
                held.evicted_by = None;
            } else if let Some(taken) = entry.remove(owner) {
                self.unindex(&taken, &element);
                self.schedule_check(element);
                evicted.push((owner, element));
            }
        }
        evicted
    }
}
