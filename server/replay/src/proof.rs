//! The proof of where the journal ends; pure.
//!
//! A disk can lose the latest writes, return old data or misplace a block, and every record
//! it returns is still intact. So the number of records and a sum over them are also stored
//! outside the journal. Within a boot that is a file of the run directory; across boots it is
//! the clean mark. docs/protocol.md §8.3.

use super::encoding::{RECORD_LEN, Slot, decode, encode};
use super::journal_read::JournalContents;
use super::lock::NO_BOOT_ID;
use super::record::JournalEntry;

/// Adds a record, by its check value, to the sum over the records before it.
#[must_use]
pub fn add_check(sum: u64, record: &[u8; RECORD_LEN]) -> u64 {
    let check = record
        .last_chunk::<4>()
        .map_or(0, |check| u32::from_be_bytes(*check));
    (sum.rotate_left(5) ^ u64::from(check))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(1)
}

/// The end of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalEnd {
    /// The journal's generation; never 0 for a real one.
    pub generation: u32,
    /// Number of records.
    pub count: u32,
    /// The sum over the records.
    pub sum: u64,
}

/// The content of the run directory's file: two cells, written in turn, so that one is
/// intact wherever the process was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The sequence number; the larger of two cells is newer.
    pub sequence: u32,
    /// The journal in use; its generation is 0 if it is not to be trusted.
    pub current: JournalEnd,
    /// Number of slots of its file, which may be longer by zeros.
    pub slots: u32,
    /// The journal that was about to replace it.
    pub next: JournalEnd,
}

impl Proof {
    /// Reads the two cells; `None` if neither is valid for this boot.
    #[must_use]
    pub fn read(bytes: &[u8], boot: [u8; 16]) -> Option<Self> {
        let cells = bytes.as_chunks::<RECORD_LEN>().0.iter().zip(0..2);
        cells
            .filter_map(|(cell, place)| parse_cell(cell, place, boot))
            .reduce(|one, other| {
                if other.is_later_than(&one) {
                    other
                } else {
                    one
                }
            })
    }

    /// The cell to write and its bytes.
    #[must_use]
    pub fn cell(&self, boot: [u8; 16]) -> (u32, [u8; RECORD_LEN]) {
        let place = self.sequence % 2;
        let entry = JournalEntry::Proof {
            boot_id: boot,
            proof: *self,
        };
        (place, encode(self.current.generation, place, &entry))
    }

    /// Whether this proof is newer than the other. Sequence numbers may wrap around.
    fn is_later_than(&self, other: &Self) -> bool {
        self.sequence.wrapping_sub(other.sequence) < u32::MAX / 2
    }

    /// Whether this is the whole journal. One more record may follow, written but not counted
    /// yet, because its packet has not acted.
    #[must_use]
    pub fn covers(&self, contents: &JournalContents) -> bool {
        let found = contents.end();
        let one_more = JournalEnd {
            count: self.current.count.saturating_add(1),
            sum: found.sum,
            ..self.current
        };
        let is_now = found == self.current
            || (found == one_more && contents.sum_before_last == self.current.sum);
        (self.current.generation != 0 && is_now && contents.slots >= self.slots)
            || (self.next.generation != 0 && found == self.next)
    }
}

fn parse_cell(cell: &[u8; RECORD_LEN], place: u32, boot: [u8; 16]) -> Option<Proof> {
    match decode(place, cell) {
        Slot::Entry {
            entry: JournalEntry::Proof { boot_id, proof },
            ..
        } if boot_id == boot && boot != NO_BOOT_ID && proof.sequence % 2 == place => Some(proof),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal_read::{FIRST_RECORD_SLOT, JournalFile};

    const COUNTED: JournalEnd = JournalEnd {
        generation: 3,
        count: 5,
        sum: 50,
    };

    /// A journal with this number of records, and the sums over all and over all but the last.
    fn contents(count: u32, sum: u64, sum_before_last: u64) -> JournalContents {
        JournalContents {
            file: JournalFile::A,
            generation: COUNTED.generation,
            max_generation: COUNTED.generation,
            boot_id: Some([1; 16]),
            records: Vec::new(),
            next: FIRST_RECORD_SLOT + count,
            sum,
            sum_before_last,
            slots: 64,
            damaged: 0,
            marked_incomplete: false,
            malformed: false,
            earlier_format: false,
        }
    }

    #[test]
    fn one_record_that_is_not_counted_yet_is_taken_behind_those_that_are_and_behind_no_others() {
        let proof = Proof {
            sequence: 7,
            current: COUNTED,
            slots: 64,
            next: JournalEnd::default(),
        };
        for (count, sum, sum_before_last, covered) in [
            (5, 50, 40, true),
            (5, 51, 40, false),
            (4, 40, 30, false),
            (6, 60, 50, true),
            // An earlier record differs.
            (6, 60, 49, false),
            // At most one, because packets act after their count is written.
            (7, 70, 60, false),
            (7, 70, 50, false),
        ] {
            let covers = proof.covers(&contents(count, sum, sum_before_last));
            assert_eq!(covers, covered, "{count} {sum} {sum_before_last}");
        }
        let short = JournalContents {
            slots: 63,
            ..contents(5, 50, 40)
        };
        assert!(!proof.covers(&short), "the file lost its end");
        let another = JournalContents {
            generation: 2,
            ..contents(5, 50, 40)
        };
        assert!(!proof.covers(&another));
    }
}
