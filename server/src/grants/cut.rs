//! Grants that last longer than the configuration allows from now on; pure.

use std::time::Duration;

use super::mending::differs;
use super::{Grants, Holding, Owner};
use crate::clock::BootTime;
use crate::firewall::Element;

impl Grants {
    /// No grant ends later than `longest` says of it from now on; gives those that did. The kernel follows
    /// at the next tick. Else the writer, which refuses anything longer, would refuse others
    /// at the same address, whose change carries the latest end of all holders.
    ///
    /// What is asked and not answered yet is shortened as soon as it is answered.
    pub fn cut(
        &mut self,
        longest: impl Fn(Owner, &Element) -> Duration,
        now: BootTime,
    ) -> Vec<Holding> {
        let latest = |owner, element: &Element| now.saturating_add(longest(owner, element));
        let sent = self.sent.values_mut();
        for (owner, opens) in sent.filter_map(|sent| sent.opens.as_mut()) {
            for (element, ends) in opens {
                *ends = (*ends).min(latest(*owner, element));
            }
        }
        let (mut cut, mut touched) = (Vec::new(), Vec::new());
        for (element, entry) in &mut self.elements {
            let mut shortened = false;
            for held in &mut entry.held {
                let latest = latest(held.owner, element);
                if let Some((_, ends)) = &mut held.asked
                    && *ends > latest
                {
                    *ends = latest;
                    shortened = true;
                }
                if held.granted.is_some_and(|ends| ends > latest) {
                    held.granted = Some(latest);
                    shortened = true;
                    cut.extend(held.holds(element));
                }
            }
            if shortened {
                touched.push(*element);
                if entry.in_flight == 0 && differs(entry, now).is_some() {
                    self.mending.soon(*element);
                }
            }
        }
        touched.into_iter().for_each(|element| self.watch(element));
        cut
    }
}
