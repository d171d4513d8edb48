//! Says that the table was put back: at once, then once a minute with a count.
//!
//! Pure.

use std::time::Duration;

use crate::clock::BootTime;

/// How often it is said.
const EVERY: Duration = Duration::from_secs(60);

/// What was not said yet.
#[derive(Debug, Default)]
pub(super) struct Restored {
    said: Option<BootTime>,
    unsaid: u32,
    grants: u32,
}

impl Restored {
    /// It was put back, with so many grants.
    pub(super) fn count(&mut self, grants: u32) {
        self.unsaid = self.unsaid.saturating_add(1);
        self.grants = grants;
    }

    /// What is to be said now: how often it was put back since this was said, and how many
    /// grants are open in it.
    pub(super) fn take(&mut self, now: BootTime) -> Option<(u32, u32)> {
        let is_due = self
            .said
            .is_none_or(|said| now.saturating_since(said) >= EVERY);
        if self.unsaid == 0 || !is_due {
            return None;
        }
        self.said = Some(now);
        Some((std::mem::take(&mut self.unsaid), self.grants))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_a_hundred_a_second_once_a_minute() {
        let mut restored = Restored::default();
        let mut said = Vec::new();
        for hundredth in 0..18_000_u64 {
            restored.count(7);
            said.extend(restored.take(BootTime::from_micros(1_000_000 + hundredth * 10_000)));
        }
        assert_eq!(said, [(1, 7), (6000, 7), (6000, 7)]);
        assert_eq!(
            restored.take(BootTime::from_micros(400_000_000)),
            Some((5999, 7))
        );
        assert_eq!(restored.take(BootTime::from_micros(900_000_000)), None);
    }
}
