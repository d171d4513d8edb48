//! The rule of the start: may the journal be trusted to be whole? Pure.
//!
//! docs/protocol.md §8, unclean start.

use std::time::Duration;

use spa_proto::Timestamp;

use super::encoding::{RECORD, Slot, decode};
use super::error::Because;
use super::machine::NO_BOOT;
use super::proof::{End, Proof};
use super::reading::Reading;
use super::record::Entry;
use super::slots::HorizonSlots;

/// Everything that was found.
pub(super) struct Evidence {
    pub(super) reading: Reading,
    pub(super) slots: HorizonSlots,
    /// Bytes of the clean mark.
    pub(super) clean: Vec<u8>,
    /// Bytes of the horizon in the run directory.
    pub(super) memory: Vec<u8>,
    /// What the run directory says of the journal's end in this boot.
    pub(super) proof: Option<Proof>,
    /// A file that could not be read, and why: worse than one that is missing.
    pub(super) unreadable: Option<String>,
    pub(super) boot_id: [u8; 16],
}

/// What the evidence says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ruling {
    /// Every record that mattered was read: floors stay as they are.
    pub(super) trusted: bool,
    /// The last horizon; none is known if both slots are bad.
    pub(super) horizon: Option<Timestamp>,
    /// Every floor must be at least this.
    pub(super) floor: Timestamp,
    /// The journal was begun in this boot: its boot times mean something.
    pub(super) same_boot: bool,
    /// Why it is not trusted, where a crash alone does not explain it.
    pub(super) because: Option<Because>,
}

impl Evidence {
    pub(super) fn rule(&self, now: Timestamp, skew: Duration) -> Ruling {
        let memory = self.memory();
        let same_boot = self.boot_id != NO_BOOT && self.reading.boot_id == Some(self.boot_id);
        let marked = self.reading.marked || self.slots.is_marked() || memory.says_disk_failed();
        let whole = self.reading.is_complete() && !marked && self.unreadable.is_none();
        let proven = match &self.proof {
            Some(proof) if same_boot => proof.covers(&self.reading),
            _ => self.is_clean(),
        };
        let trusted = whole && proven;
        let horizon = self.horizon(memory);
        // What was accepted while the disk failed, only the run directory knew, or memory.
        let run_lost = same_boot && self.proof.is_none() && memory == Memory::Nothing;
        let floor = match horizon {
            Some(horizon) if !trusted => {
                // A right clock admitted nothing later, should the horizon be an older one too.
                let mut ahead = now.saturating_add(skew);
                if run_lost || marked && !memory.is_of_this_boot() {
                    // The one case that is not exact.
                    ahead = ahead.saturating_add(skew);
                }
                horizon.max(ahead)
            }
            _ => Timestamp::default(),
        };
        Ruling {
            trusted,
            horizon,
            floor,
            same_boot,
            because: self.because(whole, proven),
        }
    }

    /// Why the journal is not trusted, where that is not just the missing mark of a clean stop.
    fn because(&self, whole: bool, proven: bool) -> Option<Because> {
        let reading = &self.reading;
        if let Some(unreadable) = &self.unreadable {
            // What it would say may only be missing for that.
            Some(Because::Unreadable(unreadable.clone()))
        } else if reading.of_earlier_format {
            Some(Because::OfEarlierFormat)
        } else if reading.damaged > 0 {
            Some(Because::Damaged(reading.damaged))
        } else if reading.misshapen || (whole && !proven && self.proof_or_mark_differs()) {
            Some(Because::Differs)
        } else {
            None
        }
    }

    fn proof_or_mark_differs(&self) -> bool {
        self.proof.is_some() || slot(&self.clean) != Slot::Empty
    }

    /// Was the clean mark written for this very journal and horizon?
    fn is_clean(&self) -> bool {
        let End {
            generation,
            count,
            sum,
        } = self.reading.end();
        match slot(&self.clean) {
            Slot::Entry {
                generation: marked,
                entry:
                    Entry::Clean {
                        count: records,
                        sum: over,
                        slots,
                        highest,
                        horizon,
                    },
            } => {
                (marked, records, over) == (generation, count, sum)
                    && self.reading.slots >= slots
                    && self.reading.highest <= highest
                    && self.slots.id() == Some(horizon)
            }
            _ => false,
        }
    }

    fn horizon(&self, memory: Memory) -> Option<Timestamp> {
        match (self.slots.timestamp(), memory) {
            (
                Some(disk),
                Memory::Kept {
                    timestamp,
                    this_boot,
                    disk_failed,
                },
            ) if this_boot || disk_failed => Some(disk.max(timestamp)),
            (Some(disk), _) => Some(disk),
            (
                None,
                Memory::Kept {
                    this_boot: true,
                    timestamp,
                    ..
                },
            ) => Some(timestamp),
            (None, _) => None,
        }
    }

    fn memory(&self) -> Memory {
        memory(&self.memory, self.boot_id)
    }
}

/// Does the horizon's file in the run directory say that the disk failed?
pub(super) fn says_disk_failed(bytes: &[u8]) -> bool {
    memory(bytes, NO_BOOT).says_disk_failed()
}

fn memory(bytes: &[u8], boot: [u8; 16]) -> Memory {
    match slot(bytes) {
        Slot::Empty => Memory::Nothing,
        Slot::Entry {
            entry:
                Entry::Memory {
                    boot_id,
                    timestamp,
                    disk_failed,
                },
            ..
        } => Memory::Kept {
            this_boot: boot_id == boot && boot_id != NO_BOOT,
            timestamp,
            disk_failed,
        },
        Slot::Entry { .. } | Slot::Bad => Memory::Damaged,
    }
}

/// What stands in the run directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    Nothing,
    Damaged,
    Kept {
        this_boot: bool,
        timestamp: Timestamp,
        disk_failed: bool,
    },
}

impl Memory {
    fn says_disk_failed(self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Damaged => true,
            Self::Kept { disk_failed, .. } => disk_failed,
        }
    }

    fn is_of_this_boot(self) -> bool {
        matches!(
            self,
            Self::Kept {
                this_boot: true,
                ..
            }
        )
    }
}

/// The one slot of a small file; a missing or short one was never written.
fn slot(bytes: &[u8]) -> Slot {
    bytes
        .first_chunk::<RECORD>()
        .map_or(Slot::Empty, |bytes| decode(0, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::encoding::encode;
    use crate::replay::reading::{FIRST, Half};
    use crate::replay::slots::SlotId;

    const BOOT: [u8; 16] = [1; 16];
    const SKEW: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// After a clean stop in another boot, with this horizon on the disk.
    fn evidence(horizon: Timestamp) -> Evidence {
        let entry = Entry::Horizon {
            sequence: 0,
            timestamp: horizon,
            incomplete: false,
        };
        let clean = Entry::Clean {
            count: 0,
            sum: 0,
            slots: FIRST,
            highest: 1,
            horizon: SlotId {
                sequence: 0,
                timestamp: horizon,
            },
        };
        Evidence {
            reading: Reading {
                half: Half::A,
                generation: 1,
                highest: 1,
                boot_id: Some(BOOT),
                records: Vec::new(),
                next: FIRST,
                sum: 0,
                sum_before_last: 0,
                slots: FIRST,
                damaged: 0,
                marked: false,
                misshapen: false,
                of_earlier_format: false,
            },
            slots: HorizonSlots::read(&encode(0, 0, &entry)),
            clean: encode(1, 0, &clean).to_vec(),
            memory: Vec::new(),
            proof: None,
            unreadable: None,
            boot_id: [2; 16],
        }
    }

    #[test]
    fn a_clean_stop_is_trusted_and_a_file_that_cannot_be_read_is_not() {
        let mut found = evidence(at(1000));
        let ruling = found.rule(at(900), SKEW);
        assert!(ruling.trusted && ruling.floor == Timestamp::default());
        // The one that cannot be read may be the newer one, or say that others are not whole.
        found.unreadable = Some("journal.b: error".to_owned());
        let ruling = found.rule(at(900), SKEW);
        assert!(!ruling.trusted && ruling.floor == at(1000));
        let because = ruling.because.unwrap().to_string();
        assert!(
            because.contains("cannot be read (journal.b: error)"),
            "{because}"
        );
    }

    #[test]
    fn after_a_boot_that_could_not_write_the_floor_is_above_the_horizon_and_twice_the_skew() {
        for (horizon, floor) in [(1000, 1020), (1100, 1100)] {
            let mut found = evidence(at(horizon));
            found.reading.marked = true;
            let ruling = found.rule(at(900), SKEW);
            assert!(!ruling.trusted);
            assert_eq!(ruling.floor, at(floor));
        }
    }
}
