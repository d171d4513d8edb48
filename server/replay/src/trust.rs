//! Decides at the start whether the journal is complete. Pure.
//!
//! docs/protocol.md §8, unclean start.

use std::time::Duration;

use spa_proto::Timestamp;

use super::encoding::{RECORD_LEN, Slot, decode};
use super::error::DistrustReason;
use super::horizon_file::HorizonSlots;
use super::journal_read::JournalContents;
use super::lock::NO_BOOT_ID;
use super::proof::{JournalEnd, Proof};
use super::record::JournalEntry;

/// Everything that the start found.
pub(super) struct Evidence {
    pub(super) contents: JournalContents,
    pub(super) slots: HorizonSlots,
    /// The clean mark's bytes.
    pub(super) clean: Vec<u8>,
    /// The bytes of the horizon in the run directory.
    pub(super) memory: Vec<u8>,
    /// The run directory's proof of the journal's end in this boot.
    pub(super) proof: Option<Proof>,
    /// An unreadable file and the error: worse than a missing one.
    pub(super) unreadable: Option<String>,
    pub(super) boot_id: [u8; 16],
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StartDecision {
    /// Whether every record that mattered was read, so that floors stay unchanged.
    pub(super) trusted: bool,
    /// The last horizon; `None` if both slots are bad.
    pub(super) horizon: Option<Timestamp>,
    /// The minimum of every floor.
    pub(super) floor: Timestamp,
    /// Whether the journal is of this boot, so that its boot times are valid.
    pub(super) same_boot: bool,
    /// Why it is not trusted, if a crash alone does not explain it.
    pub(super) reason: Option<DistrustReason>,
}

impl Evidence {
    pub(super) fn decide(&self, now: Timestamp, skew: Duration) -> StartDecision {
        let memory = self.run_horizon();
        let same_boot = self.boot_id != NO_BOOT_ID && self.contents.boot_id == Some(self.boot_id);
        let marked = self.contents.marked_incomplete
            || self.slots.is_marked()
            || memory.records_disk_failure();
        let complete = self.contents.is_complete() && !marked && self.unreadable.is_none();
        let proven = match &self.proof {
            Some(proof) if same_boot => proof.covers(&self.contents),
            _ => self.is_clean(),
        };
        let trusted = complete && proven;
        let horizon = self.horizon(memory);
        // Only the run directory, or memory, knew what was accepted while the disk failed.
        let run_lost = same_boot && self.proof.is_none() && memory == RunHorizon::Missing;
        let floor = match horizon {
            Some(horizon) if !trusted => {
                // A correct clock accepted nothing later, even if the horizon is an older one.
                let mut ahead = now.saturating_add(skew);
                if run_lost || marked && !memory.is_from_this_boot() {
                    // The only inexact case.
                    ahead = ahead.saturating_add(skew);
                }
                horizon.max(ahead)
            }
            _ => Timestamp::default(),
        };
        StartDecision {
            trusted,
            horizon,
            floor,
            same_boot,
            reason: self.distrust_reason(complete, proven),
        }
    }

    /// Why the journal is not trusted, unless only the clean mark is missing.
    fn distrust_reason(&self, complete: bool, proven: bool) -> Option<DistrustReason> {
        let contents = &self.contents;
        if let Some(unreadable) = &self.unreadable {
            // Other evidence may be missing for the same reason.
            Some(DistrustReason::Unreadable(unreadable.clone()))
        } else if contents.earlier_format {
            Some(DistrustReason::EarlierFormat)
        } else if contents.damaged > 0 {
            Some(DistrustReason::Damaged(contents.damaged))
        } else if contents.malformed || (complete && !proven && self.proof_or_mark_differs()) {
            Some(DistrustReason::Mismatch)
        } else {
            None
        }
    }

    fn proof_or_mark_differs(&self) -> bool {
        self.proof.is_some() || single_slot(&self.clean) != Slot::Empty
    }

    /// Whether the clean mark belongs to this journal and horizon.
    fn is_clean(&self) -> bool {
        let JournalEnd {
            generation,
            count,
            sum,
        } = self.contents.end();
        match single_slot(&self.clean) {
            Slot::Entry {
                generation: marked,
                entry:
                    JournalEntry::Clean {
                        count: records,
                        sum: covered_sum,
                        slots,
                        max_generation: highest,
                        horizon,
                    },
            } => {
                (marked, records, covered_sum) == (generation, count, sum)
                    && self.contents.slots >= slots
                    && self.contents.max_generation <= highest
                    && self.slots.id() == Some(horizon)
            }
            _ => false,
        }
    }

    fn horizon(&self, memory: RunHorizon) -> Option<Timestamp> {
        match (self.slots.timestamp(), memory) {
            (
                Some(disk),
                RunHorizon::Present {
                    timestamp,
                    this_boot,
                    disk_failed,
                },
            ) if this_boot || disk_failed => Some(disk.max(timestamp)),
            (Some(disk), _) => Some(disk),
            (
                None,
                RunHorizon::Present {
                    this_boot: true,
                    timestamp,
                    ..
                },
            ) => Some(timestamp),
            (None, _) => None,
        }
    }

    fn run_horizon(&self) -> RunHorizon {
        run_horizon(&self.memory, self.boot_id)
    }
}

/// Whether the horizon in the run directory says that the disk failed.
pub(super) fn records_disk_failure(bytes: &[u8]) -> bool {
    run_horizon(bytes, NO_BOOT_ID).records_disk_failure()
}

fn run_horizon(bytes: &[u8], boot: [u8; 16]) -> RunHorizon {
    match single_slot(bytes) {
        Slot::Empty => RunHorizon::Missing,
        Slot::Entry {
            entry:
                JournalEntry::Memory {
                    boot_id,
                    timestamp,
                    disk_failed,
                },
            ..
        } => RunHorizon::Present {
            this_boot: boot_id == boot && boot_id != NO_BOOT_ID,
            timestamp,
            disk_failed,
        },
        Slot::Entry { .. } | Slot::Corrupt => RunHorizon::Damaged,
    }
}

/// The horizon in the run directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RunHorizon {
    Missing,
    Damaged,
    Present {
        this_boot: bool,
        timestamp: Timestamp,
        disk_failed: bool,
    },
}

impl RunHorizon {
    fn records_disk_failure(self) -> bool {
        match self {
            Self::Missing => false,
            Self::Damaged => true,
            Self::Present { disk_failed, .. } => disk_failed,
        }
    }

    fn is_from_this_boot(self) -> bool {
        matches!(
            self,
            Self::Present {
                this_boot: true,
                ..
            }
        )
    }
}

/// The slot of a single-entry file; a missing or short one was never written.
fn single_slot(bytes: &[u8]) -> Slot {
    bytes
        .first_chunk::<RECORD_LEN>()
        .map_or(Slot::Empty, |bytes| decode(0, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::encode;
    use crate::horizon_file::SlotId;
    use crate::journal_read::{FIRST_RECORD_SLOT, JournalFile};

    const BOOT: [u8; 16] = [1; 16];
    const SKEW: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// The evidence after a clean stop in another boot, with this horizon on the disk.
    fn evidence(horizon: Timestamp) -> Evidence {
        let entry = JournalEntry::Horizon {
            sequence: 0,
            timestamp: horizon,
            incomplete: false,
        };
        let clean = JournalEntry::Clean {
            count: 0,
            sum: 0,
            slots: FIRST_RECORD_SLOT,
            max_generation: 1,
            horizon: SlotId {
                sequence: 0,
                timestamp: horizon,
            },
        };
        Evidence {
            contents: JournalContents {
                file: JournalFile::A,
                generation: 1,
                max_generation: 1,
                boot_id: Some(BOOT),
                records: Vec::new(),
                next: FIRST_RECORD_SLOT,
                sum: 0,
                sum_before_last: 0,
                slots: FIRST_RECORD_SLOT,
                damaged: 0,
                marked_incomplete: false,
                malformed: false,
                earlier_format: false,
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
        let decision = found.decide(at(900), SKEW);
        assert!(decision.trusted && decision.floor == Timestamp::default());
        // The unreadable file may be the newer one, or mark the journal incomplete.
        found.unreadable = Some("journal.b: error".to_owned());
        let ruling = found.decide(at(900), SKEW);
        assert!(!ruling.trusted && ruling.floor == at(1000));
        let reason = ruling.reason.unwrap().to_string();
        assert!(
            reason.contains("cannot be read (journal.b: error)"),
            "{reason}"
        );
    }

    #[test]
    fn after_a_boot_that_could_not_write_the_floor_is_above_the_horizon_and_twice_the_skew() {
        for (horizon, floor) in [(1000, 1020), (1100, 1100)] {
            let mut found = evidence(at(horizon));
            found.contents.marked_incomplete = true;
            let decision = found.decide(at(900), SKEW);
            assert!(!decision.trusted);
            assert_eq!(decision.floor, at(floor));
        }
    }
}
