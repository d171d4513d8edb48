//! Tests of the records' bytes.

use std::net::IpAddr;
use std::num::NonZeroU16;

use proptest::prelude::*;
use spa_keys::KeyId;
use spa_proto::{Protocol, Service, Timestamp};
use spad_model::{BootTime, DoorId};

use super::encoding::{RECORD_LEN, Slot, decode, encode};
use super::horizon_file::SlotId;
use super::journal_read::{JournalFile, read};
use super::proof::add_check;
use super::record::{Holder, HolderKey, HolderRecord, JournalEntry, JournalRecord};

fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_micros)
}

fn id() -> impl Strategy<Value = KeyId> {
    any::<[u8; 8]>().prop_map(KeyId::from_bytes)
}

fn service() -> impl Strategy<Value = Service> {
    (prop::sample::select(Protocol::ALL.to_vec()), 1..=u16::MAX).prop_map(|(protocol, port)| {
        Service {
            protocol,
            port: NonZeroU16::new(port).unwrap(),
        }
    })
}

fn holder() -> impl Strategy<Value = HolderKey> {
    let rest = (any::<u8>(), any::<bool>());
    let all = (
        prop_oneof![
            id().prop_map(Holder::Client),
            Just(Holder::Admin),
            any::<[u8; 8]>().prop_map(|id| Holder::Door(DoorId::from_bytes(id))),
        ],
        any::<IpAddr>(),
        service(),
        any::<u16>(),
        rest,
    );
    all.prop_map(|(by, address, service, port, (prefix, once))| HolderKey {
        holder: by,
        address,
        prefix: Some(prefix).filter(|prefix| *prefix != 0),
        service,
        source_port: NonZeroU16::new(port),
        once,
    })
}

pub(super) fn record() -> impl Strategy<Value = JournalRecord> {
    prop_oneof![
        (id(), any::<[u8; 24]>(), time()).prop_map(|(id, nonce, timestamp)| JournalRecord::Nonce {
            id,
            nonce,
            timestamp
        }),
        (id(), time()).prop_map(|(id, timestamp)| JournalRecord::Floor { id, timestamp }),
        time().prop_map(|timestamp| JournalRecord::BaseFloor { timestamp }),
        (id(), service(), time()).prop_map(|(id, service, timestamp)| JournalRecord::LastClose {
            id,
            service,
            timestamp
        }),
        (holder(), any::<u64>()).prop_map(|(key, ends)| JournalRecord::Holder(HolderRecord {
            key,
            ends: BootTime::from_micros(ends)
        })),
        holder().prop_map(JournalRecord::HolderRemoved),
        holder().prop_map(JournalRecord::HookPending),
        holder().prop_map(JournalRecord::HookDone),
        (any::<u32>(), any::<u64>()).prop_map(|(count, sum)| JournalRecord::OneTime { count, sum }),
    ]
}

fn entry() -> impl Strategy<Value = JournalEntry> {
    prop_oneof![
        4 => record().prop_map(JournalEntry::Record),
        1 => (any::<[u8; 16]>(), any::<[u32; 2]>(), any::<u64>())
            .prop_map(|(boot_id, [count, slots], sum)| JournalEntry::Header { boot_id, count, sum, slots }),
        1 => Just(JournalEntry::Incomplete),
        1 => (any::<[u32; 3]>(), any::<[u64; 3]>()).prop_map(|([count, slots, highest], [sum, sequence, time])| {
            let timestamp = Timestamp::from_micros(time);
            JournalEntry::Clean { count, sum, slots, max_generation: highest, horizon: SlotId { sequence, timestamp } }
        }),
        1 => (any::<u64>(), time(), any::<bool>())
            .prop_map(|(sequence, timestamp, incomplete)| JournalEntry::Horizon { sequence, timestamp, incomplete }),
        1 => (any::<[u8; 16]>(), time(), any::<bool>())
            .prop_map(|(boot_id, timestamp, disk_failed)| JournalEntry::Memory { boot_id, timestamp, disk_failed }),
    ]
}

/// A file of generation 1 with these records.
fn file(records: &[JournalRecord]) -> Vec<u8> {
    let mut bytes = vec![0; 2 * RECORD_LEN];
    let mut sum = 0;
    for (place, record) in (2..).zip(records) {
        let record = encode(1, place, &JournalEntry::Record(*record));
        sum = add_check(sum, &record);
        bytes.extend(record);
    }
    bytes.extend([0; 3 * RECORD_LEN]);
    let header = JournalEntry::Header {
        boot_id: [9; 16],
        count: u32::try_from(records.len()).unwrap(),
        sum,
        slots: u32::try_from(bytes.len() / RECORD_LEN).unwrap(),
    };
    bytes[..RECORD_LEN].copy_from_slice(&encode(1, 0, &header));
    bytes
}

#[test]
fn a_slot_of_zeros_was_never_written() {
    assert_eq!(decode(0, &[0; RECORD_LEN]), Slot::Empty);
}

proptest! {
    #[test]
    fn every_entry_is_read_as_it_was_written_and_in_no_other_place(generation in any::<u32>(), place in any::<u32>(), entry in entry()) {
        let bytes = encode(generation, place, &entry);
        prop_assert_eq!(decode(place, &bytes), Slot::Entry { generation, entry });
        prop_assert_eq!(decode(place.wrapping_add(1), &bytes), Slot::Corrupt);
    }

    #[test]
    fn one_flipped_bit_makes_a_record_bad(generation in any::<u32>(), entry in entry(), bit in 0..RECORD_LEN * 8) {
        let mut bytes = encode(generation, 3, &entry);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(decode(3, &bytes), Slot::Corrupt);
    }

    #[test]
    fn any_bytes_are_read_without_panic(a in prop::collection::vec(any::<u8>(), 0..400), b in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&a, &b);
    }

    #[test]
    fn a_bad_record_makes_the_journal_incomplete_and_does_not_end_the_reading(
        records in prop::collection::vec(record(), 1..20),
        hit in any::<prop::sample::Index>(),
        bit in 0..RECORD_LEN * 8,
    ) {
        let mut bytes = file(&records);
        let whole = read(&[], &bytes);
        prop_assert!(whole.is_complete() && whole.file == JournalFile::B);
        prop_assert_eq!(&whole.records, &records);
        let hit = hit.index(records.len());
        bytes[(2 + hit) * RECORD_LEN + bit / 8] ^= 1 << (bit % 8);
        let damaged = read(&[], &bytes);
        prop_assert!(!damaged.is_complete());
        let mut rest = records.clone();
        rest.remove(hit);
        prop_assert_eq!(damaged.records, rest);
    }

    #[test]
    fn a_record_that_is_missing_makes_the_journal_incomplete(
        records in prop::collection::vec(record(), 1..20),
        hit in any::<prop::sample::Index>(),
    ) {
        let mut bytes = file(&records);
        let start = (2 + hit.index(records.len())) * RECORD_LEN;
        bytes[start..start + RECORD_LEN].fill(0);
        prop_assert!(!read(&bytes, &[]).is_complete());
        bytes.truncate(start);
        prop_assert!(!read(&bytes, &[]).is_complete());
    }
}

#[test]
fn a_rotten_header_does_not_let_the_older_file_pass_for_whole() {
    let old = file(&[]);
    let mut new = file(&[]);
    new[20] ^= 1;
    assert!(!read(&old, &new).is_complete());
    assert!(!read(&[], &[]).is_complete(), "nor does nothing at all");
}
