//! The seeds of the target `journal` are journals of today's format, each of them what its name
//! says: after a change of the format the first slot would already give them away as noise.
//!
//! `SPA_FUZZ_WRITE_SEEDS=1 cargo test -p spa-fuzz --test it journal` writes them again.

use std::net::IpAddr;
use std::path::Path;

use spa_keys::KeyId;
use spa_proto::Timestamp;
use spad_model::BootTime;
use spad_replay::encoding::{RECORD_LEN, encode};
use spad_replay::journal_read::{FIRST_RECORD_SLOT, JournalContents, read};
use spad_replay::record::JournalEntry;
use spad_replay::{Holder, HolderKey, HolderRecord, JournalRecord};

/// A journal's file of so many slots, begun empty, in which these records stand.
fn file(generation: u32, slots: u32, records: &[JournalRecord]) -> Vec<u8> {
    let header = JournalEntry::Header {
        boot_id: [1; 16],
        count: 0,
        sum: 0,
        slots,
    };
    let mut bytes = encode(generation, 0, &header).to_vec();
    bytes.resize(RECORD_LEN * usize::try_from(FIRST_RECORD_SLOT).unwrap(), 0);
    for (place, record) in (FIRST_RECORD_SLOT..).zip(records) {
        bytes.extend(encode(generation, place, &JournalEntry::Record(*record)));
    }
    bytes.resize(RECORD_LEN * usize::try_from(slots).unwrap(), 0);
    bytes
}

/// The slot of this number.
fn slot(bytes: &mut [u8], place: usize) -> &mut [u8] {
    &mut bytes[place * RECORD_LEN..(place + 1) * RECORD_LEN]
}

fn id(number: u8) -> KeyId {
    KeyId::from_bytes([number; 8])
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn nonce(number: u8) -> JournalRecord {
    JournalRecord::Nonce {
        id: id(number % 2),
        nonce: [number; 24],
        timestamp: at(number.into()),
    }
}

fn nonces(count: u8) -> Vec<JournalRecord> {
    (0..count).map(nonce).collect()
}

/// Each kind once, held by each kind of holder.
fn each_kind() -> Vec<JournalRecord> {
    let key = |by, address: &str, prefix| HolderKey {
        holder: by,
        address: address.parse::<IpAddr>().unwrap(),
        prefix,
        service: "tcp/22".parse().unwrap(),
        source_port: None,
        once: false,
    };
    let client = HolderKey {
        source_port: Some(4711.try_into().unwrap()),
        ..key(Holder::Client(id(1)), "192.0.2.1", None)
    };
    let network = HolderKey {
        once: true,
        ..key(Holder::Admin, "2001:db8::", Some(48))
    };
    let holder = |key| {
        JournalRecord::Holder(HolderRecord {
            key,
            ends: BootTime::from_micros(5_000_000),
        })
    };
    vec![
        nonce(1),
        JournalRecord::Floor {
            id: id(1),
            timestamp: at(7),
        },
        JournalRecord::BaseFloor { timestamp: at(5) },
        JournalRecord::LastClose {
            id: id(1),
            service: "udp/51820".parse().unwrap(),
            timestamp: at(8),
        },
        holder(client),
        holder(network),
        JournalRecord::HolderRemoved(client),
        JournalRecord::HookPending(client),
        JournalRecord::HookDone(client),
        JournalRecord::OneTime { count: 3, sum: 99 },
    ]
}

fn closes() -> Vec<JournalRecord> {
    let close = |port: u16| JournalRecord::LastClose {
        id: id(1),
        service: format!("tcp/{port}").parse().unwrap(),
        timestamp: at(port.into()),
    };
    (1..=30).map(close).collect()
}

/// What a seed is: the two files, and how they are to be read.
type Seed = (&'static str, Vec<u8>, Vec<u8>, fn(&JournalContents) -> bool);

fn seeds() -> Vec<Seed> {
    let whole = || file(1, 8, &nonces(4));
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole();
        change(&mut bytes);
        bytes
    };
    let none = Vec::new;
    let mut of_earlier_format = vec![0; RECORD_LEN];
    of_earlier_format[0] = 1;
    let check = crc32fast::hash(&of_earlier_format[..60]);
    of_earlier_format[60..].copy_from_slice(&check.to_be_bytes());
    vec![
        ("empty", none(), none(), |read| read.boot_id.is_none()),
        ("whole", file(1, 14, &each_kind()), none(), |read| {
            read.is_complete() && read.records.len() == 10
        }),
        ("closes", file(1, 32, &closes()), none(), |read| {
            read.is_complete() && read.records.len() == 30
        }),
        ("evictions", file(1, 22, &nonces(20)), none(), |read| {
            read.is_complete() && read.records.len() == 20
        }),
        // A third of the bytes, and the rest.
        (
            "older_beside_newer",
            file(1, 5, &nonces(2)),
            file(2, 10, &nonces(6)),
            |read| read.is_complete() && (read.generation, read.records.len()) == (2, 6),
        ),
        (
            "cut_record",
            changed(&|bytes| bytes.truncate(5 * RECORD_LEN + 20)),
            none(),
            |read| read.malformed,
        ),
        (
            "missing_tail",
            changed(&|bytes| bytes.truncate(5 * RECORD_LEN)),
            none(),
            |read| read.malformed,
        ),
        (
            "damaged_header",
            changed(&|bytes| bytes[9] ^= 4),
            none(),
            |read| read.damaged == 1 && read.boot_id.is_none(),
        ),
        (
            "damaged_record",
            changed(&|bytes| slot(bytes, 3)[20] ^= 1),
            none(),
            |read| (read.damaged, read.records.len()) == (1, 3),
        ),
        (
            "gap",
            changed(&|bytes| slot(bytes, 4).fill(0)),
            none(),
            |read| (read.damaged, read.records.len()) == (1, 3),
        ),
        (
            "record_over_its_successor",
            changed(&|bytes| bytes.copy_within(3 * RECORD_LEN..4 * RECORD_LEN, 4 * RECORD_LEN)),
            none(),
            |read| (read.damaged, read.records.len()) == (1, 3),
        ),
        (
            "marked_incomplete",
            changed(&|bytes| {
                slot(bytes, 1).copy_from_slice(&encode(1, 1, &JournalEntry::Incomplete));
            }),
            none(),
            |read| read.marked_incomplete && read.records.len() == 4,
        ),
        (
            "remains_of_another_generation",
            changed(&|bytes| {
                slot(bytes, 6).copy_from_slice(&encode(9, 6, &JournalEntry::Record(nonce(9))));
            }),
            none(),
            |read| read.malformed && read.max_generation == 9,
        ),
        ("of_earlier_format", of_earlier_format, none(), |read| {
            read.earlier_format
        }),
    ]
}

/// The first byte says how much of the rest is the first file.
fn input(a: &[u8], b: &[u8]) -> Vec<u8> {
    let cut = match (a.len(), b.len()) {
        (_, 0) => 255,
        (a, b) => u8::try_from(a * 255 / (a + b)).unwrap(),
    };
    let all = [&[cut], a, b].concat();
    assert_eq!((all.len() - 1) * usize::from(cut) / 255, a.len());
    all
}

#[test]
fn each_seed_is_a_journal_of_todays_format_and_what_its_name_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/journal");
    let write = std::env::var_os("SPA_FUZZ_WRITE_SEEDS").is_some();
    for (name, a, b, is) in seeds() {
        let reading = read(&a, &b);
        assert!(is(&reading), "{name}: {reading:?}");
        let input = input(&a, &b);
        let path = folder.join(name);
        if write {
            std::fs::write(&path, &input).unwrap();
        }
        let found = std::fs::read(&path).unwrap_or_default();
        assert!(found == input, "corpus/journal/{name} is another");
    }
}
