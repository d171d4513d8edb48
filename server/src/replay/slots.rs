//! `[IO]` The horizon on disk: two slots, written in turn, each with a check
//! value. A write cut short spoils only the slot that did not count yet.

use std::io;

use spa_proto::Timestamp;

use super::disk::{Disk, FileName};
use super::encoding::{RECORD, Slot, decode, encode};
use super::record::Entry;

/// The slots lie a page apart: no sector holds both.
const APART: u64 = 4096;

/// Length of the file in bytes.
pub const LENGTH: u64 = 2 * APART;

/// What the file says, and where the next value goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HorizonSlots {
    newest: Option<Written>,
    /// This process made sure of it. What was only read may be an earlier process's
    /// write that never reached the disk.
    synced: bool,
}

/// A valid slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    second: bool,
    sequence: u64,
    timestamp: Timestamp,
    incomplete: bool,
}

impl HorizonSlots {
    /// Reads the file's bytes; any will do.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let slots = [false, true]
            .into_iter()
            .filter_map(|second| written(bytes, second));
        Self {
            newest: slots.max_by_key(|slot| slot.sequence),
            synced: false,
        }
    }

    /// The horizon; nothing if both slots are bad.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.newest.map(|slot| slot.timestamp)
    }

    /// Is this value on the disk for sure, so that it need not be written?
    #[must_use]
    pub fn holds(&self, timestamp: Timestamp) -> bool {
        self.synced && self.timestamp() == Some(timestamp)
    }

    /// Was the journal incomplete, or an earlier horizon not written, when it was written?
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.newest.is_some_and(|slot| slot.incomplete)
    }

    /// Writes and syncs the slot that does not count; then it counts.
    ///
    /// # Errors
    /// It may hold anything; the other slot counts as before.
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
            &Entry::Horizon {
                sequence,
                timestamp,
                incomplete,
            },
        );
        disk.write(FileName::Horizon, if second { APART } else { 0 }, &bytes)?;
        disk.sync(FileName::Horizon)?;
        self.synced = true;
        self.newest = Some(Written {
            second,
            sequence,
            timestamp,
            incomplete,
        });
        Ok(())
    }
}

fn written(bytes: &[u8], second: bool) -> Option<Written> {
    let start = if second {
        usize::try_from(APART).ok()?
    } else {
        0
    };
    let slot = bytes.get(start..)?.first_chunk::<RECORD>()?;
    match decode(slot) {
        Slot::Entry {
            entry:
                Entry::Horizon {
                    sequence,
                    timestamp,
                    incomplete,
                },
            ..
        } => Some(Written {
            second,
            sequence,
            timestamp,
            incomplete,
        }),
        _ => None,
    }
}
