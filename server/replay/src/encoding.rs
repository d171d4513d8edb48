//! One entry of the journal as 64 bytes with a check value; pure.
//!
//! Converts entries to bytes and back; never touches a file.
//!
//! ```text
//! byte 0        kind
//! bytes 1-3     zero
//! bytes 4-7     generation of the journal, big-endian
//! bytes 8-59    fields, big-endian; what the kind does not use is zero
//! bytes 60-63   CRC-32 of bytes 0-59 and, of every slot but the first of its file, of
//!               the slot's number, big-endian
//! ```
//! 64 zero bytes are a slot that was never written. An entry in the wrong slot counts as
//! damaged.
//!
//! The missing kinds belonged to earlier formats and count as damaged: a journal with one
//! causes an unclean start, and none is misread.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use spa_keys::KeyId;
use spa_proto::{Protocol, Service, Timestamp};
use spad_model::{BootTime, DoorId};

use super::horizon_file::SlotId;
use super::proof::{JournalEnd, Proof};
use super::record::{Holder, HolderKey, HolderRecord, JournalEntry, JournalRecord};

/// Length of every entry, in bytes.
pub const RECORD_LEN: usize = 64;

/// Offset of the check value.
const CHECK_OFFSET: usize = 60;

/// Flags of a holder: a grant for one connection, the administrator, a door.
const ONCE: u8 = 1;
const ADMIN: u8 = 2;
const DOOR: u8 = 4;

/// Offset of the fields.
const FIELDS_OFFSET: usize = 8;

/// The content of one slot of a journal's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Never written.
    Empty,
    /// Damaged.
    Corrupt,
    /// An entry of the journal with this generation.
    Entry {
        /// The generation of the file that it belongs to.
        generation: u32,
        /// The entry's content.
        entry: JournalEntry,
    },
}

/// Encodes one entry for the slot of this number.
#[must_use]
pub fn encode(generation: u32, slot: u32, entry: &JournalEntry) -> [u8; RECORD_LEN] {
    let mut encoder = RecordEncoder::new(kind(entry), generation);
    match entry {
        JournalEntry::Header {
            boot_id,
            count,
            sum,
            slots,
        } => {
            encoder.put(boot_id);
            encoder.put(&count.to_be_bytes());
            encoder.put(&sum.to_be_bytes());
            encoder.put(&slots.to_be_bytes());
        }
        JournalEntry::Incomplete => {}
        JournalEntry::Clean {
            count,
            sum,
            slots,
            max_generation: highest,
            horizon,
        } => {
            encoder.put(&count.to_be_bytes());
            encoder.put(&sum.to_be_bytes());
            encoder.put(&slots.to_be_bytes());
            encoder.put(&highest.to_be_bytes());
            encoder.put(&horizon.sequence.to_be_bytes());
            encoder.time(horizon.timestamp);
        }
        JournalEntry::Proof { boot_id, proof } => {
            encoder.put(boot_id);
            encoder.put(&proof.sequence.to_be_bytes());
            encoder.put(&proof.current.count.to_be_bytes());
            encoder.put(&proof.current.sum.to_be_bytes());
            encoder.put(&proof.slots.to_be_bytes());
            encoder.put(&proof.next.generation.to_be_bytes());
            encoder.put(&proof.next.count.to_be_bytes());
            encoder.put(&proof.next.sum.to_be_bytes());
        }
        JournalEntry::Horizon {
            sequence,
            timestamp,
            incomplete,
        } => {
            encoder.put(&sequence.to_be_bytes());
            encoder.time(*timestamp);
            encoder.put(&[u8::from(*incomplete)]);
        }
        JournalEntry::Memory {
            boot_id,
            timestamp,
            disk_failed,
        } => {
            encoder.put(boot_id);
            encoder.time(*timestamp);
            encoder.put(&[u8::from(*disk_failed)]);
        }
        JournalEntry::Record(record) => put_record(&mut encoder, record),
    }
    encoder.finish(slot)
}

fn kind(entry: &JournalEntry) -> u8 {
    match entry {
        JournalEntry::Incomplete => 2,
        JournalEntry::Horizon { .. } => 4,
        JournalEntry::Header { .. } => 6,
        JournalEntry::Clean { .. } => 7,
        JournalEntry::Proof { .. } => 8,
        JournalEntry::Memory { .. } => 9,
        JournalEntry::Record(JournalRecord::Nonce { .. }) => 16,
        JournalEntry::Record(JournalRecord::Floor { .. }) => 17,
        JournalEntry::Record(JournalRecord::BaseFloor { .. }) => 18,
        JournalEntry::Record(JournalRecord::LastClose { .. }) => 19,
        JournalEntry::Record(JournalRecord::Holder(_)) => 22,
        JournalEntry::Record(JournalRecord::HolderRemoved(_)) => 23,
        JournalEntry::Record(JournalRecord::HookPending(_)) => 24,
        JournalEntry::Record(JournalRecord::HookDone(_)) => 25,
        JournalEntry::Record(JournalRecord::OneTime { .. }) => 26,
    }
}

fn put_record(encoder: &mut RecordEncoder, record: &JournalRecord) {
    match record {
        JournalRecord::Nonce {
            id,
            nonce,
            timestamp,
        } => {
            encoder.put(&id.to_bytes());
            encoder.put(nonce);
            encoder.time(*timestamp);
        }
        JournalRecord::Floor { id, timestamp } => {
            encoder.put(&id.to_bytes());
            encoder.time(*timestamp);
        }
        JournalRecord::BaseFloor { timestamp } => encoder.time(*timestamp),
        JournalRecord::LastClose {
            id,
            service,
            timestamp,
        } => {
            encoder.put(&id.to_bytes());
            encoder.service(*service);
            encoder.time(*timestamp);
        }
        JournalRecord::Holder(holder) => {
            encoder.holder(&holder.key);
            encoder.put(&holder.ends.as_micros().to_be_bytes());
        }
        JournalRecord::HolderRemoved(key)
        | JournalRecord::HookPending(key)
        | JournalRecord::HookDone(key) => encoder.holder(key),
        JournalRecord::OneTime { count, sum } => {
            encoder.put(&count.to_be_bytes());
            encoder.put(&sum.to_be_bytes());
        }
    }
}

/// Decodes 64 bytes of a file. Every entry has exactly one encoding: bytes that [`encode`]
/// would not produce are [`Slot::Corrupt`].
#[must_use]
pub fn decode(slot: u32, bytes: &[u8; RECORD_LEN]) -> Slot {
    if *bytes == [0; RECORD_LEN] {
        return Slot::Empty;
    }
    let Some((generation, entry)) = parse(bytes) else {
        return Slot::Corrupt;
    };
    if encode(generation, slot, &entry) == *bytes {
        Slot::Entry { generation, entry }
    } else {
        Slot::Corrupt
    }
}

/// Whether this is the first slot of a journal in an earlier format.
#[must_use]
pub fn is_earlier_format(bytes: &[u8; RECORD_LEN]) -> bool {
    let (fields, check) = bytes.split_at(CHECK_OFFSET);
    bytes.first() == Some(&1) && *check == crc32fast::hash(fields).to_be_bytes()
}

fn parse(bytes: &[u8; RECORD_LEN]) -> Option<(u32, JournalEntry)> {
    let mut decoder = RecordDecoder(bytes);
    let [kind, _, _, _] = decoder.take()?;
    let generation = u32::from_be_bytes(decoder.take()?);
    let entry = match kind {
        2 => JournalEntry::Incomplete,
        4 => JournalEntry::Horizon {
            sequence: u64::from_be_bytes(decoder.take()?),
            timestamp: decoder.time()?,
            incomplete: decoder.take::<1>()? != [0],
        },
        6 => JournalEntry::Header {
            boot_id: decoder.take()?,
            count: decoder.number()?,
            sum: decoder.sum()?,
            slots: decoder.number()?,
        },
        7 => JournalEntry::Clean {
            count: decoder.number()?,
            sum: decoder.sum()?,
            slots: decoder.number()?,
            max_generation: decoder.number()?,
            horizon: SlotId {
                sequence: u64::from_be_bytes(decoder.take()?),
                timestamp: decoder.time()?,
            },
        },
        8 => JournalEntry::Proof {
            boot_id: decoder.take()?,
            proof: Proof {
                sequence: decoder.number()?,
                current: JournalEnd {
                    generation,
                    count: decoder.number()?,
                    sum: decoder.sum()?,
                },
                slots: decoder.number()?,
                next: JournalEnd {
                    generation: decoder.number()?,
                    count: decoder.number()?,
                    sum: decoder.sum()?,
                },
            },
        },
        9 => JournalEntry::Memory {
            boot_id: decoder.take()?,
            timestamp: decoder.time()?,
            disk_failed: decoder.take::<1>()? != [0],
        },
        16 => JournalEntry::Record(JournalRecord::Nonce {
            id: decoder.id()?,
            nonce: decoder.take()?,
            timestamp: decoder.time()?,
        }),
        17 => JournalEntry::Record(JournalRecord::Floor {
            id: decoder.id()?,
            timestamp: decoder.time()?,
        }),
        18 => JournalEntry::Record(JournalRecord::BaseFloor {
            timestamp: decoder.time()?,
        }),
        19 => JournalEntry::Record(JournalRecord::LastClose {
            id: decoder.id()?,
            service: decoder.service()?,
            timestamp: decoder.time()?,
        }),
        22 => JournalEntry::Record(JournalRecord::Holder(HolderRecord {
            key: decoder.holder()?,
            ends: BootTime::from_micros(u64::from_be_bytes(decoder.take()?)),
        })),
        23 => JournalEntry::Record(JournalRecord::HolderRemoved(decoder.holder()?)),
        24 => JournalEntry::Record(JournalRecord::HookPending(decoder.holder()?)),
        25 => JournalEntry::Record(JournalRecord::HookDone(decoder.holder()?)),
        26 => JournalEntry::Record(JournalRecord::OneTime {
            count: decoder.number()?,
            sum: decoder.sum()?,
        }),
        _ => return None,
    };
    Some((generation, entry))
}

/// Writes fields from the left; every entry is shorter than a record's fields.
struct RecordEncoder {
    bytes: [u8; RECORD_LEN],
    position: usize,
}

impl RecordEncoder {
    fn new(kind: u8, generation: u32) -> Self {
        let mut encoder = Self {
            bytes: [0; RECORD_LEN],
            position: 0,
        };
        encoder.put(&[kind, 0, 0, 0]);
        encoder.put(&generation.to_be_bytes());
        encoder
    }

    fn put(&mut self, field: &[u8]) {
        let end = self.position.saturating_add(field.len());
        if let Some(room) = self.bytes.get_mut(self.position..end) {
            room.copy_from_slice(field);
        }
        self.position = end;
    }

    fn time(&mut self, timestamp: Timestamp) {
        self.put(&timestamp.as_micros().to_be_bytes());
    }

    fn service(&mut self, service: Service) {
        self.put(&[service.protocol.number()]);
        self.put(&service.port.get().to_be_bytes());
    }

    fn holder(&mut self, key: &HolderKey) {
        let (id, by) = match key.holder {
            Holder::Client(id) => (id.to_bytes(), 0),
            Holder::Admin => ([0; 8], ADMIN),
            Holder::Door(id) => (id.to_bytes(), DOOR),
        };
        self.put(&id);
        match key.address {
            IpAddr::V4(address) => {
                self.put(&[4]);
                self.put(&address.octets());
                self.put(&[0; 12]);
            }
            IpAddr::V6(address) => {
                self.put(&[6]);
                self.put(&address.octets());
            }
        }
        self.service(key.service);
        self.put(&key.source_port.map_or(0, NonZeroU16::get).to_be_bytes());
        let once = if key.once { ONCE } else { 0 };
        self.put(&[key.prefix.unwrap_or(0), by | once]);
    }

    fn finish(mut self, slot: u32) -> [u8; RECORD_LEN] {
        if let Some((fields, check)) = self.bytes.split_at_mut_checked(CHECK_OFFSET) {
            let mut crc = crc32fast::Hasher::new();
            crc.update(fields);
            if slot != 0 {
                crc.update(&slot.to_be_bytes());
            }
            check.copy_from_slice(&crc.finalize().to_be_bytes());
        }
        self.bytes
    }
}

struct RecordDecoder<'a>(&'a [u8]);

impl RecordDecoder<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn sum(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.take()
            .map(u64::from_be_bytes)
            .map(Timestamp::from_micros)
    }

    fn id(&mut self) -> Option<KeyId> {
        self.take().map(KeyId::from_bytes)
    }

    fn service(&mut self) -> Option<Service> {
        let [protocol] = self.take()?;
        let port = NonZeroU16::new(u16::from_be_bytes(self.take()?))?;
        Some(Service {
            protocol: Protocol::from_number(protocol)?,
            port,
        })
    }

    fn holder(&mut self) -> Option<HolderKey> {
        let id: [u8; 8] = self.take()?;
        let [family] = self.take()?;
        let octets: [u8; 16] = self.take()?;
        let address = match family {
            4 => {
                let [a, b, c, d, ..] = octets;
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            6 => IpAddr::V6(Ipv6Addr::from(octets)),
            _ => return None,
        };
        let service = self.service()?;
        let source_port = NonZeroU16::new(u16::from_be_bytes(self.take()?));
        let [prefix, flags] = self.take()?;
        Some(HolderKey {
            holder: match flags & (ADMIN | DOOR) {
                0 => Holder::Client(KeyId::from_bytes(id)),
                ADMIN => Holder::Admin,
                // `encode` never produces both flags together.
                _ => Holder::Door(DoorId::from_bytes(id)),
            },
            address,
            prefix: Some(prefix).filter(|prefix| *prefix != 0),
            service,
            source_port,
            once: flags & ONCE != 0,
        })
    }
}

// Every field fits: the longest entry is a Proof, 52 bytes.
const _: () = assert!(CHECK_OFFSET - FIELDS_OFFSET >= 52 && RECORD_LEN - CHECK_OFFSET == 4);
