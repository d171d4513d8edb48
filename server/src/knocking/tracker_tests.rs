//! Attempts: what a sequence opens, and what ends one.

use super::*;

const HERE: &str = "192.0.2.7";
const THERE: &str = "2001:db8::7";

/// A tracker, and a clock in seconds.
struct Hall {
    tracker: Tracker,
    now: u64,
}

impl Hall {
    fn of(doors: &[&str]) -> Self {
        let doors = doors.iter().map(|text| Door::new(text.parse().unwrap()));
        Self::with(doors.collect())
    }

    fn with(doors: Vec<Door>) -> Self {
        Self {
            tracker: Tracker::new(doors, |_| false),
            now: 100,
        }
    }

    fn hit(&mut self, hit: &Hit) -> Vec<usize> {
        let mut opened = Vec::new();
        let now = BootTime::from_micros(self.now * 1_000_000);
        self.tracker.hear(hit, now, |door, heard| {
            if let Heard::Whole(_) = heard {
                opened.push(door);
            }
        });
        opened
    }

    /// Each from a source port of its own, as connections have.
    fn knock(&mut self, from: &str, knocks: &str) -> Vec<usize> {
        let mut opened = Vec::new();
        for (place, knock) in knocks.split(',').enumerate() {
            let mut hit = hit(from, knock);
            hit.source_port += u16::try_from(place).unwrap();
            opened.extend(self.hit(&hit));
        }
        opened
    }
}

fn hit(from: &str, knock: &str) -> Hit {
    Hit {
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
    let mut hall = Hall::of(&["7000,8000:udp,9000"]);
    assert!(hall.knock(HERE, "7000,8000:udp").is_empty());
    assert_eq!(hall.knock(HERE, "9000"), [0]);
    assert!(hall.knock(HERE, "9000").is_empty());
    assert!(hall.tracker.is_empty() && hall.tracker.order.is_empty());
    assert!(
        hall.knock(HERE, "7000,8000,9000").is_empty(),
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
        let mut hall = Hall::of(&["7000,8000,9000"]);
        assert!(hall.knock(HERE, wrong).is_empty(), "{wrong}");
        assert_eq!(hall.knock(HERE, "7000,8000,9000"), [0], "after {wrong}");
    }
}

#[test]
fn another_door_is_ended_by_its_own_ports_alone() {
    let mut door = Door::new("7000,8000,9000".parse().unwrap());
    door.strict = false;
    let mut hall = Hall::with(vec![door]);
    assert_eq!(hall.knock(HERE, "7000,8000,8500,9000"), [0]);
    assert!(hall.knock(HERE, "7000,9000,8000,9000").is_empty());
}

#[test]
fn no_scan_opens_a_strict_door() {
    let mut hall = Hall::of(&["7000,8000,9000", "9000,8000,7001"]);
    let up: Vec<String> = (6_990..9_010).map(|port| port.to_string()).collect();
    let down: Vec<String> = up.iter().rev().cloned().collect();
    for scan in [up, down] {
        assert!(hall.knock(HERE, &scan.join(",")).is_empty());
    }
}

#[test]
fn a_repeated_or_late_knock_breaks_nothing() {
    let mut hall = Hall::of(&["7000,8000,9000,9500"]);
    // Each twice, and the first and second once more, from the same source ports.
    for knock in ["7000", "7000", "8000", "8000", "7000", "9000", "8000"] {
        assert!(hall.hit(&hit(HERE, knock)).is_empty());
    }
    assert_eq!(hall.hit(&hit(HERE, "9500")), [0]);
}

#[test]
fn a_first_knock_that_stands_again_may_be_repeated_wherever_it_stands() {
    let mut hall = Hall::of(&["7000,8000,7000,9000"]);
    // Each twice, as on a bridge; the third is a connection of its own.
    for (knock, source_port) in [("7000", 40_000), ("8000", 40_001), ("7000", 40_002)] {
        let hit = Hit {
            source_port,
            ..hit(HERE, knock)
        };
        for _ in 0..2 {
            assert!(hall.hit(&hit).is_empty());
        }
    }
    assert!(hall.hit(&hit(HERE, "7000")).is_empty(), "late");
    assert_eq!(hall.hit(&hit(HERE, "9000")), [0]);
}

#[test]
fn who_begins_anew_has_the_whole_time_again() {
    let mut hall = Hall::of(&["7000,8000,9000"]);
    hall.hit(&hit(HERE, "7000"));
    hall.hit(&hit(HERE, "8000"));
    hall.now += 14;
    let again = Hit {
        source_port: 40_001,
        ..hit(HERE, "7000")
    };
    hall.hit(&again);
    hall.now += 14;
    assert_eq!(
        hall.knock(HERE, "8000,9000"),
        [0],
        "28 s after the very first"
    );
    hall.hit(&hit(HERE, "7000"));
    hall.hit(&hit(HERE, "8000"));
    hall.hit(&again);
    assert!(hall.hit(&hit(HERE, "9000")).is_empty(), "the second is due");
}

#[test]
fn the_time_counts_from_the_first_knock() {
    let mut hall = Hall::of(&["7000,8000,9000"]);
    hall.knock(HERE, "7000");
    hall.now += 8;
    hall.knock(HERE, "8000");
    hall.now += 7;
    assert!(hall.knock(HERE, "9000").is_empty());
    assert!(hall.tracker.is_empty(), "and what is late is forgotten");
}

#[test]
fn nobodys_knocks_touch_anothers() {
    let mut hall = Hall::of(&["7000,8000,9000"]);
    hall.knock(THERE, "7000");
    hall.knock(HERE, "7000,8000");
    hall.knock(THERE, "1,2,9000");
    hall.knock("192.0.2.8", "7000,1");
    assert_eq!(hall.knock(HERE, "9000"), [0]);
}

#[test]
fn doors_are_knocked_at_side_by_side() {
    let mut doors = ["7000,8000", "7000,9000"].map(|text| Door::new(text.parse().unwrap()));
    for door in &mut doors {
        door.strict = false;
    }
    let mut hall = Hall::with(doors.to_vec());
    assert_eq!(hall.knock(HERE, "7000,9000,8000"), [1, 0]);
}

#[test]
fn what_is_not_for_a_door_does_not_end_an_attempt() {
    let mut door = Door::new("7000,8000,9000".parse().unwrap());
    door.target = Some("192.0.2.1".parse().unwrap());
    let mut hall = Hall::with(vec![door]);
    hall.knock(HERE, "7000,8000");
    let elsewhere = Hit {
        destination: "192.0.2.9".parse().unwrap(),
        ..hit(HERE, "1")
    };
    let acknowledged = Hit {
        flags: 0x12,
        ..hit(HERE, "1")
    };
    for other in [elsewhere, acknowledged, hit(HERE, "1:udp")] {
        assert!(hall.hit(&other).is_empty());
    }
    let not_here = Hit {
        knock: "9000".parse().unwrap(),
        ..elsewhere
    };
    assert!(hall.hit(&not_here).is_empty());
    assert_eq!(hall.knock(HERE, "9000"), [0]);
}

#[test]
fn a_flood_of_first_knocks_takes_no_more_room_and_the_oldest_go_first() {
    let mut hall = Hall::of(&["7000,8000"]);
    let from = |number: u32| Hit {
        source: IpAddr::V4(number.into()),
        ..hit(HERE, "7000")
    };
    let more = u32::try_from(MOST).unwrap() + 1;
    for number in 1..=more {
        hall.hit(&from(number));
    }
    assert_eq!(hall.tracker.len(), MOST);
    assert_eq!(hall.tracker.order.len(), MOST);
    let second = |number| Hit {
        knock: "8000".parse().unwrap(),
        ..from(number)
    };
    assert!(hall.hit(&second(1)).is_empty(), "the oldest");
    assert_eq!(hall.hit(&second(2)), [0]);
    assert_eq!(hall.hit(&second(more)), [0]);
}
