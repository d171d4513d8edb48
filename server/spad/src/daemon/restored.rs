//! Decides when to log that the table was restored: at once, then once a minute with a count; pure.

use std::time::Duration;

use spad_model::BootTime;

/// The shortest time between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Restorations that are not reported yet.
#[derive(Debug, Default)]
pub(super) struct RestoreReporter {
    last_report: Option<BootTime>,
    unreported: u32,
    grants: u32,
}

impl RestoreReporter {
    /// Counts a restoration, with so many open grants.
    pub(super) fn count(&mut self, grants: u32) {
        self.unreported = self.unreported.saturating_add(1);
        self.grants = grants;
    }

    /// Returns what to report now: the number of restorations since the last report, and of open
    /// grants.
    pub(super) fn take_due(&mut self, now: BootTime) -> Option<(u32, u32)> {
        let is_due = self
            .last_report
            .is_none_or(|last| now.saturating_since(last) >= REPORT_INTERVAL);
        if self.unreported == 0 || !is_due {
            return None;
        }
        self.last_report = Some(now);
        Some((std::mem::take(&mut self.unreported), self.grants))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_a_hundred_a_second_once_a_minute() {
        let mut restored = RestoreReporter::default();
        let mut reported = Vec::new();
        for hundredth in 0..18_000_u64 {
            restored.count(7);
            reported
                .extend(restored.take_due(BootTime::from_micros(1_000_000 + hundredth * 10_000)));
        }
        assert_eq!(reported, [(1, 7), (6000, 7), (6000, 7)]);
        assert_eq!(
            restored.take_due(BootTime::from_micros(400_000_000)),
            Some((5999, 7))
        );
        assert_eq!(restored.take_due(BootTime::from_micros(900_000_000)), None);
    }
}
