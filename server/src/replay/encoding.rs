//! One entry of the journal as 64 bytes with a check value; pure.
//!
//! Takes entries or bytes, gives bytes or entries; never touches a file.
//!
//! ```text
//! byte 0        kind
//! bytes 1-3     zero
//! bytes 4-7     generation of the journal, big-endian
//! bytes 8-59    fields, big-endian; what the kind does not use is zero
//! bytes 60-63   CRC-32 of bytes 0-59 and, of every slot but the first of its file, of
//!               the slot's number, big-endian
//! ```
//! 64 zero bytes are a slot that was never written. An entry in another slot than its own
//! is damaged.
//!
//! Kinds that are left out were those of earlier formats, and are read as damaged: a journal
//! with one leads to an unclean start, and none is misread.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use spa_keys::KeyId;
use spa_proto::{Protocol, Service, Timestamp};

use super::proof::{End, Proof};
use super::record::{Entry, HeldBy, Holder, HolderKey, JournalRecord};
use super::slots::SlotId;
use crate::clock::BootTime;
use crate::config::DoorId;

/// Length of every entry, in bytes.
pub const RECORD: usize = 64;

/// Where the check value starts.
const CHECK: usize = 60;

/// Flags of a holder: its grant is for one connection; it is the administrator; it is a door.
const ONCE: u8 = 1;
const BY_HAND: u8 = 2;
const DOOR: u8 = 4;

/// Where the fields start.
const FIELDS: usize = 8;

/// What stands in one slot of a journal's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Never written.
    Empty,
    /// Written, and damaged.
    Bad,
    /// An entry of the journal's life number `generation`.
    Entry {
        /// Which writing of the file it belongs to.
        generation: u32,
        /// What it says.
        entry: Entry,
    },
}

/// The 64 bytes of one entry in the slot of this number.
#[must_use]
pub fn encode(generation: u32, place: u32, entry: &Entry) -> [u8; RECORD] {
    let mut writer = Writer::new(kind(entry), generation);
    match entry {
        Entry::Header {
            boot_id,
            count,
            sum,
            slots,
        } => {
            writer.put(boot_id);
            writer.put(&count.to_be_bytes());
            writer.put(&sum.to_be_bytes());
            writer.put(&slots.to_be_bytes());
        }
        Entry::Incomplete => {}
        Entry::Clean {
            count,
            sum,
            slots,
            highest,
            horizon,
        } => {
            writer.put(&count.to_be_bytes());
            writer.put(&sum.to_be_bytes());
            writer.put(&slots.to_be_bytes());
            writer.put(&highest.to_be_bytes());
            writer.put(&horizon.sequence.to_be_bytes());
            writer.time(horizon.timestamp);
        }
        Entry::Proof { boot_id, proof } => {
            writer.put(boot_id);
            writer.put(&proof.sequence.to_be_bytes());
            writer.put(&proof.now.count.to_be_bytes());
            writer.put(&proof.now.sum.to_be_bytes());
            writer.put(&proof.slots.to_be_bytes());
            writer.put(&proof.next.generation.to_be_bytes());
            writer.put(&proof.next.count.to_be_bytes());
            writer.put(&proof.next.sum.to_be_bytes());
        }
        Entry::Horizon {
            sequence,
            timestamp,
            incomplete,
        } => {
            writer.put(&sequence.to_be_bytes());
            writer.time(*timestamp);
            writer.put(&[u8::from(*incomplete)]);
        }
        Entry::Memory {
            boot_id,
            timestamp,
            disk_failed,
        } => {
            writer.put(boot_id);
            writer.time(*timestamp);
            writer.put(&[u8::from(*disk_failed)]);
        }
        Entry::Record(record) => put_record(&mut writer, record),
    }
    writer.finish(place)
}

fn kind(entry: &Entry) -> u8 {
    match entry {
        Entry::Incomplete => 2,
        Entry::Horizon { .. } => 4,
        Entry::Header { .. } => 6,
        Entry::Clean { .. } => 7,
        Entry::Proof { .. } => 8,
        Entry::Memory { .. } => 9,
        Entry::Record(JournalRecord::Nonce { .. }) => 16,
        Entry::Record(JournalRecord::Floor { .. }) => 17,
        Entry::Record(JournalRecord::BaseFloor { .. }) => 18,
        Entry::Record(JournalRecord::LastClose { .. }) => 19,
        Entry::Record(JournalRecord::Holder(_)) => 22,
        Entry::Record(JournalRecord::HolderGone(_)) => 23,
        Entry::Record(JournalRecord::HookOwed(_)) => 24,
        Entry::Record(JournalRecord::HookDone(_)) => 25,
        Entry::Record(JournalRecord::OneTime { .. }) => 26,
    }
}

fn put_record(writer: &mut Writer, record: &JournalRecord) {
    match record {
        JournalRecord::Nonce {
            id,
            nonce,
            timestamp,
        } => {
            writer.put(&id.to_bytes());
            writer.put(nonce);
            writer.time(*timestamp);
        }
        JournalRecord::Floor { id, timestamp } => {
            writer.put(&id.to_bytes());
            writer.time(*timestamp);
        }
        JournalRecord::BaseFloor { timestamp } => writer.time(*timestamp),
        JournalRecord::LastClose {
            id,
            service,
            timestamp,
        } => {
            writer.put(&id.to_bytes());
            writer.service(*service);
            writer.time(*timestamp);
        }
        JournalRecord::Holder(holder) => {
            writer.holder(&holder.key);
            writer.put(&holder.ends.as_micros().to_be_bytes());
        }
        JournalRecord::HolderGone(key)
        | JournalRecord::HookOwed(key)
        | JournalRecord::HookDone(key) => writer.holder(key),
        JournalRecord::OneTime { count, sum } => {
            writer.put(&count.to_be_bytes());
            writer.put(&sum.to_be_bytes());
        }
    }
}

/// What 64 bytes of a file say. Every entry has exactly one encoding: bytes
/// that would not come out of [`encode`] again are [`Slot::Bad`].
#[must_use]
pub fn decode(place: u32, bytes: &[u8; RECORD]) -> Slot {
    if *bytes == [0; RECORD] {
        return Slot::Empty;
    }
    let Some((generation, entry)) = parse(bytes) else {
        return Slot::Bad;
    };
    if encode(generation, place, &entry) == *bytes {
        Slot::Entry { generation, entry }
    } else {
        Slot::Bad
    }
}

/// Is this the first slot of a journal as earlier formats had it?
#[must_use]
pub fn is_of_earlier_format(bytes: &[u8; RECORD]) -> bool {
    let (fields, check) = bytes.split_at(CHECK);
    bytes.first() == Some(&1) && *check == crc32fast::hash(fields).to_be_bytes()
}

fn parse(bytes: &[u8; RECORD]) -> Option<(u32, Entry)> {
    let mut reader = Reader(bytes);
    let [kind, _, _, _] = reader.take()?;
    let generation = u32::from_be_bytes(reader.take()?);
    let entry = match kind {
        2 => Entry::Incomplete,
        4 => Entry::Horizon {
            sequence: u64::from_be_bytes(reader.take()?),
            timestamp: reader.time()?,
            incomplete: reader.take::<1>()? != [0],
        },
        6 => Entry::Header {
            boot_id: reader.take()?,
            count: reader.number()?,
            sum: reader.sum()?,
            slots: reader.number()?,
        },
        7 => Entry::Clean {
            count: reader.number()?,
            sum: reader.sum()?,
            slots: reader.number()?,
            highest: reader.number()?,
            horizon: SlotId {
                sequence: u64::from_be_bytes(reader.take()?),
                timestamp: reader.time()?,
            },
        },
        8 => Entry::Proof {
            boot_id: reader.take()?,
            proof: Proof {
                sequence: reader.number()?,
                now: End {
                    generation,
                    count: reader.number()?,
                    sum: reader.sum()?,
                },
                slots: reader.number()?,
                next: End {
                    generation: reader.number()?,
                    count: reader.number()?,
                    sum: reader.sum()?,
                },
            },
        },
        9 => Entry::Memory {
            boot_id: reader.take()?,
            timestamp: reader.time()?,
            disk_failed: reader.take::<1>()? != [0],
        },
        16 => Entry::Record(JournalRecord::Nonce {
            id: reader.id()?,
            nonce: reader.take()?,
            timestamp: reader.time()?,
        }),
        17 => Entry::Record(JournalRecord::Floor {
            id: reader.id()?,
            timestamp: reader.time()?,
        }),
        18 => Entry::Record(JournalRecord::BaseFloor {
            timestamp: reader.time()?,
        }),
        19 => Entry::Record(JournalRecord::LastClose {
            id: reader.id()?,
            service: reader.service()?,
            timestamp: reader.time()?,
        }),
        22 => Entry::Record(JournalRecord::Holder(Holder {
            key: reader.holder()?,
            ends: BootTime::from_micros(u64::from_be_bytes(reader.take()?)),
        })),
        23 => Entry::Record(JournalRecord::HolderGone(reader.holder()?)),
        24 => Entry::Record(JournalRecord::HookOwed(reader.holder()?)),
        25 => Entry::Record(JournalRecord::HookDone(reader.holder()?)),
        26 => Entry::Record(JournalRecord::OneTime {
            count: reader.number()?,
            sum: reader.sum()?,
        }),
        _ => return None,
    };
    Some((generation, entry))
}

/// Fills a record from the left; every entry is shorter than a record's fields.
struct Writer {
    bytes: [u8; RECORD],
    at: usize,
}

impl Writer {
    fn new(kind: u8, generation: u32) -> Self {
        let mut writer = Self {
            bytes: [0; RECORD],
            at: 0,
        };
        writer.put(&[kind, 0, 0, 0]);
        writer.put(&generation.to_be_bytes());
        writer
    }

    fn put(&mut self, field: &[u8]) {
        let end = self.at.saturating_add(field.len());
        if let Some(room) = self.bytes.get_mut(self.at..end) {
            room.copy_from_slice(field);
        }
        self.at = end;
    }

    fn time(&mut self, timestamp: Timestamp) {
        self.put(&timestamp.as_micros().to_be_bytes());
    }

    fn service(&mut self, service: Service) {
        self.put(&[service.protocol.number()]);
        self.put(&service.port.get().to_be_bytes());
    }

    fn holder(&mut self, key: &HolderKey) {
        let (id, by) = match key.by {
            HeldBy::Client(id) => (id.to_bytes(), 0),
            HeldBy::Administrator => ([0; 8], BY_HAND),
            HeldBy::Door(id) => (id.to_bytes(), DOOR),
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

    fn finish(mut self, place: u32) -> [u8; RECORD] {
        if let Some((fields, check)) = self.bytes.split_at_mut_checked(CHECK) {
            let mut crc = crc32fast::Hasher::new();
            crc.update(fields);
            if place != 0 {
                crc.update(&place.to_be_bytes());
            }
            check.copy_from_slice(&crc.finalize().to_be_bytes());
        }
        self.bytes
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
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
            by: match flags & (BY_HAND | DOOR) {
                0 => HeldBy::Client(KeyId::from_bytes(id)),
                BY_HAND => HeldBy::Administrator,
                // Both together do not come out of `encode` again.
                _ => HeldBy::Door(DoorId::from_bytes(id)),
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
const _: () = assert!(CHECK - FIELDS >= 52 && RECORD - CHECK == 4);
