//! Attempts: what a sequence opens, and what ends one.

use super::*;

const HERE: &str = "192.0.2.7";
const THERE: &str = "2001:db8::7";

/// A tracker, and a clock in seconds.
struct TrackerHarness {
    tracker: Tracker,
    now: u64,
}

impl TrackerHarness {
    fn from_sequences(doors: &[&str]) -> Self {
        let doors = doors
            .iter()
            .map(|text| KnockPattern::new(text.parse().unwrap()));
        Self::new(doors.collect())
    }

    fn new(doors: Vec<KnockPattern>) -> Self {
        Self {
            tracker: Tracker::new(doors, |_| false),
            now: 100,
        }
    }

    fn observe(&mut self, hit: &ObservedKnock) -> Vec<usize> {
        let mut opened = Vec::new();
        let now = BootTime::from_micros(self.now * 1_000_000);
        self.tracker.observe(hit, now, |door, progress| {
            if let KnockProgress::Completed(_) = progress {
                opened.push(door);
            }
        });
        opened
    }

    /// Sends each knock from a new source port, as separate connections do.
    fn knock(&mut self, from: &str, knocks: &str) -> Vec<usize> {
        let mut opened = Vec::new();
        for (place, knock) in knocks.split(',').enumerate() {
            let mut hit = hit(from, knock);
            hit.source_port += u16::try_from(place).unwrap();
            opened.extend(self.observe(&hit));
        }
        opened
    }
}

fn hit(from: &str, knock: &str) -> ObservedKnock {
    ObservedKnock {
        source: from.parse().unwrap(),
        source_port: 40_000,
        destination: "192.0.2.1".parse().unwrap(),
        knock: knock.parse().unwrap(),
        flags: 0x02,
        interface: 2,
    }
}

#[test]
fn the_whole_sequence_opens_and_only_once() {
    let mut harness = TrackerHarness::from_sequences(&["7000,8000:udp,9000"]);
    assert!(harness.knock(HERE, "7000,8000:udp").is_empty());
    assert_eq!(harness.knock(HERE, "9000"), [0]);
    assert!(harness.knock(HERE, "9000").is_empty());
    assert!(harness.tracker.is_empty() && harness.tracker.order.is_empty());
    assert!(
        harness.knock(HERE, "7000,8000,9000").is_empty(),
        "by TCP alone"
    );
}

#[test]
fn a_wrong_knock_at_any_port_ends_the_attempt_of_a_strict_door() {
    for wrong in [
        "7000,8000,8500,9000",
        "7000,9000,8000,9000",
        "8000,9000",
        "9000,8000,7000",
        "7000,8000,22,9000",
    ] {
        let mut harness = TrackerHarness::from_sequences(&["7000,8000,9000"]);
        assert!(harness.knock(HERE, wrong).is_empty(), "{wrong}");
        assert_eq!(harness.knock(HERE, "7000,8000,9000"), [0], "after {wrong}");
    }
}

#[test]
fn another_door_is_ended_by_its_own_ports_alone() {
    let mut door = KnockPattern::new("7000,8000,9000".parse().unwrap());
    door.strict = false;
    let mut harness = TrackerHarness::new(vec![door]);
    assert_eq!(harness.knock(HERE, "7000,8000,8500,9000"), [0]);
    assert!(harness.knock(HERE, "7000,9000,8000,9000").is_empty());
}

#[test]
fn no_scan_opens_a_strict_door() {
    let mut harness = TrackerHarness::from_sequences(&["7000,8000,9000", "9000,8000,7001"]);
    let up: Vec<String> = (6_990..9_010).map(|port| port.to_string()).collect();
    let down: Vec<String> = up.iter().rev().cloned().collect();
    for scan in [up, down] {
        assert!(harness.knock(HERE, &scan.join(",")).is_empty());
    }
}

#[test]
fn a_repeated_or_late_knock_breaks_nothing() {
    let mut harness = TrackerHarness::from_sequences(&["7000,8000,9000,9500"]);
    // Each knock arrives twice, the first two once more, from unchanged source ports.
    for knock in ["7000", "7000", "8000", "8000", "7000", "9000", "8000"] {
        assert!(harness.observe(&hit(HERE, knock)).is_empty());
    }
    assert_eq!(harness.observe(&hit(HERE, "9500")), [0]);
}

#[test]
fn a_first_knock_that_stands_again_may_be_repeated_wherever_it_stands() {
    let mut harness = TrackerHarness::from_sequences(&["7000,8000,7000,9000"]);
    // Each knock arrives twice, as on a bridge; the third is a new connection.
    for (knock, source_port) in [("7000", 40_000), ("8000", 40_001), ("7000", 40_002)] {
        let hit = ObservedKnock {
            source_port,
            ..hit(HERE, knock)
        };
        for _ in 0..2 {
            assert!(harness.observe(&hit).is_empty());
        }
    }
    assert!(harness.observe(&hit(HERE, "7000")).is_empty(), "late");
    assert_eq!(harness.observe(&hit(HERE, "9000")), [0]);
}

#[test]
fn who_begins_anew_has_the_whole_time_again() {
    let mut harness = TrackerHarness::from_sequences(&["7000,8000,9000"]);
    harness.observe(&hit(HERE, "7000"));
    harness.observe(&hit(HERE, "8000"));
    harness.now += 14;
    let again = ObservedKnock {
        source_port: 40_001,
        ..hit(HERE, "7000")
    };
    harness.observe(&again);
    harness.now += 14;
    assert_eq!(
        harness.knock(HERE, "8000,9000"),
        [0],
        "28 s after the very first"
    );
    harness.observe(&hit(HERE, "7000"));
    harness.observe(&hit(HERE, "8000"));
    harness.observe(&again);
    assert!(
        harness.observe(&hit(HERE, "9000")).is_empty(),
        "the second is due"
    );
}

#[test]
fn the_time_counts_from_the_first_knock() {
    let mut harness = TrackerHarness::from_sequences(&["7000,8000,9000"]);
    harness.knock(HERE, "7000");
    harness.now += 8;
    harness.knock(HERE, "8000");
    harness.now += 7;
    assert!(harness.knock(HERE, "9000").is_empty());
    assert!(harness.tracker.is_empty(), "and what is late is forgotten");
}

#[test]
fn nobodys_knocks_touch_anothers() {
    let mut harness = TrackerHarness::from_sequences(&["7000,8000,9000"]);
    harness.knock(THERE, "7000");
    harness.knock(HERE, "7000,8000");
    harness.knock(THERE, "1,2,9000");
    harness.knock("192.0.2.8", "7000,1");
    assert_eq!(harness.knock(HERE, "9000"), [0]);
}

#[test]
fn doors_are_knocked_at_side_by_side() {
    let mut doors = ["7000,8000", "7000,9000"].map(|text| KnockPattern::new(text.parse().unwrap()));
    for door in &mut doors {
        door.strict = false;
    }
    let mut harness = TrackerHarness::new(doors.to_vec());
    assert_eq!(harness.knock(HERE, "7000,9000,8000"), [1, 0]);
}

#[test]
fn what_is_not_for_a_door_does_not_end_an_attempt() {
    let mut door = KnockPattern::new("7000,8000,9000".parse().unwrap());
    door.target = Some("192.0.2.1".parse().unwrap());
    let mut harness = TrackerHarness::new(vec![door]);
    harness.knock(HERE, "7000,8000");
    let elsewhere = ObservedKnock {
        destination: "192.0.2.9".parse().unwrap(),
        ..hit(HERE, "1")
    };
    let acknowledged = ObservedKnock {
        flags: 0x12,
        ..hit(HERE, "1")
    };
    for other in [elsewhere, acknowledged, hit(HERE, "1:udp")] {
        assert!(harness.observe(&other).is_empty());
    }
    let not_here = ObservedKnock {
        knock: "9000".parse().unwrap(),
        ..elsewhere
    };
    assert!(harness.observe(&not_here).is_empty());
    assert_eq!(harness.knock(HERE, "9000"), [0]);
}

#[test]
fn a_flood_of_first_knocks_takes_no_more_room_and_the_oldest_go_first() {
    let mut harness = TrackerHarness::from_sequences(&["7000,8000"]);
    let from = |number: u32| ObservedKnock {
        source: IpAddr::V4(number.into()),
        ..hit(HERE, "7000")
    };
    let more = u32::try_from(MAX_ATTEMPTS).unwrap() + 1;
    for number in 1..=more {
        harness.observe(&from(number));
    }
    assert_eq!(harness.tracker.len(), MAX_ATTEMPTS);
    assert_eq!(harness.tracker.order.len(), MAX_ATTEMPTS);
    let second = |number| ObservedKnock {
        knock: "8000".parse().unwrap(),
        ..from(number)
    };
    assert!(harness.observe(&second(1)).is_empty(), "the oldest");
    assert_eq!(harness.observe(&second(2)), [0]);
    assert_eq!(harness.observe(&second(more)), [0]);
}
