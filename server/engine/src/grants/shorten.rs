//! Grants that last longer than the configuration allows from now on; pure.

use std::time::Duration;

use spad_model::{BootTime, Element};

use super::reconcile::drift;
use super::{Grants, Holding, Owner};

impl Grants {
    /// No grant ends later than `longest` says of it from now on; gives those that did. The kernel follows
    /// at the next tick. Else the writer, which refuses anything longer, would refuse others
    /// at the same address, whose change carries the latest end of all holders.
    ///
    /// What is asked and not answered yet is shortened as soon as it is answered.
    pub fn shorten(
        &mut self,
        max_ttl: impl Fn(Owner, &Element) -> Duration,
        now: BootTime,
    ) -> Vec<Holding> {
        let latest = |owner, element: &Element| now.saturating_add(max_ttl(owner, element));
        let sent = self.in_flight.values_mut();
        for (owner, opens) in sent.filter_map(|sent| sent.opens.as_mut()) {
            for (element, ends) in opens {
                *ends = (*ends).min(latest(*owner, element));
            }
        }
        let (mut affected, mut changed) = (Vec::new(), Vec::new());
        for (element, entry) in &mut self.elements {
            let mut shortened = false;
            for held in &mut entry.leases {
                let latest = latest(held.owner, element);
                if let Some((_, ends)) = &mut held.requested
                    && *ends > latest
                {
                    *ends = latest;
                    shortened = true;
                }
                if held.granted.is_some_and(|ends| ends > latest) {
                    held.granted = Some(latest);
                    shortened = true;
                    affected.extend(held.holding(element));
                }
            }
            if shortened {
                changed.push(*element);
                if entry.in_flight == 0 && drift(entry, now).is_some() {
                    self.reconcile_queue.push(*element);
                }
            }
        }
        changed
            .into_iter()
            .for_each(|element| self.schedule_check(element));
        affected
    }
}
