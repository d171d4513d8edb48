//! Elements that the kernel holds otherwise than their holders do; pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::entry::Entry;
use crate::clock::BootTime;
use crate::firewall::Element;

/// A mend that the kernel refused is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// The kernel may hold an element this much longer than its holders: the time
/// that a change takes to reach it. One that takes longer is mended.
pub(super) const SLACK: Duration = Duration::from_secs(1);

/// The end the kernel should hold, where it holds a later one; the inner `None`: it
/// should not hold it at all.
#[expect(clippy::option_option, reason = "whether to mend, and to what")]
pub(super) fn differs(entry: &Entry, now: BootTime) -> Option<Option<BootTime>> {
    let kernel = entry.kernel.filter(|kernel| *kernel > now)?;
    match entry.latest().filter(|latest| *latest > now) {
        None => Some(None),
        Some(latest) if kernel > latest.saturating_add(SLACK) => Some(Some(latest)),
        Some(_) => None,
    }
}

/// What waits to be mended, and what the kernel refused to mend.
#[derive(Debug, Default)]
pub(super) struct Mending {
    /// With whether the machine slept: then nobody knows what the kernel did meanwhile.
    now: BTreeMap<Element, bool>,
    refused: Vec<Element>,
    retry: Option<BootTime>,
}

impl Mending {
    /// At the next tick.
    pub(super) fn soon(&mut self, element: Element) {
        self.now.entry(element).or_insert(false);
    }

    /// The same, after the machine slept.
    pub(super) fn after_sleep(&mut self, element: Element) {
        self.now.insert(element, true);
    }

    /// Once more, a little later.
    pub(super) fn later(&mut self, element: Element, now: BootTime) {
        self.refused.push(element);
        self.retry.get_or_insert(now.saturating_add(RETRY));
    }

    /// The next one, and whether the machine slept.
    pub(super) fn next(&mut self) -> Option<(Element, bool)> {
        self.now.pop_first()
    }

    /// What was refused is due again when its time has come.
    pub(super) fn retry(&mut self, now: BootTime) {
        if self.retry.is_some_and(|due| due <= now) {
            self.retry = None;
            for element in std::mem::take(&mut self.refused) {
                self.soon(element);
            }
        }
    }

    /// Is nothing to be mended now?
    pub(super) fn is_idle(&self) -> bool {
        self.now.is_empty()
    }

    /// When what was refused is due again.
    pub(super) const fn retry_due(&self) -> Option<BootTime> {
        self.retry
    }
}
