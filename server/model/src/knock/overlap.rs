//! Whether knocking at one door also opens another. Pure.
//!
//! A sequence need not be part of another for that: a door ignores knocks that it does
//! not listen to and repetitions.

use std::net::{IpAddr, Ipv4Addr};

use super::{KnockPattern, KnockProgress, ObservedKnock, Sequence, Tracker};
use crate::clock::BootTime;

/// Whether the knocks of `sequence`, from any of them on, open `door`.
#[must_use]
pub fn also_opens(pattern: &KnockPattern, sequence: &Sequence) -> bool {
    let knocks = sequence.knocks();
    let due = pattern.sequences.iter().next();
    let first = due.and_then(|due| due.knocks().first());
    let starts = (0..knocks.len()).filter(|start| knocks.get(*start) == first);
    // Once as separate connections, once from one socket.
    let mut attempts = starts.flat_map(|start| [(start, 1), (start, 0)]);
    attempts.any(|(start, step)| {
        let mut tracker = Tracker::new(vec![pattern.clone()], |_| false);
        let mut opened = false;
        let mut source_port = 40_000_u16;
        for knock in knocks.iter().skip(start) {
            source_port = source_port.saturating_add(step);
            let observed = ObservedKnock {
                source: IpAddr::V4(Ipv4Addr::LOCALHOST),
                source_port,
                destination: pattern.target.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                knock: *knock,
                flags: pattern.flags.set(),
                interface: 0,
            };
            tracker.observe(&observed, BootTime::default(), |_, progress| {
                opened |= matches!(progress, KnockProgress::Completed(_));
            });
        }
        opened
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens(door: &str, strict: bool, knocks: &str) -> bool {
        let door = KnockPattern {
            strict,
            ..KnockPattern::new(door.parse().unwrap())
        };
        also_opens(&door, &knocks.parse().unwrap())
    }

    #[test]
    fn a_sequence_that_holds_anothers_knocks_in_a_row_opens_it() {
        assert!(opens("7000,8000", true, "7000,8000,9000"));
        assert!(opens("7000,8000", true, "9000,7000,8000"));
        assert!(opens(
            "7000,8000,7000,9000",
            true,
            "7000,8000,7000,8000,7000,9000"
        ));
        assert!(!opens("7000,8000,9000", true, "7000,8000,9500"));
        assert!(!opens("7000,8000", true, "8000,7000"));
    }

    #[test]
    fn knocks_that_a_door_does_not_hear_do_not_keep_it_closed() {
        assert!(opens("7000,8000", true, "7000,7500:udp,8000"));
        assert!(!opens("7000,8000", true, "7000,7500,8000"));
        assert!(opens("7000,8000", false, "7000,7500,8000"));
        assert!(
            opens("7000,8000,9000", true, "7000,8000,7000,9000"),
            "one socket"
        );
        assert!(opens("1,8000,9000,95", true, "1,8000,9000,8000,95"));
    }
}
