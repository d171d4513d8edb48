//! When to send and when to probe, counted from the first packet. Pure.
//!
//! A connection attempt that comes before the grant has its first SYN dropped
//! and loses a second to the retransmission, so fresh sockets are opened at
//! short intervals instead of waiting on one.

use std::time::Duration;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Open a fresh socket to every service that has not answered.
    Probe,
    /// Send a fresh packet to every address.
    Packet,
}

/// Probes after each packet, in milliseconds.
const PROBES_MS: [u64; 7] = [2, 5, 10, 30, 100, 300, 600];
/// The second packet, in milliseconds; then one each second.
const SECOND_PACKET_MS: u64 = 300;
const PACKET_INTERVAL_MS: u64 = 1_000;

/// Every step after the first packet, in order, without end. Where both are
/// due, the probe comes first: it may find the earlier packet's grant.
pub fn steps() -> impl Iterator<Item = (Duration, Step)> {
    let starts = std::iter::successors(Some(SECOND_PACKET_MS), |at| {
        at.checked_add(PACKET_INTERVAL_MS)
    });
    let rounds = std::iter::once((0, SECOND_PACKET_MS))
        .chain(starts.map(|at| (at, at.saturating_add(PACKET_INTERVAL_MS))));
    rounds.flat_map(|(start, next)| {
        let probes = PROBES_MS
            .into_iter()
            .map(move |after| start.saturating_add(after));
        let probes = probes
            .take_while(move |at| *at <= next)
            .map(|at| (Duration::from_millis(at), Step::Probe));
        probes.chain(std::iter::once((Duration::from_millis(next), Step::Packet)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(millis: u128, step: Step) -> Vec<u128> {
        steps()
            .take_while(|(at, _)| at.as_millis() <= millis)
            .filter(|(_, kind)| *kind == step)
            .map(|(at, _)| at.as_millis())
            .collect()
    }

    #[test]
    fn fresh_sockets_are_opened_after_2_5_10_30_100_and_300_ms() {
        assert_eq!(until(300, Step::Probe), [2, 5, 10, 30, 100, 300]);
    }

    #[test]
    fn a_fresh_packet_is_sent_after_300_ms_and_each_second_after() {
        assert_eq!(until(5_000, Step::Packet), [300, 1300, 2300, 3300, 4300]);
    }

    #[test]
    fn every_packet_is_followed_by_probes_and_time_never_goes_back() {
        let steps: Vec<_> = steps().take(100).collect();
        assert!(steps.is_sorted_by_key(|(at, _)| *at));
        assert_eq!(
            until(2_000, Step::Probe)[6..],
            [
                302, 305, 310, 330, 400, 600, 900, 1302, 1305, 1310, 1330, 1400, 1600, 1900
            ]
        );
    }

    #[test]
    fn no_more_packets_are_sent_than_a_server_takes_in_any_second() {
        let packets = until(60_000, Step::Packet);
        assert!(packets.windows(2).all(|pair| pair[1] - pair[0] >= 1000));
    }
}
