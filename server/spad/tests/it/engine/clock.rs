//! Windows, floors, the horizon, and clocks that are wrong.

use std::time::Duration;

use spa_proto::Timestamp;
use spad_engine::audit::event::Event;
use spad_model::Reason;

use crate::engine::world::*;

fn ssh() -> spa_proto::Request {
    open_for(&["tcp/22"], 0)
}

#[test]
fn the_window_includes_both_its_ends() {
    let micro = Duration::from_micros(1);
    let mut harness = EngineHarness::new();
    let now = harness.now.wall;
    let cases = [
        (now.saturating_sub(seconds(60)), Reason::Opened),
        (now.saturating_add(seconds(60)), Reason::Opened),
        (
            now.saturating_add(seconds(60)).saturating_add(micro),
            Reason::Future,
        ),
        (
            now.saturating_sub(seconds(60)).saturating_sub(micro),
            Reason::Stale,
        ),
        (Timestamp::from_micros(0), Reason::StaleUnnamed),
        (Timestamp::from_micros(u64::MAX), Reason::Future),
    ];
    for (at, expected) in cases {
        let packet = harness.seal_at(laptop, &ssh(), at);
        assert_eq!(harness.receive(HERE, &packet), Some(expected), "{at:?}");
    }
}

#[test]
fn a_client_whose_clock_is_behind_is_named_once_a_second() {
    let mut harness = EngineHarness::new();
    for second in 1..=3 {
        for _ in 0..5 {
            let late = harness.now.wall.saturating_sub(seconds(100));
            let packet = harness.seal_at(laptop, &ssh(), late);
            harness.receive(HERE, &packet);
        }
        let named = harness.audited(Event::Refuse);
        assert_eq!(named.len(), second);
        assert_eq!(named[second - 1].skew_ms, Some(-100_000));
        harness.advance(seconds(1));
    }
    assert_eq!(harness.engine.counters().get(Reason::StaleUnnamed), 12);
}

#[test]
fn a_late_packet_with_a_wrong_code_names_nobody() {
    let mut harness = EngineHarness::new();
    let late = harness.now.wall.saturating_sub(seconds(100));
    let mut packet = harness.seal_at(laptop, &ssh(), late);
    *packet.last_mut().unwrap() ^= 1;
    assert_eq!(harness.receive(HERE, &packet), Some(Reason::Hmac));
    assert!(harness.audit.is_empty());
}

#[test]
fn a_packet_from_the_future_is_used_up_and_does_not_come_back_when_its_time_has_come() {
    let mut harness = EngineHarness::new();
    let at = harness.now.wall.saturating_add(seconds(300));
    let packet = harness.seal_at(laptop, &ssh(), at);
    assert_eq!(harness.receive(HERE, &packet), Some(Reason::Future));
    assert_eq!(harness.journal.len(), 1, "recorded");
    harness.advance(seconds(300));
    assert_eq!(harness.receive(HERE, &packet), Some(Reason::Replay));
}

#[test]
fn beyond_the_horizon_nothing_is_accepted() {
    let mut harness = EngineHarness::new();
    // The horizon was not moved after the clock stepped: the disk cannot be written.
    harness.now.wall = harness.now.wall.saturating_add(seconds(1000));
    assert_eq!(harness.send(laptop, &ssh()), Reason::Horizon);
    harness.move_horizon();
    assert_eq!(harness.send(laptop, &ssh()), Reason::Opened);
}

#[test]
fn a_clock_that_steps_either_way_makes_no_used_packet_new() {
    let mut harness = EngineHarness::new();
    let packets: Vec<_> = (0..5)
        .map(|_| {
            let packet = harness.seal(laptop, &ssh());
            assert_eq!(harness.receive(HERE, &packet), Some(Reason::Opened));
            harness.advance(seconds(10));
            packet
        })
        .collect();
    let right = harness.now.wall.as_micros();
    for offset in [3_600, 86_400, 0, 10, 100_000_000, 0] {
        for clock in [
            right + offset * 1_000_000,
            right - offset * 1_000_000,
            0,
            u64::MAX,
        ] {
            harness.set_clock(clock);
            harness.tick();
            for packet in &packets {
                assert_ne!(
                    harness.receive(THERE, packet),
                    Some(Reason::Opened),
                    "clock {clock}"
                );
            }
        }
    }
    harness.set_clock(right);
    assert!(
        harness
            .kernel
            .open()
            .iter()
            .all(|element| element.address != ip(THERE))
    );
    assert_eq!(
        harness.send(laptop, &ssh()),
        Reason::Opened,
        "the honest client is back at once"
    );
}

#[test]
fn a_larger_skew_makes_no_used_packet_new() {
    let mut harness = EngineHarness::new();
    let packet = harness.seal(laptop, &ssh());
    harness.receive(HERE, &packet);
    harness.advance(seconds(200));
    assert_eq!(harness.send(laptop, &ssh()), Reason::Opened);
    harness.reload(|config| config.packets.max_skew = seconds(3600));
    let reason = harness.receive(THERE, &packet).unwrap();
    assert!(
        [
            Reason::BelowFloor,
            Reason::BelowFloorUnnamed,
            Reason::Replay
        ]
        .contains(&reason),
        "{reason:?}"
    );
}

#[test]
fn days_of_traffic_open_and_close_as_they_should() {
    let mut harness = EngineHarness::new();
    let mut opened = 0;
    let mut replayed = Vec::new();
    for hour in 0..72_u64 {
        for _ in 0..4 {
            let packet = harness.seal(laptop, &ssh());
            assert_eq!(harness.receive(HERE, &packet), Some(Reason::Opened));
            opened += 1;
            replayed.push(packet);
            harness.advance(seconds(900));
            assert!(harness.kernel.open().is_empty());
        }
        match hour % 24 {
            7 => harness.suspend(seconds(8 * 3600)),
            11 => harness.set_clock(harness.now.wall.as_micros() + 7_200_000_000),
            19 => harness.set_clock(harness.now.wall.as_micros() - 30_000_000),
            _ => {}
        }
        for packet in &replayed {
            assert_ne!(harness.receive(THERE, packet), Some(Reason::Opened));
        }
    }
    assert_eq!(harness.engine.counters().get(Reason::Opened), opened);
    assert_eq!(harness.audited(Event::Expire).len() as u64, opened);
    let (cache, _) = harness.engine.replay_state_mut();
    assert!(
        cache.len() < 10,
        "old packets are covered by the floor: {}",
        cache.len()
    );
}
