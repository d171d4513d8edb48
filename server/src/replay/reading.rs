//! The journal's two files, read; pure.
//!
//! Takes their bytes, gives the records of the newer one and whether they are
//! all there. A damaged record is passed over: the rest still counts, but the
//! journal is incomplete.
//!
//! Slot 0 of a file holds its header, slot 1 is kept for the entry that says
//! "incomplete", the records follow in the order of their writing. A file is
//! written over many times; entries of another generation are remains.

use super::encoding::{RECORD, Slot, decode};
use super::record::{Entry, JournalRecord};

/// The first slot that holds a record.
pub const FIRST: u32 = 2;

/// One of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// journal.a
    A,
    /// journal.b
    B,
}

impl Half {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What the two files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The file that counts.
    pub half: Half,
    /// Its generation.
    pub generation: u32,
    /// The largest generation of any entry in either file: the next must be larger.
    pub highest: u32,
    /// The boot in which the file was begun.
    pub boot_id: Option<[u8; 16]>,
    /// Its records, in the order in which they were written.
    pub records: Vec<JournalRecord>,
    /// The slot after the last record.
    pub next: u32,
    /// Entries that are damaged or missing in between.
    pub damaged: u32,
    /// The journal says of itself that records were not written.
    pub marked: bool,
}

impl Reading {
    /// Are these all records that were ever written?
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.boot_id.is_some() && self.damaged == 0 && !self.marked
    }
}

/// Reads both files; a missing one is empty. Any bytes will do.
#[must_use]
pub fn read(a: &[u8], b: &[u8]) -> Reading {
    let headers = [(Half::A, a, header(a)), (Half::B, b, header(b))];
    let mut reading = Reading {
        half: Half::A,
        generation: 0,
        highest: slots(a)
            .chain(slots(b))
            .filter_map(generation)
            .max()
            .unwrap_or(0),
        boot_id: None,
        records: Vec::new(),
        next: FIRST,
        damaged: 0,
        marked: false,
    };
    let mut active = None;
    for (half, bytes, header) in headers {
        match header {
            Head::None => {}
            Head::Damaged => reading.damaged = reading.damaged.saturating_add(1),
            Head::Is {
                generation,
                boot_id,
                count,
            } if active.is_none() || generation > reading.generation => {
                reading.half = half;
                reading.generation = generation;
                reading.boot_id = Some(boot_id);
                active = Some((bytes, count));
            }
            Head::Is { .. } => {}
        }
    }
    if let Some((bytes, count)) = active {
        read_records(bytes, count, &mut reading);
    }
    reading
}

fn read_records(bytes: &[u8], count: u32, reading: &mut Reading) {
    let mut unused = 0_u32;
    for (index, slot) in (0_u32..).zip(slots(bytes)).skip(1) {
        let record = match slot {
            Slot::Empty => None,
            Slot::Entry { generation, .. } if generation != reading.generation => None,
            Slot::Entry {
                entry: Entry::Record(record),
                ..
            } if index >= FIRST => Some(Ok(record)),
            Slot::Entry {
                entry: Entry::Incomplete,
                ..
            } if index < FIRST => {
                reading.marked = true;
                continue;
            }
            Slot::Entry { .. } | Slot::Bad => Some(Err(())),
        };
        let Some(record) = record else {
            if index >= FIRST {
                unused = unused.saturating_add(1);
            }
            continue;
        };
        reading.damaged = reading.damaged.saturating_add(std::mem::take(&mut unused));
        match record {
            Ok(record) => reading.records.push(record),
            Err(()) => reading.damaged = reading.damaged.saturating_add(1),
        }
        reading.next = index.saturating_add(1).max(FIRST);
    }
    let missing = FIRST.saturating_add(count).saturating_sub(reading.next);
    reading.damaged = reading.damaged.saturating_add(missing);
}

enum Head {
    None,
    Damaged,
    Is {
        generation: u32,
        boot_id: [u8; 16],
        count: u32,
    },
}

fn header(bytes: &[u8]) -> Head {
    match slots(bytes).next() {
        None | Some(Slot::Empty) => Head::None,
        Some(Slot::Entry {
            generation,
            entry: Entry::Header { boot_id, count },
        }) => Head::Is {
            generation,
            boot_id,
            count,
        },
        Some(Slot::Entry { .. } | Slot::Bad) => Head::Damaged,
    }
}

fn generation(slot: Slot) -> Option<u32> {
    match slot {
        Slot::Entry { generation, .. } => Some(generation),
        Slot::Empty | Slot::Bad => None,
    }
}

/// The slots of a file; a piece of one at the end is ignored: none is ever
/// written beyond the file's end.
fn slots(bytes: &[u8]) -> impl Iterator<Item = Slot> {
    bytes.as_chunks::<RECORD>().0.iter().map(decode)
}
