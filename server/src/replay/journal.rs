//! `[IO]` Writing the journal: one write a record, before the packet acts.
//!
//! Preallocated, so that a full disk does not stop it; no fsync, so that it
//! survives the process only, which is what the horizon is for. When it is
//! nearly full, what is still true is written into the second file, which then
//! counts.

use std::io;

use super::disk::{Disk, FileName};
use super::encoding::{RECORD, encode};
use super::reading::{FIRST, Half, Reading};
use super::record::{Entry, JournalRecord};

/// Slots of a new file: one mebibyte. Tests compact often.
const FEWEST_SLOTS: u32 = if cfg!(test) { 32 } else { 16_384 };

/// Bytes gathered for one write of a compaction.
const CHUNK: usize = 64 * 1024;

/// Where the next record goes.
#[derive(Debug)]
pub struct Journal {
    half: Half,
    generation: u32,
    highest: u32,
    next: u32,
    /// Slots reserved in the two files.
    slots: [u32; 2],
}

impl Journal {
    /// Goes on from what was read. `lengths`: of the two files, in bytes.
    #[must_use]
    pub fn after(reading: &Reading, lengths: [usize; 2]) -> Self {
        Self {
            half: reading.half,
            generation: reading.generation,
            highest: reading.highest,
            next: reading.next,
            slots: lengths.map(|length| {
                u32::try_from(length.checked_div(RECORD).unwrap_or(0)).unwrap_or(u32::MAX)
            }),
        }
    }

    /// Writes one record, with one call and no allocation. Only where the file was
    /// not compacted in time does it take more room.
    ///
    /// # Errors
    /// It is full and so is the disk, or the disk failed; the record does not count then.
    pub fn append<D: Disk>(&mut self, disk: &mut D, record: &JournalRecord) -> io::Result<()> {
        if self.next >= self.capacity(self.half) {
            // More came at once than a compaction leaves room for.
            let more = self.capacity(self.half).saturating_add(FEWEST_SLOTS);
            self.reserve(disk, self.half, more)?;
        }
        let bytes = encode(self.generation, &Entry::Record(*record));
        disk.write(name(self.half), offset(self.next), &bytes)?;
        self.next = self.next.saturating_add(1);
        Ok(())
    }

    /// Is it time to compact?
    #[must_use]
    pub fn is_nearly_full(&self) -> bool {
        let capacity = self.capacity(self.half);
        self.next >= capacity.saturating_sub(capacity / 8)
    }

    /// Its generation and the slot after its last record: what the clean mark states.
    #[must_use]
    pub fn position(&self) -> (u32, u32) {
        (self.generation, self.next)
    }

    /// Writes on the disk that not all records are here.
    ///
    /// # Errors
    /// Not even that could be written.
    pub fn mark_incomplete<D: Disk>(&self, disk: &mut D) -> io::Result<()> {
        disk.write(
            name(self.half),
            offset(1),
            &encode(self.generation, &Entry::Incomplete),
        )?;
        disk.sync(name(self.half))
    }

    /// Writes `records`, all that is still true, into the other file; then that
    /// one counts. With `durable`, it survives the machine when this returns.
    ///
    /// # Errors
    /// The other file could not be written; this one counts as before.
    pub fn compact<D: Disk>(
        &mut self,
        disk: &mut D,
        boot_id: [u8; 16],
        records: impl IntoIterator<Item = JournalRecord>,
        durable: bool,
    ) -> io::Result<()> {
        let half = self.half.other();
        // A new number even after a failed try, whose remains must not count.
        self.highest = self.highest.saturating_add(1);
        let generation = self.highest;
        self.reserve(disk, half, FEWEST_SLOTS)?;
        let mut next = FIRST;
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut records = records.into_iter().peekable();
        while let Some(record) = records.next() {
            chunk.extend_from_slice(&encode(generation, &Entry::Record(record)));
            if chunk.len() >= CHUNK || records.peek().is_none() {
                let end =
                    next.saturating_add(u32::try_from(chunk.len() / RECORD).unwrap_or(u32::MAX));
                if self.capacity(half) < end
                    && self.reserve(disk, half, end.saturating_mul(2)).is_err()
                {
                    self.reserve(disk, half, end)?;
                }
                disk.write(name(half), offset(next), &chunk)?;
                chunk.clear();
                next = end;
            }
        }
        self.make_room(disk, half, next)?;
        self.wipe_rest(disk, half, next)?;
        if durable {
            disk.sync(name(half))?;
        }
        let header = Entry::Header {
            boot_id,
            count: next.saturating_sub(FIRST),
        };
        disk.write(name(half), 0, &encode(generation, &header))?;
        if durable {
            disk.sync(name(half))?;
        }
        // Should the new header rot, the old file must not pass for whole. If this
        // write fails, the larger generation still decides.
        let _ = disk.write(name(self.half), 0, &[0; RECORD]);
        (self.half, self.generation, self.next) = (half, generation, next);
        Ok(())
    }

    /// Everything written so far survives the machine.
    ///
    /// # Errors
    /// It may not.
    pub fn sync<D: Disk>(&self, disk: &mut D) -> io::Result<()> {
        disk.sync(name(self.half))
    }

    /// Damaged remains beyond the records would count against every later reading.
    fn wipe_rest<D: Disk>(&self, disk: &mut D, half: Half, used: u32) -> io::Result<()> {
        disk.write(name(half), offset(1), &[0; RECORD])?;
        let mut at = offset(used);
        let zeros = [0; 4096];
        while at < offset(self.capacity(half)) {
            let rest = usize::try_from(offset(self.capacity(half)).saturating_sub(at))
                .unwrap_or(usize::MAX);
            let part = zeros.get(..rest).unwrap_or(&zeros);
            disk.write(name(half), at, part)?;
            at = at.saturating_add(4096);
        }
        Ok(())
    }

    /// At least half of the file shall be free, so that compactions are rare; a
    /// full disk may have less, down to an eighth and one.
    fn make_room<D: Disk>(&mut self, disk: &mut D, half: Half, used: u32) -> io::Result<()> {
        let grown = self.reserve(disk, half, used.saturating_mul(2));
        let capacity = self.capacity(half);
        if used < capacity.saturating_sub(capacity / 8) {
            Ok(())
        } else {
            grown
        }
    }

    fn reserve<D: Disk>(&mut self, disk: &mut D, half: Half, slots: u32) -> io::Result<()> {
        if self.capacity(half) >= slots {
            return Ok(());
        }
        disk.allocate(name(half), offset(slots))?;
        match half {
            Half::A => self.slots[0] = slots,
            Half::B => self.slots[1] = slots,
        }
        Ok(())
    }

    fn capacity(&self, half: Half) -> u32 {
        match half {
            Half::A => self.slots[0],
            Half::B => self.slots[1],
        }
    }
}

const fn name(half: Half) -> FileName {
    match half {
        Half::A => FileName::JournalA,
        Half::B => FileName::JournalB,
    }
}

fn offset(slot: u32) -> u64 {
    u64::from(slot).saturating_mul(64)
}
