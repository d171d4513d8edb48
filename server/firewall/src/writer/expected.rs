//! What the kernel was asked to hold, until when: the writer's own memory.
//!
//! Pure. Needed to put grants back after somebody else's `flush ruleset`, and
//! to know whether an element must be deleted before it is added.

use std::collections::HashMap;
use std::time::Duration;

use spad_model::{BootTime, Element, KernelElement};

/// Elements and their ends.
#[derive(Clone, Debug, Default)]
pub(super) struct ExpectedElements {
    ends: HashMap<Element, BootTime>,
    /// How many were left by the last pruning.
    pruned_len: usize,
}

impl ExpectedElements {
    /// Remembers what the kernel holds.
    pub(super) fn insert(&mut self, element: Element, ends: BootTime) {
        self.ends.insert(element, ends);
    }

    /// Forgets an element.
    pub(super) fn remove(&mut self, element: &Element) {
        self.ends.remove(element);
    }

    /// Whether the element should still be there.
    pub(super) fn contains(&self, element: &Element, now: BootTime) -> bool {
        self.ends.get(element).is_some_and(|ends| *ends > now)
    }

    /// How long an element should still be there.
    pub(super) fn remaining(&self, element: &Element, now: BootTime) -> Option<Duration> {
        let ends = self.ends.get(element)?;
        (*ends > now).then(|| ends.saturating_since(now))
    }

    /// Everything that has not ended.
    pub(super) fn iter(&self, now: BootTime) -> impl Iterator<Item = KernelElement> {
        self.ends
            .iter()
            .filter(move |(_, ends)| **ends > now)
            .map(move |(element, ends)| KernelElement {
                element: *element,
                remaining: ends.saturating_since(now),
            })
    }

    /// Forgets what has ended.
    pub(super) fn prune(&mut self, now: BootTime) {
        self.ends.retain(|_, ends| *ends > now);
        self.pruned_len = self.ends.len();
    }

    /// The same where more than `many` are remembered, and twice as many as were left
    /// the last time: not for each change where all of them last.
    pub(super) fn prune_when_large(&mut self, threshold: usize, now: BootTime) {
        if self.ends.len() > threshold.max(self.pruned_len.saturating_mul(2)) {
            self.prune(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_not_gone_through_for_each_change() {
        let now = BootTime::from_micros(1_000_000);
        let later = now.saturating_add(Duration::from_secs(60));
        let element = |last| Element {
            address: [192, 0, 2, last].into(),
            service: "tcp/22".parse().unwrap(),
            source_port: None,
            once: false,
            prefix: None,
        };
        let mut expected = ExpectedElements::default();
        for last in 0..100 {
            expected.insert(element(last), if last < 50 { now } else { later });
        }
        expected.prune_when_large(99, now);
        assert_eq!(expected.ends.len(), 50);
        for last in 0..50 {
            expected.insert(element(last), now);
        }
        expected.prune_when_large(10, now);
        assert_eq!(
            expected.ends.len(),
            100,
            "fifty were left: not before a hundred"
        );
        expected.insert(element(100), later);
        expected.prune_when_large(10, now);
        assert_eq!(expected.ends.len(), 51);
    }
}
