//! Grants that last longer than the configuration allows from now on; pure.

use std::time::Duration;

use super::mending::differs;
use super::{Grants, Holding};
use crate::clock::BootTime;

impl Grants {
    /// No grant ends later than this from now on; gives those that did. The kernel follows
    /// at the next tick. Else the writer, which refuses anything longer, would refuse others
    /// at the same address, whose change carries the latest end of all holders.
    ///
    /// What is asked and not answered yet is left: the writer judges it by the same limits.
    pub fn cut(&mut self, longest: Duration, now: BootTime) -> Vec<Holding> {
        let latest = now.saturating_add(longest);
        let (mut cut, mut touched) = (Vec::new(), Vec::new());
        for (element, entry) in &mut self.elements {
            let mut shortened = false;
            for held in &mut entry.held {
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
