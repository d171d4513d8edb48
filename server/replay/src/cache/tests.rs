//! Tests of the cache.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::Duration;

use proptest::prelude::*;
use spa_keys::KeyId;
use spa_proto::{Protocol, Service, Timestamp};
use spad_model::BootTime;

use super::{Bounds, ReplayCache, Seen, Sighting};
use crate::record::JournalRecord;

const ALICE: KeyId = KeyId::from_bytes([1; 8]);
const BOB: KeyId = KeyId::from_bytes([2; 8]);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn nonce(number: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    nonce
}

fn sighting(host: u8, milliseconds: u64) -> Sighting {
    Sighting {
        source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)),
        boot: BootTime::from_micros(milliseconds * 1000),
    }
}

fn record(
    cache: &mut ReplayCache,
    id: KeyId,
    number: u64,
    seconds: u64,
) -> (Result<(), Seen>, Vec<JournalRecord>) {
    let mut out = Vec::new();
    let result = cache.record(
        id,
        &nonce(number),
        at(seconds),
        sighting(1, 0),
        at(0),
        &mut out,
    );
    (result, out)
}

fn service(port: u16) -> Service {
    Service {
        protocol: Protocol::Tcp,
        port: NonZeroU16::new(port).unwrap(),
    }
}

#[test]
fn a_packet_is_recorded_once() {
    let mut cache = ReplayCache::default();
    let (first, out) = record(&mut cache, ALICE, 1, 100);
    assert_eq!(first, Ok(()));
    assert_eq!(
        out,
        [JournalRecord::Nonce {
            id: ALICE,
            nonce: nonce(1),
            timestamp: at(100)
        }]
    );
    let (second, out) = record(&mut cache, ALICE, 1, 100);
    assert!(matches!(second, Err(Seen::Recorded { .. })));
    assert!(out.is_empty());
}

#[test]
fn the_same_nonce_with_another_time_is_recorded_all_the_same() {
    let mut cache = ReplayCache::default();
    record(&mut cache, ALICE, 1, 100).0.unwrap();
    assert!(matches!(
        record(&mut cache, ALICE, 1, 101).0,
        Err(Seen::Recorded { .. })
    ));
}

#[test]
fn another_clients_packet_with_the_same_nonce_is_another_packet() {
    let mut cache = ReplayCache::default();
    record(&mut cache, ALICE, 1, 100).0.unwrap();
    assert_eq!(record(&mut cache, BOB, 1, 100).0, Ok(()));
}

#[test]
fn a_copy_within_a_second_from_the_same_address_is_a_duplicate_and_any_other_a_replay() {
    let mut cache = ReplayCache::default();
    cache
        .record(
            ALICE,
            &nonce(1),
            at(100),
            sighting(1, 5000),
            at(0),
            &mut Vec::new(),
        )
        .unwrap();
    let duplicate = |sighting| match cache.screen(ALICE, &nonce(1), at(100), sighting) {
        Err(Seen::Recorded {
            within_second_from_same_source,
        }) => within_second_from_same_source,
        other => panic!("{other:?}"),
    };
    assert!(duplicate(sighting(1, 5000)) && duplicate(sighting(1, 6000)));
    assert!(!duplicate(sighting(1, 6001)), "later");
    assert!(!duplicate(sighting(2, 5000)), "another address");
    let mut read_back = ReplayCache::default();
    cache
        .records()
        .for_each(|record| read_back.restore(&record));
    let result = read_back.screen(ALICE, &nonce(1), at(100), sighting(1, 5000));
    assert_eq!(
        result,
        Err(Seen::Recorded {
            within_second_from_same_source: false
        }),
        "another life"
    );
}

#[test]
fn the_1025th_packet_raises_the_floor_to_the_smallest_timestamp() {
    let mut cache = ReplayCache::default();
    for number in 0..1024 {
        record(&mut cache, ALICE, number, 100 + number).0.unwrap();
    }
    assert_eq!((cache.len(), cache.floor(ALICE)), (1024, at(0)));
    let (_, out) = record(&mut cache, ALICE, 5000, 5000);
    assert_eq!((cache.len(), cache.floor(ALICE)), (1024, at(100)));
    assert_eq!(
        out[1..],
        [JournalRecord::Floor {
            id: ALICE,
            timestamp: at(100)
        }]
    );
    assert_eq!(record(&mut cache, ALICE, 0, 100).0, Err(Seen::BelowFloor));
    assert_eq!(cache.floor(BOB), at(0), "nobody else's floor moves");
}

#[test]
fn packets_from_the_future_lock_out_none_but_their_sender() {
    let mut cache = ReplayCache::default();
    for number in 0..1025 {
        record(&mut cache, ALICE, number, 1_000_000 + number)
            .0
            .unwrap();
    }
    assert_eq!(
        record(&mut cache, ALICE, 9999, 100).0,
        Err(Seen::BelowFloor)
    );
    assert_eq!(record(&mut cache, BOB, 9999, 100).0, Ok(()));
    assert_eq!(
        cache.reset_client(ALICE, at(99), Duration::from_secs(60)),
        at(99)
    );
    assert_eq!(
        record(&mut cache, ALICE, 9999, 100).0,
        Ok(()),
        "a reset mends it"
    );
}

#[test]
fn a_full_cache_drops_the_smallest_timestamps_of_all_and_raises_their_floors() {
    let mut cache = ReplayCache::new(Bounds {
        per_client: 10,
        total: 3,
    });
    record(&mut cache, ALICE, 1, 100).0.unwrap();
    record(&mut cache, BOB, 2, 50).0.unwrap();
    record(&mut cache, ALICE, 3, 101).0.unwrap();
    let (_, out) = record(&mut cache, ALICE, 4, 102);
    assert_eq!(
        out[1..],
        [JournalRecord::Floor {
            id: BOB,
            timestamp: at(50)
        }]
    );
    assert_eq!(
        (cache.len(), cache.floor(ALICE), cache.floor(BOB)),
        (3, at(0), at(50))
    );
}

#[test]
fn entries_older_than_the_window_go_when_their_client_sends_and_by_a_sweep_when_not() {
    let mut cache = ReplayCache::default();
    record(&mut cache, ALICE, 1, 100).0.unwrap();
    record(&mut cache, BOB, 2, 100).0.unwrap();
    let mut out = Vec::new();
    cache
        .record(ALICE, &nonce(3), at(200), sighting(1, 0), at(140), &mut out)
        .unwrap();
    assert_eq!(
        (cache.floor(ALICE), cache.floor(BOB), cache.len()),
        (at(100), at(0), 2)
    );
    assert_eq!(cache.sweep(at(140), 100, &mut out), 1);
    assert_eq!((cache.floor(BOB), cache.len()), (at(100), 1));
    assert_eq!(
        out.last(),
        Some(&JournalRecord::Floor {
            id: BOB,
            timestamp: at(100)
        })
    );
}

#[test]
fn a_sweep_stops_where_it_is_told_to() {
    let mut cache = ReplayCache::default();
    for number in 0..100_u8 {
        record(&mut cache, KeyId::from_bytes([number; 8]), 0, 100)
            .0
            .unwrap();
    }
    assert_eq!(cache.sweep(at(200), 10, &mut Vec::new()), 10);
    assert_eq!(cache.len(), 90);
}

#[test]
fn the_base_floor_covers_clients_that_nobody_knows_yet() {
    let mut cache = ReplayCache::default();
    record(&mut cache, ALICE, 1, 100).0.unwrap();
    cache.raise_floors(at(500));
    assert!(cache.is_empty());
    for id in [ALICE, BOB] {
        assert_eq!(record(&mut cache, id, 2, 500).0, Err(Seen::BelowFloor));
        assert_eq!(record(&mut cache, id, 3, 501).0, Ok(()));
    }
}

#[test]
fn whatever_order_the_journal_has_floors_only_rise_and_no_packet_counts_twice() {
    let base = |seconds| JournalRecord::BaseFloor {
        timestamp: at(seconds),
    };
    let packet = JournalRecord::Nonce {
        id: ALICE,
        nonce: nonce(1),
        timestamp: at(300),
    };
    let cache = restored(Bounds::default(), &[base(200), packet, base(100), packet]);
    assert_eq!(cache.floor(BOB), at(200));
    assert_eq!(cache.len(), 1);
}

#[test]
fn timestamps_at_both_ends_of_time_are_judged_without_overflow() {
    let mut cache = ReplayCache::default();
    assert_eq!(record(&mut cache, ALICE, 1, 0).0, Err(Seen::BelowFloor));
    let end = Timestamp::from_micros(u64::MAX);
    let mut out = Vec::new();
    assert_eq!(
        cache.record(ALICE, &nonce(2), end, sighting(1, 0), at(0), &mut out),
        Ok(())
    );
    cache.raise_floors(end);
    assert_eq!(
        cache.screen(ALICE, &nonce(3), end, sighting(1, 0)),
        Err(Seen::BelowFloor)
    );
}

#[test]
fn the_last_close_stands_until_the_floor_says_the_same() {
    let mut cache = ReplayCache::default();
    let mut out = Vec::new();
    cache.close(ALICE, service(22), at(100), &mut out);
    cache.close(ALICE, service(22), at(90), &mut out);
    assert_eq!(cache.last_close(ALICE, service(22)), Some(at(100)));
    assert_eq!(
        (
            cache.last_close(ALICE, service(23)),
            cache.last_close(BOB, service(22))
        ),
        (None, None)
    );
    cache.raise_floors(at(100));
    assert_eq!(cache.last_close(ALICE, service(22)), None);
}

#[test]
fn a_client_that_closes_everything_fills_no_memory() {
    let mut cache = ReplayCache::default();
    for port in 1..=1000 {
        cache.close(
            ALICE,
            service(port),
            at(100 + u64::from(port)),
            &mut Vec::new(),
        );
    }
    let remaining = cache
        .records()
        .filter(|record| matches!(record, JournalRecord::LastClose { .. }))
        .count();
    assert_eq!((remaining, cache.floor(ALICE)), (64, at(1036)));
}

#[test]
fn a_reset_keeps_recent_packets_used() {
    let mut cache = ReplayCache::default();
    record(&mut cache, ALICE, 1, 990).0.unwrap();
    record(&mut cache, ALICE, 2, 5000).0.unwrap();
    cache.raise_floors(at(100));
    cache.reset_all(at(1000), Duration::from_secs(60));
    assert!(matches!(
        record(&mut cache, ALICE, 1, 990).0,
        Err(Seen::Recorded { .. })
    ));
    assert_eq!(cache.len(), 1);
}

proptest! {
    #[test]
    fn nothing_recorded_is_ever_new_not_even_from_the_journal_and_floors_only_rise(
        per_client in 1..5_usize,
        total in 1..8_usize,
        steps in prop::collection::vec((0..3_u8, 0..12_u64, 1..40_u64, 0..40_u64, 0..10_u8), 1..200),
    ) {
        let bounds = Bounds { per_client, total };
        let mut cache = ReplayCache::new(bounds);
        let mut used: BTreeSet<(KeyId, u64, Timestamp)> = BTreeSet::new();
        let mut floors: BTreeMap<KeyId, Timestamp> = BTreeMap::new();
        let mut journal = Vec::new();
        for (client, number, seconds, window, kind) in steps {
            let id = KeyId::from_bytes([client; 8]);
            match kind {
                0 => {
                    cache.sweep(at(window), 2, &mut journal);
                }
                1 => {
                    let read_back = restored(bounds, &journal);
                    let compacted = restored(bounds, &cache.records().collect::<Vec<_>>());
                    prop_assert_eq!(set(&compacted), set(&cache));
                    for (id, number, time) in &used {
                        for cache in [&cache, &read_back, &compacted] {
                            prop_assert!(cache.screen(*id, &nonce(*number), *time, sighting(1, 0)).is_err());
                        }
                    }
                }
                _ => {
                    let time = at(seconds);
                    let result = cache.record(id, &nonce(number), time, sighting(1, 0), at(window), &mut journal);
                    prop_assert!(result.is_err() || used.insert((id, number, time)), "twice");
                }
            }
            let floor = cache.floor(id);
            prop_assert!(floor >= floors.insert(id, floor).unwrap_or_default());
            prop_assert!(cache.len() <= total);
        }
    }
}

fn restored(bounds: Bounds, records: &[JournalRecord]) -> ReplayCache {
    let mut cache = ReplayCache::new(bounds);
    records.iter().for_each(|record| cache.restore(record));
    cache
}

fn set(cache: &ReplayCache) -> BTreeSet<String> {
    cache
        .records()
        .map(|record| format!("{record:?}"))
        .collect()
}
