//! Adoption at start: what the kernel holds, and who holds it by the journal; pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::entry::Held;
use super::mending::differs;
use super::{Grants, Owner};
use crate::clock::BootTime;
use crate::firewall::{ChangeId, Element, KernelElement};
use crate::replay::{Holder, HolderKey};

impl Grants {
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
        let mut by_element: HashMap<Element, BTreeMap<Owner, Holder>> = HashMap::new();
        for holder in holders {
            let holders = by_element.entry(holder.key.element()).or_default();
            holders.insert(holder.key.owner(), holder);
        }
        let mut taken: BTreeSet<HolderKey> = BTreeSet::new();
        for KernelElement { element, remaining } in kernel {
            let until = now.saturating_add(*remaining);
            let entry = self.elements.entry(*element).or_default();
            entry.kernel = Some(until);
            let known = by_element.get(element);
            let known = known.into_iter().flat_map(BTreeMap::values);
            for holder in known.filter(|holder| holder.ends > now) {
                taken.insert(holder.key);
                let owner = holder.key.owner();
                entry
                    .held
                    .push(adopted(owner, begun, holder.ends.min(until)));
            }
            if entry.held.is_empty() {
                entry.held.push(adopted(Owner::Unknown, begun, until));
            }
            for held in &entry.held {
                let elements = self.by_owner.entry(held.owner).or_default();
                elements.insert(*element);
                self.granted = self.granted.saturating_add(1);
            }
            if differs(entry, now).is_some() {
                self.mending.soon(*element);
            }
            self.watch(*element);
        }
        if !self.elements.is_empty() {
            self.last_tick = Some(now);
        }
        let all = by_element.into_values().flat_map(BTreeMap::into_values);
        all.map(|holder| holder.key)
            .filter(|key| !taken.contains(key))
            .collect()
    }
}

fn adopted(owner: Owner, since: ChangeId, ends: BootTime) -> Held {
    Held {
        owner,
        since,
        granted: Some(ends),
        asked: None,
        last: since,
        leaves_by: None,
    }
}
