//! Adoption at start: what the kernel holds, and who holds it by the journal; pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use spad_model::{BootTime, ChangeId, Element, KernelElement};
use spad_replay::{HolderKey, HolderRecord};

use super::entry::Lease;
use super::reconcile::drift;
use super::{Grants, Owner};

impl Grants {
    /// At start: what the kernel holds, and who holds it by the journal. What the
    /// journal does not know is held by nobody knows whom, and runs out; holders of
    /// what the kernel does not hold are given back, to be struck from the journal.
    pub fn adopt(
        &mut self,
        kernel: &[KernelElement],
        holders: Vec<HolderRecord>,
        now: BootTime,
    ) -> Vec<HolderKey> {
        let change_id = self.next_id();
        // A later record of one holder replaces an earlier one.
        let mut by_element: HashMap<Element, BTreeMap<Owner, HolderRecord>> = HashMap::new();
        for holder in holders {
            let holders = by_element.entry(holder.key.element()).or_default();
            holders.insert(Owner::from(holder.key.holder), holder);
        }
        let mut matched: BTreeSet<HolderKey> = BTreeSet::new();
        for KernelElement { element, remaining } in kernel {
            let until = now.saturating_add(*remaining);
            let entry = self.elements.entry(*element).or_default();
            entry.kernel = Some(until);
            let known = by_element.get(element);
            let known = known.into_iter().flat_map(BTreeMap::values);
            for holder in known.filter(|holder| holder.ends > now) {
                matched.insert(holder.key);
                let owner = Owner::from(holder.key.holder);
                entry
                    .leases
                    .push(adopted_lease(owner, change_id, holder.ends.min(until)));
            }
            if entry.leases.is_empty() {
                entry
                    .leases
                    .push(adopted_lease(Owner::Unknown, change_id, until));
            }
            for held in &entry.leases {
                let elements = self.by_owner.entry(held.owner).or_default();
                elements.insert(*element);
                self.granted = self.granted.saturating_add(1);
            }
            if drift(entry, now).is_some() {
                self.reconcile_queue.push(*element);
            }
            self.schedule_check(*element);
        }
        if !self.elements.is_empty() {
            self.last_tick = Some(now);
        }
        let all = by_element.into_values().flat_map(BTreeMap::into_values);
        all.map(|holder| holder.key)
            .filter(|key| !matched.contains(key))
            .collect()
    }
}

fn adopted_lease(owner: Owner, since: ChangeId, ends: BootTime) -> Lease {
    Lease {
        owner,
        since,
        granted: Some(ends),
        requested: None,
        last: since,
        evicted_by: None,
    }
}
