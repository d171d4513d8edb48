//! How often the table is put back.
//!
//! Pure. Somebody who flushes in a loop, or a second daemon in the same namespace, must have
//! us start `nft` no more often than now and then; the emergency table hides meanwhile.

use std::time::Duration;

use spad_model::BootTime;

/// So many may follow one another at once.
const BURST: u32 = 10;
/// Then the pause before the next; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(8);
/// After so long without one it begins again.
const RESET_AFTER: Duration = Duration::from_secs(30);

/// What was put back lately.
#[derive(Debug, Default)]
pub(super) struct Restores {
    /// How many in a row, and when the last was.
    streak: Option<(u32, BootTime)>,
}

impl Restores {
    /// When it may be put back again; none for at once.
    pub(super) fn next_allowed(&self) -> Option<BootTime> {
        let (count, last) = self.streak?;
        let excess = count.checked_sub(BURST)?;
        let pause = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(excess).unwrap_or(u32::MAX));
        Some(last.saturating_add(pause.min(MAX_PAUSE)))
    }

    /// It was put back.
    pub(super) fn record(&mut self, now: BootTime) {
        let before = self
            .streak
            .filter(|(_, last)| now.saturating_since(*last) < RESET_AFTER);
        let count = before.map_or(0, |(count, _)| count);
        self.streak = Some((count.saturating_add(1), now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootTime {
        BootTime::from_micros(1_000_000 + millis * 1000)
    }

    #[test]
    fn one_who_flushes_in_a_loop_has_it_put_back_ever_more_seldom_and_calm_forgives() {
        let mut restores = Restores::default();
        let mut put_back = 0;
        for millis in (0..600_000).step_by(10) {
            if restores
                .next_allowed()
                .is_none_or(|next| next <= at(millis))
            {
                restores.record(at(millis));
                put_back += 1;
            }
        }
        assert!(
            (80..100).contains(&put_back),
            "{put_back} times in ten minutes"
        );
        restores.record(at(700_000));
        assert_eq!(restores.next_allowed(), None);
    }
}
