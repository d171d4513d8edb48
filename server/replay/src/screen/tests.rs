//! Tests of the screen.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use spa_keys::{ClientSecret, HeadKeys, KeyId, PacketKeys, ServerSecret};
use spa_proto::{CommandName, Randomness, Request, Timestamp, identify, seal};
use spad_model::{BootTime, Now};

use super::{LateReason, LateReportLimiter, ScreenContext, Screening, screen};
use crate::{JournalRecord, ReplayCache, Seen};

const SKEW: Duration = Duration::from_secs(60);
const NOW: u64 = 1_800_000_000;

struct ScreenHarness {
    head: HeadKeys,
    id: KeyId,
    keys: PacketKeys,
    cache: ReplayCache,
    limiter: LateReportLimiter,
}

impl ScreenHarness {
    fn new() -> Self {
        let server = ServerSecret::from_bytes([1; 32]).public();
        let client = ClientSecret::from_bytes([2; 32]);
        let pair = client.pair_with(&server).unwrap();
        Self {
            head: HeadKeys::new(&server),
            id: KeyId::for_client(&server, &client.public()),
            keys: PacketKeys::from_pair(&server, &pair, &client.public(), None),
            cache: ReplayCache::default(),
            limiter: LateReportLimiter::for_clients(2),
        }
    }

    fn packet(&self, micros: u64, nonce: u8) -> Vec<u8> {
        let request = Request::Run {
            command: "backup".parse::<CommandName>().unwrap(),
        };
        let randomness = Randomness {
            nonce: [nonce; 24],
            length: 0,
        };
        let time = Timestamp::from_micros(micros);
        seal(&self.head, self.id, &self.keys, &request, time, &randomness).unwrap()
    }

    /// Screens the packet, this many milliseconds after a fixed time.
    fn screen<'a>(&mut self, packet: &'a [u8], milliseconds: u64) -> Screening<'a> {
        let identified = identify(&self.head, packet).unwrap();
        screen(
            identified,
            0,
            &context(&self.cache, milliseconds),
            &mut self.limiter,
        )
    }
}

fn context(cache: &ReplayCache, milliseconds: u64) -> ScreenContext<'_> {
    let wall = Timestamp::from_micros(NOW * 1_000_000 + milliseconds * 1000);
    let now = Now {
        wall,
        boot: BootTime::from_micros(milliseconds * 1000),
    };
    ScreenContext {
        cache,
        now,
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        max_skew: SKEW,
    }
}

#[test]
fn the_window_ends_at_exactly_the_allowed_skew() {
    let mut harness = ScreenHarness::new();
    let oldest = NOW * 1_000_000 - 60_000_000;
    let packet = harness.packet(oldest, 1);
    assert!(matches!(harness.screen(&packet, 0), Screening::Passed(_)));
    let packet = harness.packet(oldest - 1, 2);
    assert!(
        matches!(harness.screen(&packet, 0), Screening::LateReportable(late) if late.reason() == LateReason::Stale)
    );
}

#[test]
fn the_oldest_packet_that_passes_the_screen_is_also_recorded() {
    let mut harness = ScreenHarness::new();
    let packet = harness.packet(NOW * 1_000_000 - 60_000_000, 1);
    let Screening::Passed(screened) = harness.screen(&packet, 0) else {
        panic!("late")
    };
    let mut out = Vec::new();
    let (window_start, sighting) = {
        let against = context(&harness.cache, 0);
        (against.window_start(), against.sighting())
    };
    let authentic = screened.authenticate(&harness.keys).unwrap();
    let mut recorder = harness.cache.recorder(sighting, window_start, &mut out);
    let recorded = authentic.record(&mut recorder).unwrap();
    assert!(matches!(out[..], [JournalRecord::Nonce { .. }]));
    drop(recorded.open(&harness.keys).unwrap());
    assert!(matches!(
        harness.screen(&packet, 0),
        Screening::AlreadySeen {
            within_second_from_same_source: true
        }
    ));
    assert!(
        matches!(harness.screen(&packet, 999), Screening::LateReportable(_)),
        "or stale by then"
    );
}

#[test]
fn a_packet_from_the_future_passes_to_be_recorded() {
    let mut harness = ScreenHarness::new();
    for (nonce, micros) in [(1, (NOW + 86_400) * 1_000_000), (2, u64::MAX)] {
        let packet = harness.packet(micros, nonce);
        assert!(matches!(harness.screen(&packet, 0), Screening::Passed(_)));
    }
}

#[test]
fn a_used_packet_is_refused_before_its_hmac_is_looked_at() {
    let mut harness = ScreenHarness::new();
    let mut packet = harness.packet(NOW * 1_000_000, 1);
    let sighting = context(&harness.cache, 0).sighting();
    let time = Timestamp::from_micros(NOW * 1_000_000);
    harness
        .cache
        .record(
            harness.id,
            &[1; 24],
            time,
            sighting,
            Timestamp::default(),
            &mut Vec::new(),
        )
        .unwrap();
    // A copied head, everything else changed.
    packet.iter_mut().skip(48).for_each(|byte| *byte ^= 0xff);
    assert!(matches!(
        harness.screen(&packet, 0),
        Screening::AlreadySeen {
            within_second_from_same_source: true
        }
    ));
    assert!(matches!(
        harness.screen(&packet, 1001),
        Screening::AlreadySeen {
            within_second_from_same_source: false
        }
    ));
}

#[test]
fn a_late_packet_names_its_client_once_a_second_and_each_client_has_its_own_turn() {
    let mut harness = ScreenHarness::new();
    let packet = harness.packet((NOW - 3600) * 1_000_000, 1);
    let named = |outcome: &Screening<'_>| matches!(outcome, Screening::LateReportable(_));
    for (milliseconds, expected) in [
        (0, true),
        (1, false),
        (999, false),
        (1000, true),
        (1500, false),
        (2000, true),
    ] {
        assert_eq!(
            named(&harness.screen(&packet, milliseconds)),
            expected,
            "{milliseconds}"
        );
    }
    let other = screen(
        identify(&harness.head, &packet).unwrap(),
        1,
        &context(&harness.cache, 2000),
        &mut harness.limiter,
    );
    assert!(named(&other));
    let unknown = screen(
        identify(&harness.head, &packet).unwrap(),
        9,
        &context(&harness.cache, 2000),
        &mut harness.limiter,
    );
    assert!(!named(&unknown));
}

#[test]
fn a_late_packet_is_told_from_a_forged_one_and_opens_nothing() {
    let mut harness = ScreenHarness::new();
    let packet = harness.packet((NOW - 3600) * 1_000_000, 1);
    let Screening::LateReportable(late) = harness.screen(&packet, 0) else {
        panic!("not late")
    };
    assert!(late.is_authentic(&harness.keys));
    let mut forged = packet;
    forged[100] ^= 1;
    let Screening::LateReportable(late) = harness.screen(&forged, 5000) else {
        panic!("not late")
    };
    assert!(!late.is_authentic(&harness.keys));
}

#[test]
fn a_packet_not_above_the_floor_is_late_though_its_time_is_right() {
    let mut harness = ScreenHarness::new();
    harness
        .cache
        .raise_floors(Timestamp::from_micros(NOW * 1_000_000));
    let packet = harness.packet(NOW * 1_000_000, 1);
    assert!(
        matches!(harness.screen(&packet, 0), Screening::LateReportable(late) if late.reason() == LateReason::BelowFloor)
    );
    assert!(matches!(
        harness.screen(&packet, 1),
        Screening::Late(LateReason::BelowFloor)
    ));
    let packet = harness.packet(NOW * 1_000_000 + 1, 2);
    assert!(matches!(harness.screen(&packet, 1), Screening::Passed(_)));
}

#[test]
fn whatever_passed_the_screen_meets_floor_and_window_once_more_when_it_is_recorded() {
    let mut harness = ScreenHarness::new();
    let packet = harness.packet(NOW * 1_000_000, 1);
    let Screening::Passed(screened) = harness.screen(&packet, 0) else {
        panic!("refused")
    };
    let authentic = screened.authenticate(&harness.keys).unwrap();
    let sighting = context(&harness.cache, 0).sighting();
    let later = Timestamp::from_micros(NOW * 1_000_000 + 1);
    let mut out = Vec::new();
    let mut recorder = harness.cache.recorder(sighting, later, &mut out);
    assert_eq!(
        authentic.record(&mut recorder).unwrap_err(),
        Seen::BelowFloor
    );
    assert!(out.is_empty());
}
