//! What the kernel was asked to hold, until when: the writer's own memory.
//!
//! Pure. Needed to put grants back after somebody else's `flush ruleset`, and
//! to know whether an element must be deleted before it is added.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::BootTime;
use crate::firewall::{Element, KernelElement};

/// Elements and their ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(HashMap<Element, BootTime>);

impl Held {
    /// Remembers what the kernel holds.
    pub(super) fn put(&mut self, element: Element, ends: BootTime) {
        self.0.insert(element, ends);
    }

    /// Forgets an element.
    pub(super) fn remove(&mut self, element: &Element) {
        self.0.remove(element);
    }

    /// How many are remembered, ended ones included.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the element should still be there.
    pub(super) fn has(&self, element: &Element, now: BootTime) -> bool {
        self.0.get(element).is_some_and(|ends| *ends > now)
    }

    /// How long an element should still be there.
    pub(super) fn remaining(&self, element: &Element, now: BootTime) -> Option<Duration> {
        let ends = self.0.get(element)?;
        (*ends > now).then(|| ends.saturating_since(now))
    }

    /// Everything that has not ended.
    pub(super) fn all(&self, now: BootTime) -> impl Iterator<Item = KernelElement> {
        self.0
            .iter()
            .filter(move |(_, ends)| **ends > now)
            .map(move |(element, ends)| KernelElement {
                element: *element,
                remaining: ends.saturating_since(now),
            })
    }

    /// Forgets what has ended.
    pub(super) fn prune(&mut self, now: BootTime) {
        self.0.retain(|_, ends| *ends > now);
    }
}
