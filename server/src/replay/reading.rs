//! The journal's two files, read; pure.
//!
//! Takes their bytes, gives the records of the newer one and whether they are
//! all there. A damaged record is passed over: the rest still counts, but the
//! journal is incomplete.
//!
//! Slot 0 of a file holds its header, slot 1 is kept for the entry that says
//! "incomplete", the records follow in the order of their writing, and zeros follow
//! them to the end of the file. Whatever else the file in use holds is damage. The
//! other file is not read: it is written over from its beginning before it counts.

use super::encoding::{RECORD, Slot, decode, is_of_earlier_format};
use super::proof::{End, add};
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
    /// The sum over the records.
    pub sum: u64,
    /// The sum over all but the last.
    pub sum_before_last: u64,
    /// Whole slots of its file.
    pub slots: u32,
    /// Entries that are damaged or missing in between.
    pub damaged: u32,
    /// The journal says of itself that records were not written.
    pub marked: bool,
    /// The file is shorter than it was made, or holds something beside its own records.
    pub misshapen: bool,
    /// An earlier version of spad wrote it.
    pub of_earlier_format: bool,
}

impl Reading {
    /// Are these all records that were ever written?
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.boot_id.is_some() && self.damaged == 0 && !self.marked && !self.misshapen
    }

    /// Where it ends, as far as it was read.
    #[must_use]
    pub fn end(&self) -> End {
        End {
            generation: self.generation,
            count: self.next.saturating_sub(FIRST),
            sum: self.sum,
        }
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
        sum: 0,
        sum_before_last: 0,
        slots: 0,
        damaged: 0,
        marked: false,
        misshapen: false,
        of_earlier_format: false,
    };
    let mut active = None;
    for (half, bytes, header) in headers {
        match header {
            Head::None => {}
            Head::OfEarlierFormat => reading.of_earlier_format = true,
            Head::Damaged => reading.damaged = reading.damaged.saturating_add(1),
            Head::Is {
                generation,
                boot_id,
                begun,
            } if active.is_none() || generation > reading.generation => {
                reading.half = half;
                reading.generation = generation;
                reading.boot_id = Some(boot_id);
                active = Some((bytes, begun));
            }
            Head::Is { .. } => {}
        }
    }
    if let Some((bytes, begun)) = active {
        reading.slots = u32::try_from(bytes.len() / RECORD).unwrap_or(u32::MAX);
        reading.misshapen = bytes.len() % RECORD != 0 || reading.slots < begun.slots;
        read_records(bytes, begun, &mut reading);
    }
    reading
}

fn read_records(bytes: &[u8], begun: Begun, reading: &mut Reading) {
    let mut unused = 0_u32;
    let mut begins_right = begun.count == 0 && begun.sum == reading.sum;
    for ((index, slot), bytes) in (0_u32..).zip(slots(bytes)).zip(bytes.as_chunks().0).skip(1) {
        let record = match slot {
            Slot::Empty => {
                if index >= FIRST {
                    unused = unused.saturating_add(1);
                }
                continue;
            }
            Slot::Entry { generation, .. } if generation != reading.generation => {
                reading.misshapen = true;
                if index >= FIRST {
                    unused = unused.saturating_add(1);
                }
                continue;
            }
            Slot::Entry {
                entry: Entry::Incomplete,
                ..
            } if index < FIRST => {
                reading.marked = true;
                continue;
            }
            Slot::Entry {
                entry: Entry::Record(record),
                ..
            } if index >= FIRST => Some(record),
            Slot::Entry { .. } | Slot::Bad => None,
        };
        reading.damaged = reading.damaged.saturating_add(std::mem::take(&mut unused));
        match record {
            Some(record) => {
                reading.records.push(record);
                reading.sum_before_last = reading.sum;
                reading.sum = add(reading.sum, bytes);
            }
            None => reading.damaged = reading.damaged.saturating_add(1),
        }
        reading.next = index.saturating_add(1).max(FIRST);
        let count = reading.next.saturating_sub(FIRST);
        begins_right |= count == begun.count && reading.sum == begun.sum;
    }
    let missing = FIRST
        .saturating_add(begun.count)
        .saturating_sub(reading.next);
    reading.damaged = reading.damaged.saturating_add(missing);
    reading.misshapen |= !begins_right;
}

/// What the file held when its header was written.
#[derive(Clone, Copy)]
struct Begun {
    count: u32,
    sum: u64,
    slots: u32,
}

enum Head {
    None,
    Damaged,
    OfEarlierFormat,
    Is {
        generation: u32,
        boot_id: [u8; 16],
        begun: Begun,
    },
}

fn header(bytes: &[u8]) -> Head {
    match slots(bytes).next() {
        None | Some(Slot::Empty) => Head::None,
        Some(Slot::Entry {
            generation,
            entry:
                Entry::Header {
                    boot_id,
                    count,
                    sum,
                    slots,
                },
        }) => Head::Is {
            generation,
            boot_id,
            begun: Begun { count, sum, slots },
        },
        Some(Slot::Bad) if bytes.first_chunk().is_some_and(is_of_earlier_format) => {
            Head::OfEarlierFormat
        }
        Some(Slot::Entry { .. } | Slot::Bad) => Head::Damaged,
    }
}

fn generation(slot: Slot) -> Option<u32> {
    match slot {
        Slot::Entry { generation, .. } => Some(generation),
        Slot::Empty | Slot::Bad => None,
    }
}

/// The slots of a file, without a piece of one at its end.
fn slots(bytes: &[u8]) -> impl Iterator<Item = Slot> {
    let slots = bytes.as_chunks::<RECORD>().0;
    (0..).zip(slots).map(|(place, slot)| decode(place, slot))
}
