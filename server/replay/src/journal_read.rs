//! Reads the journal's two files; pure.
//!
//! Takes their bytes and returns the records of the newer one and whether they are complete.
//! A damaged record is skipped: the rest counts, but the journal is incomplete.
//!
//! Slot 0 of a file contains its header and slot 1 is reserved for "incomplete". The records
//! follow in the order of writing, then zeros to the end of the file. Anything else in the
//! file in use is damage. The other file's records are ignored, because it is overwritten
//! from its beginning before it counts.

use super::encoding::{RECORD_LEN, Slot, decode, is_earlier_format};
use super::proof::{JournalEnd, add_check};
use super::record::{JournalEntry, JournalRecord};

/// The first slot that holds a record.
pub const FIRST_RECORD_SLOT: u32 = 2;

/// One of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalFile {
    /// journal.a
    A,
    /// journal.b
    B,
}

impl JournalFile {
    /// The other file.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The content of the two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalContents {
    /// The file that counts.
    pub file: JournalFile,
    /// Generation of that file.
    pub generation: u32,
    /// The largest generation of any entry in either file; the next must be larger.
    pub max_generation: u32,
    /// The boot in which the file was begun.
    pub boot_id: Option<[u8; 16]>,
    /// The records in the order of writing.
    pub records: Vec<JournalRecord>,
    /// The slot after the last record.
    pub next: u32,
    /// The sum over the records.
    pub sum: u64,
    /// The sum over all records but the last.
    pub sum_before_last: u64,
    /// Number of whole slots of the file.
    pub slots: u32,
    /// Number of damaged entries and gaps.
    pub damaged: u32,
    /// The journal is marked incomplete.
    pub marked_incomplete: bool,
    /// The file is shorter than stated, or contains something besides its own records.
    pub malformed: bool,
    /// An earlier version of spad wrote the file.
    pub earlier_format: bool,
}

impl JournalContents {
    /// Whether these are all records that were ever written.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.boot_id.is_some() && self.damaged == 0 && !self.marked_incomplete && !self.malformed
    }

    /// Where the journal ends, as far as it was read.
    #[must_use]
    pub fn end(&self) -> JournalEnd {
        JournalEnd {
            generation: self.generation,
            count: self.next.saturating_sub(FIRST_RECORD_SLOT),
            sum: self.sum,
        }
    }
}

/// Parses both files; a missing one is empty. Accepts any bytes.
#[must_use]
pub fn read(a: &[u8], b: &[u8]) -> JournalContents {
    let headers = [
        (JournalFile::A, a, header(a)),
        (JournalFile::B, b, header(b)),
    ];
    let mut contents = JournalContents {
        file: JournalFile::A,
        generation: 0,
        max_generation: slots(a)
            .chain(slots(b))
            .filter_map(generation)
            .max()
            .unwrap_or(0),
        boot_id: None,
        records: Vec::new(),
        next: FIRST_RECORD_SLOT,
        sum: 0,
        sum_before_last: 0,
        slots: 0,
        damaged: 0,
        marked_incomplete: false,
        malformed: false,
        earlier_format: false,
    };
    let mut active = None;
    for (file, bytes, header) in headers {
        match header {
            HeaderState::Missing => {}
            HeaderState::EarlierFormat => contents.earlier_format = true,
            HeaderState::Damaged => contents.damaged = contents.damaged.saturating_add(1),
            HeaderState::Valid {
                generation,
                boot_id,
                fields: begun,
            } if active.is_none() || generation > contents.generation => {
                contents.file = file;
                contents.generation = generation;
                contents.boot_id = Some(boot_id);
                active = Some((bytes, begun));
            }
            HeaderState::Valid { .. } => {}
        }
    }
    if let Some((bytes, begun)) = active {
        contents.slots = u32::try_from(bytes.len() / RECORD_LEN).unwrap_or(u32::MAX);
        contents.malformed = bytes.len() % RECORD_LEN != 0 || contents.slots < begun.slots;
        read_records(bytes, begun, &mut contents);
    }
    contents
}

fn read_records(bytes: &[u8], header: HeaderFields, contents: &mut JournalContents) {
    let mut unused = 0_u32;
    let mut header_matches = header.count == 0 && header.sum == contents.sum;
    for ((index, slot), bytes) in (0_u32..).zip(slots(bytes)).zip(bytes.as_chunks().0).skip(1) {
        let record = match slot {
            Slot::Empty => {
                if index >= FIRST_RECORD_SLOT {
                    unused = unused.saturating_add(1);
                }
                continue;
            }
            Slot::Entry { generation, .. } if generation != contents.generation => {
                contents.malformed = true;
                if index >= FIRST_RECORD_SLOT {
                    unused = unused.saturating_add(1);
                }
                continue;
            }
            Slot::Entry {
                entry: JournalEntry::Incomplete,
                ..
            } if index < FIRST_RECORD_SLOT => {
                contents.marked_incomplete = true;
                continue;
            }
            Slot::Entry {
                entry: JournalEntry::Record(record),
                ..
            } if index >= FIRST_RECORD_SLOT => Some(record),
            Slot::Entry { .. } | Slot::Corrupt => None,
        };
        contents.damaged = contents.damaged.saturating_add(std::mem::take(&mut unused));
        match record {
            Some(record) => {
                contents.records.push(record);
                contents.sum_before_last = contents.sum;
                contents.sum = add_check(contents.sum, bytes);
            }
            None => contents.damaged = contents.damaged.saturating_add(1),
        }
        contents.next = index.saturating_add(1).max(FIRST_RECORD_SLOT);
        let count = contents.next.saturating_sub(FIRST_RECORD_SLOT);
        header_matches |= count == header.count && contents.sum == header.sum;
    }
    let missing = FIRST_RECORD_SLOT
        .saturating_add(header.count)
        .saturating_sub(contents.next);
    contents.damaged = contents.damaged.saturating_add(missing);
    contents.malformed |= !header_matches;
}

/// The file's state when its header was written.
#[derive(Clone, Copy)]
struct HeaderFields {
    count: u32,
    sum: u64,
    slots: u32,
}

enum HeaderState {
    Missing,
    Damaged,
    EarlierFormat,
    Valid {
        generation: u32,
        boot_id: [u8; 16],
        fields: HeaderFields,
    },
}

fn header(bytes: &[u8]) -> HeaderState {
    match slots(bytes).next() {
        None | Some(Slot::Empty) => HeaderState::Missing,
        Some(Slot::Entry {
            generation,
            entry:
                JournalEntry::Header {
                    boot_id,
                    count,
                    sum,
                    slots,
                },
        }) => HeaderState::Valid {
            generation,
            boot_id,
            fields: HeaderFields { count, sum, slots },
        },
        Some(Slot::Corrupt) if bytes.first_chunk().is_some_and(is_earlier_format) => {
            HeaderState::EarlierFormat
        }
        Some(Slot::Entry { .. } | Slot::Corrupt) => HeaderState::Damaged,
    }
}

fn generation(slot: Slot) -> Option<u32> {
    match slot {
        Slot::Entry { generation, .. } => Some(generation),
        Slot::Empty | Slot::Corrupt => None,
    }
}

/// The slots of a file, without an incomplete one at its end.
fn slots(bytes: &[u8]) -> impl Iterator<Item = Slot> {
    let slots = bytes.as_chunks::<RECORD_LEN>().0;
    (0..).zip(slots).map(|(place, slot)| decode(place, slot))
}
