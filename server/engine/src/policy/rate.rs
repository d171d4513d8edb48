//! How many packets a client may send; pure. docs/protocol.md §7, step 9.
//!
//! Counts authentic, used-up packets only: nobody can use up another's rate. A
//! refused packet does not count.

use std::time::Duration;

use spad_config::Rate;
use spad_model::BootTime;

/// For each client, by index, when its allowance is whole again (the "theoretical
/// arrival time" of the generic cell rate algorithm, ITU-T I.371, less one interval).
#[derive(Clone, Debug, Default)]
pub struct Rates(Vec<BootTime>);

impl Rates {
    /// For so many clients, none of which sent anything yet.
    #[must_use]
    pub fn for_clients(clients: usize) -> Self {
        Self(vec![BootTime::default(); clients])
    }

    /// Takes one packet of the client's allowance; false where there is none left.
    pub(crate) fn admit(&mut self, client: usize, rate: Rate, now: BootTime) -> bool {
        let Some(full_at) = self.0.get_mut(client) else {
            return false;
        };
        let interval = rate.per.checked_div(rate.count).unwrap_or(Duration::MAX);
        let after = (*full_at).max(now).saturating_add(interval);
        // A burst is admitted at once, then one each interval.
        let burst = interval.saturating_mul(rate.at_once());
        if after.saturating_since(now) > burst {
            return false;
        }
        *full_at = after;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_an_interval_each_client_for_itself() {
        let rate = Rate {
            count: 3,
            per: Duration::from_secs(1),
            burst: None,
        };
        let mut rates = Rates::for_clients(2);
        let at = |ms: u64| BootTime::from_micros(10_000_000 + ms * 1000);
        let admitted = (0..10).filter(|_| rates.admit(0, rate, at(0))).count();
        assert_eq!(admitted, 3);
        assert!(rates.admit(1, rate, at(0)), "another client");
        assert!(!rates.admit(0, rate, at(300)));
        assert!(rates.admit(0, rate, at(334)));
        assert!(!rates.admit(0, rate, at(334)));
        let admitted = (0..10)
            .filter(|_| rates.admit(0, rate, at(100_000)))
            .count();
        assert_eq!(admitted, 3, "an allowance is never saved up");
        assert!(!rates.admit(2, rate, at(0)), "an unknown client has none");
    }

    #[test]
    fn a_burst_may_be_larger_than_what_passes_in_a_second_and_comes_back_as_slowly_as_that() {
        let rate = Rate {
            count: 30,
            per: Duration::from_secs(1),
            burst: Some(100),
        };
        let mut rates = Rates::for_clients(1);
        let at = |ms: u64| BootTime::from_micros(10_000_000 + ms * 1000);
        let mut admitted = |ms| (0..200).filter(|_| rates.admit(0, rate, at(ms))).count();
        assert_eq!(admitted(0), 100);
        assert_eq!(admitted(1000), 30);
        assert_eq!(admitted(10_000), 100);
    }
}
