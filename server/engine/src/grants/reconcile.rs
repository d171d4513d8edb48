//! Elements that the kernel holds otherwise than their holders do; pure.

use std::collections::BTreeMap;
use std::time::Duration;

use spad_model::{BootTime, Element};

use super::entry::ElementState;

/// A mend that the kernel refused is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// The kernel may hold an element this much longer than its holders: the time
/// that a change takes to reach it. One that takes longer is mended.
pub(super) const SLACK: Duration = Duration::from_secs(1);

/// The end the kernel should hold, where it holds a later one; the inner `None`: it
/// should not hold it at all.
#[expect(clippy::option_option, reason = "whether to mend, and to what")]
pub(super) fn drift(entry: &ElementState, now: BootTime) -> Option<Option<BootTime>> {
    let kernel = entry.kernel.filter(|kernel| *kernel > now)?;
    match entry.latest_end().filter(|latest| *latest > now) {
        None => Some(None),
        Some(latest) if kernel > latest.saturating_add(SLACK) => Some(Some(latest)),
        Some(_) => None,
    }
}

/// What waits to be mended, and what the kernel refused to mend.
#[derive(Debug, Default)]
pub(super) struct ReconcileQueue {
    /// With whether the machine slept: then nobody knows what the kernel did meanwhile.
    ready: BTreeMap<Element, bool>,
    delayed: Vec<Element>,
    retry_at: Option<BootTime>,
}

impl ReconcileQueue {
    /// At the next tick.
    pub(super) fn push(&mut self, element: Element) {
        self.ready.entry(element).or_insert(false);
    }

    /// The same, after the machine slept.
    pub(super) fn push_after_suspend(&mut self, element: Element) {
        self.ready.insert(element, true);
    }

    /// Once more, a little later.
    pub(super) fn push_delayed(&mut self, element: Element, now: BootTime) {
        self.delayed.push(element);
        self.retry_at.get_or_insert(now.saturating_add(RETRY));
    }

    /// The next one, and whether the machine slept.
    pub(super) fn pop(&mut self) -> Option<(Element, bool)> {
        self.ready.pop_first()
    }

    /// What was refused is due again when its time has come.
    pub(super) fn retry(&mut self, now: BootTime) {
        if self.retry_at.is_some_and(|due| due <= now) {
            self.retry_at = None;
            for element in std::mem::take(&mut self.delayed) {
                self.push(element);
            }
        }
    }

    /// Is nothing to be mended now?
    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// When what was refused is due again.
    pub(super) const fn retry_due(&self) -> Option<BootTime> {
        self.retry_at
    }
}
