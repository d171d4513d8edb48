//! `[IO]` The horizon on disk: two slots, written in turn, each with a check
//! value. An interrupted write damages only the older slot. If one slot is lost, the
//! other is never below the horizon in force.

use std::io;

use spa_proto::Timestamp;

use super::disk::{Disk, FileName};
use super::encoding::{RECORD_LEN, Slot, decode, encode};
use super::record::JournalEntry;

/// Distance of the slots: one page, so that no sector contains both.
const SLOT_SPACING: u64 = 4096;

/// Length of the file in bytes.
pub const FILE_LEN: u64 = 2 * SLOT_SPACING;

/// The content of the file, and the slot to write next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HorizonSlots {
    newest: Option<ValidSlot>,
    other: Option<ValidSlot>,
    /// How many of the two slots this process synced. A slot that was only read may be an
    /// earlier process's write that never reached the disk.
    synced: u8,
}

/// The number and value of the newest slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId {
    /// The sequence number.
    pub sequence: u64,
    /// The horizon.
    pub timestamp: Timestamp,
}

/// A valid slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ValidSlot {
    second: bool,
    sequence: u64,
    timestamp: Timestamp,
    incomplete: bool,
}

impl HorizonSlots {
    /// Parses the file's bytes; accepts any.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let [first, second] = [false, true].map(|second| read_slot(bytes, second));
        let (newest, other) = match (first, second) {
            (Some(first), Some(second)) if first.sequence > second.sequence => {
                (Some(first), Some(second))
            }
            (first, Some(second)) => (Some(second), first),
            (first, None) => (first, None),
        };
        Self {
            newest,
            other,
            synced: 0,
        }
    }

    /// The horizon; `None` if both slots are bad.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.newest.map(|slot| slot.timestamp)
    }

    /// The newest slot's number and value.
    #[must_use]
    pub fn id(&self) -> Option<SlotId> {
        self.newest.map(|slot| SlotId {
            sequence: slot.sequence,
            timestamp: slot.timestamp,
        })
    }

    /// The lower of the two slots, once this process has synced both: it holds even if either
    /// slot is lost.
    #[must_use]
    pub fn durable(&self) -> Option<Timestamp> {
        let (newest, other) = self.newest.zip(self.other)?;
        (self.synced >= 2).then(|| newest.timestamp.min(other.timestamp))
    }

    /// Whether this value is durable, so that it need not be written.
    #[must_use]
    pub fn is_durable(&self, timestamp: Timestamp) -> bool {
        self.durable() == Some(timestamp) && self.timestamp() == Some(timestamp)
    }

    /// Whether a slot is marked: the journal was incomplete, or an earlier horizon not written.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        let mut slots = self.newest.into_iter().chain(self.other);
        slots.any(|slot| slot.incomplete)
    }

    /// Writes and syncs the older slot, which becomes the newest.
    ///
    /// # Errors
    /// The slot may contain anything; the other still counts.
    pub fn write<D: Disk>(
        &mut self,
        disk: &mut D,
        timestamp: Timestamp,
        incomplete: bool,
    ) -> io::Result<()> {
        let second = self.newest.is_some_and(|slot| !slot.second);
        let sequence = self
            .newest
            .map_or(0, |slot| slot.sequence.saturating_add(1));
        let bytes = encode(
            0,
            0,
            &JournalEntry::Horizon {
                sequence,
                timestamp,
                incomplete,
            },
        );
        // Written or not, the old content of that slot is lost.
        self.other = None;
        disk.write(
            FileName::Horizon,
            if second { SLOT_SPACING } else { 0 },
            &bytes,
        )?;
        disk.sync(FileName::Horizon)?;
        self.synced = self.synced.saturating_add(1);
        self.other = self.newest;
        self.newest = Some(ValidSlot {
            second,
            sequence,
            timestamp,
            incomplete,
        });
        Ok(())
    }
}

fn read_slot(bytes: &[u8], second: bool) -> Option<ValidSlot> {
    let start = if second {
        usize::try_from(SLOT_SPACING).ok()?
    } else {
        0
    };
    let slot = bytes.get(start..)?.first_chunk::<RECORD_LEN>()?;
    match decode(0, slot) {
        Slot::Entry {
            entry:
                JournalEntry::Horizon {
                    sequence,
                    timestamp,
                    incomplete,
                },
            ..
        } if (sequence % 2 == 1) == second => Some(ValidSlot {
            second,
            sequence,
            timestamp,
            incomplete,
        }),
        _ => None,
    }
}
