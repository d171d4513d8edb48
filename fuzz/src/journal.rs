//! Any two files as the journal: read without panic; what was read is written
//! the same again, and the cache that it makes gives back itself.
//!
//! The first byte of the input says how much of the rest is the first file.

use std::collections::BTreeSet;

use spad_replay::encoding::{RECORD_LEN, Slot, decode, encode};
use spad_replay::journal_read::{JournalContents, read};
use spad_replay::proof::add_check;
use spad_replay::record::JournalEntry;
use spad_replay::{Bounds, JournalRecord, ReplayCache};

pub fn run(data: &[u8]) {
    let Some((cut, files)) = data.split_first() else {
        return;
    };
    let (a, b) = files.split_at(files.len() * usize::from(*cut) / 255);
    for file in [a, b] {
        for (place, slot) in (0..).zip(file.as_chunks::<RECORD_LEN>().0) {
            if let Slot::Entry { generation, entry } = decode(place, slot) {
                assert_eq!(encode(generation, place, &entry), *slot, "another encoding");
            }
        }
    }
    let reading = read(a, b);
    check_round_trip(&reading);
    let cache = restored(&reading.records);
    let records: Vec<_> = cache.records().collect();
    assert_eq!(
        texts(&restored(&records)),
        texts(&cache),
        "compaction lost something"
    );
    check_replays(&cache, &reading.records);
}

/// The same records in a file without damage are read the same, and whole.
fn check_round_trip(reading: &JournalContents) {
    let generation = reading.generation.max(1);
    let count = u32::try_from(reading.records.len()).expect("a short input");
    let mut file = vec![0; 2 * RECORD_LEN];
    let mut sum = 0;
    for (place, record) in (2..).zip(&reading.records) {
        let record = encode(generation, place, &JournalEntry::Record(*record));
        sum = add_check(sum, &record);
        file.extend(record);
    }
    let header = JournalEntry::Header {
        boot_id: [1; 16],
        count,
        sum,
        slots: count + 2,
    };
    file[..RECORD_LEN].copy_from_slice(&encode(generation, 0, &header));
    let again = read(&[], &file);
    assert!(again.is_complete());
    assert_eq!(again.records, reading.records);
    assert_eq!(again.next, count + 2);
}

/// No packet that was recorded passes.
fn check_replays(cache: &ReplayCache, records: &[JournalRecord]) {
    let sighting = spad_replay::Sighting {
        source: std::net::Ipv4Addr::LOCALHOST.into(),
        boot: spad_model::BootTime::from_micros(1),
    };
    for record in records {
        if let JournalRecord::Nonce {
            id,
            nonce,
            timestamp,
        } = record
        {
            assert!(cache.screen(*id, nonce, *timestamp, sighting).is_err());
        }
    }
}

fn restored(records: &[JournalRecord]) -> ReplayCache {
    let mut cache = ReplayCache::new(Bounds {
        per_client: 4,
        total: 8,
    });
    for record in records {
        cache.restore(record);
    }
    cache
}

fn texts(cache: &ReplayCache) -> BTreeSet<String> {
    cache
        .records()
        .map(|record| format!("{record:?}"))
        .collect()
}
