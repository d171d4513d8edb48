//! Tests of the horizon.

use std::time::Duration;

use spa_proto::Timestamp;
use spad_model::{BootTime, Now};

use super::horizon::{Horizon, HorizonError, HorizonMove};

const SKEW: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn now(wall: u64, boot: u64) -> Now {
    Now {
        wall: at(wall),
        boot: BootTime::from_micros(boot * 1_000_000),
    }
}

fn advance(horizon: &mut Horizon, now: Now) -> Option<HorizonMove> {
    let step = horizon.plan(now, SKEW)?;
    match step {
        HorizonMove::Raise(to) | HorizonMove::Lower(to) => horizon.commit(to),
    }
    horizon.mark_done(now, SKEW);
    Some(step)
}

#[test]
fn it_moves_at_start_every_ten_seconds_and_at_once_when_the_clock_steps() {
    let mut horizon = Horizon::at_start(at(0));
    assert_eq!(
        advance(&mut horizon, now(1000, 5)),
        Some(HorizonMove::Raise(at(1085)))
    );
    assert_eq!(advance(&mut horizon, now(1009, 14)), None);
    assert_eq!(
        advance(&mut horizon, now(1010, 15)),
        Some(HorizonMove::Raise(at(1095)))
    );
    assert_eq!(
        advance(&mut horizon, now(5000, 16)),
        Some(HorizonMove::Raise(at(5085))),
        "forward"
    );
    assert_eq!(
        advance(&mut horizon, now(1012, 17)),
        Some(HorizonMove::Lower(at(1097))),
        "back"
    );
}

#[test]
fn it_moves_at_once_when_the_allowed_skew_changes() {
    let mut horizon = Horizon::at_start(at(0));
    advance(&mut horizon, now(1000, 5));
    let wider = Duration::from_secs(90);
    assert_eq!(
        horizon.plan(now(1001, 6), wider),
        Some(HorizonMove::Raise(at(1116)))
    );
}

#[test]
fn it_never_goes_below_its_value_at_this_start_or_a_packet_accepted_since() {
    let mut horizon = Horizon::at_start(at(3000));
    assert_eq!(
        advance(&mut horizon, now(1000, 5)),
        Some(HorizonMove::Raise(at(3000)))
    );
    assert_eq!(
        advance(&mut horizon, now(9000, 6)),
        Some(HorizonMove::Raise(at(9085)))
    );
    horizon.accept(at(8970)).unwrap();
    assert_eq!(
        advance(&mut horizon, now(1000, 7)),
        Some(HorizonMove::Lower(at(8970)))
    );
}

#[test]
fn a_packet_beyond_it_is_not_accepted() {
    let mut horizon = Horizon::at_start(at(1085));
    assert_eq!(horizon.accept(at(1085)), Ok(()));
    assert_eq!(horizon.accept(at(1086)), Err(HorizonError::Beyond));
}

#[test]
fn while_it_is_unknown_nothing_is_accepted_and_nothing_written() {
    let mut horizon = Horizon::unknown();
    assert_eq!(horizon.accept(at(0)), Err(HorizonError::Beyond));
    assert_eq!(horizon.plan(now(1000, 5), SKEW), None);
    horizon.reset();
    assert_eq!(
        advance(&mut horizon, now(1000, 5)),
        Some(HorizonMove::Raise(at(1085)))
    );
}

#[test]
fn while_the_state_cannot_be_written_nothing_is_accepted_and_the_reason_says_so() {
    let mut horizon = Horizon::at_start(at(1085));
    horizon.set_writable(false);
    assert_eq!(horizon.accept(at(1000)), Err(HorizonError::Unwritable));
    horizon.set_writable(true);
    assert_eq!(horizon.accept(at(1000)), Ok(()));
}

#[test]
fn the_end_of_time_does_not_overflow() {
    let mut horizon = Horizon::at_start(Timestamp::from_micros(u64::MAX));
    let end = Now {
        wall: Timestamp::from_micros(u64::MAX),
        boot: BootTime::from_micros(u64::MAX),
    };
    assert!(advance(&mut horizon, end).is_some());
    assert!(advance(&mut horizon, now(0, 0)).is_some());
}

#[test]
fn more_than_ten_minutes_ahead_is_reported() {
    assert_eq!(Horizon::at_start(at(1600)).ahead_of(at(1000)), None);
    assert_eq!(
        Horizon::at_start(at(1601)).ahead_of(at(1000)),
        Some(Duration::from_secs(601))
    );
    assert_eq!(Horizon::at_start(at(0)).ahead_of(at(1000)), None);
    let hour = Duration::from_secs(3600);
    let mut horizon = Horizon::at_start(at(0));
    horizon.commit(at(1000 + 3625));
    horizon.mark_done(now(1000, 5), hour);
    assert_eq!(
        horizon.ahead_of(at(1000)),
        None,
        "so much is usual with such a skew"
    );
}
