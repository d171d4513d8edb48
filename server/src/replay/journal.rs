//! `[IO]` Writing the journal: one write a record, before the packet acts.
//!
//! Preallocated, so that a full disk does not stop it; no fsync, so that it
//! survives the process only, which is what the horizon is for. After each record the proof
//! of the journal's end is written to the run directory, memory that survives the process too. When it is
//! nearly full, what is still true is written into the second file, which then
//! counts.

use std::io;

use super::disk::{Disk, FileName};
use super::encoding::{RECORD, encode};
use super::machine::NO_BOOT;
use super::proof::{End, Proof, add};
use super::reading::{FIRST, Half, Reading};
use super::record::{Entry, JournalRecord};
use super::slots::SlotId;

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
    /// The sum over its records.
    sum: u64,
    /// Slots reserved in the two files.
    slots: [u32; 2],
    boot_id: [u8; 16],
    /// Of the next proof.
    sequence: u32,
    /// It is known that these are all records.
    is_whole: bool,
    /// Why the last proof could not be stored.
    unproven: Option<String>,
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
            sum: reading.sum,
            boot_id: NO_BOOT,
            sequence: 0,
            is_whole: false,
            unproven: None,
            slots: lengths.map(|length| {
                u32::try_from(length.checked_div(RECORD).unwrap_or(0)).unwrap_or(u32::MAX)
            }),
        }
    }

    /// Whether what was read is the whole journal, and what the proof of this boot said last.
    pub fn proven(&mut self, is_whole: bool, boot_id: [u8; 16], last: Option<Proof>) {
        self.is_whole = is_whole;
        self.boot_id = boot_id;
        self.sequence = last.map_or(0, |last| last.sequence.wrapping_add(1));
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
        let bytes = encode(self.generation, self.next, &Entry::Record(*record));
        disk.write(name(self.half), offset(self.next), &bytes)?;
        self.next = self.next.saturating_add(1);
        self.sum = add(self.sum, &bytes);
        // Killed before this, one record stands beyond the proof, whose packet has not acted.
        self.prove(disk, End::default());
        Ok(())
    }

    /// Is it time to compact?
    #[must_use]
    pub fn is_nearly_full(&self) -> bool {
        let capacity = self.capacity(self.half);
        self.next >= capacity.saturating_sub(capacity / 8)
    }

    /// The clean mark: where this journal ends, beside which horizon.
    #[must_use]
    pub fn clean_mark(&self, horizon: SlotId) -> [u8; RECORD] {
        let End {
            generation,
            count,
            sum,
        } = self.end();
        let slots = self.capacity(self.half);
        let entry = Entry::Clean {
            count,
            sum,
            slots,
            highest: self.highest,
            horizon,
        };
        encode(generation, 0, &entry)
    }

    /// Why the next start of this boot will not find the proof of the last record.
    #[must_use]
    pub fn unproven(&self) -> Option<&str> {
        self.unproven.as_deref()
    }

    /// Stores the proof again where that failed.
    pub fn prove_again<D: Disk>(&mut self, disk: &mut D) {
        if self.unproven.is_some() {
            self.prove(disk, End::default());
        }
    }

    fn end(&self) -> End {
        End {
            generation: self.generation,
            count: self.next.saturating_sub(FIRST),
            sum: self.sum,
        }
    }

    /// `next`: the journal whose header is about to be written.
    fn prove<D: Disk>(&mut self, disk: &mut D, next: End) {
        let now = if self.is_whole {
            self.end()
        } else {
            End::default()
        };
        let proof = Proof {
            sequence: self.sequence,
            now,
            slots: self.capacity(self.half),
            next,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let (place, bytes) = proof.cell(self.boot_id);
        // Where it is not stored the next start is unclean, and `unproven` is reported.
        let stored = disk.write(FileName::Proof, offset(place), &bytes);
        self.unproven = stored.err().map(|error| error.to_string());
    }

    /// Writes on the disk that not all records are here.
    ///
    /// # Errors
    /// Not even that could be written.
    pub fn mark_incomplete<D: Disk>(&self, disk: &mut D) -> io::Result<()> {
        disk.write(
            name(self.half),
            offset(1),
            &encode(self.generation, 1, &Entry::Incomplete),
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
        let (mut next, mut place, mut sum) = (FIRST, FIRST, 0);
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut records = records.into_iter().peekable();
        while let Some(record) = records.next() {
            let bytes = encode(generation, place, &Entry::Record(record));
            sum = add(sum, &bytes);
            place = place.saturating_add(1);
            chunk.extend_from_slice(&bytes);
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
        let end = End {
            generation,
            count: next.saturating_sub(FIRST),
            sum,
        };
        let header = Entry::Header {
            boot_id,
            count: end.count,
            sum,
            slots: self.capacity(half),
        };
        self.prove(disk, end);
        let begun = disk
            .write(name(half), 0, &encode(generation, 0, &header))
            .and_then(|()| match durable {
                true => disk.sync(name(half)),
                false => Ok(()),
            });
        if let Err(error) = begun {
            // It may stand there all the same; then the proof tells that it does not count.
            self.prove(disk, End::default());
            let _ = disk.write(name(half), 0, &[0; RECORD]);
            return Err(error);
        }
        let old = self.half;
        (self.half, self.generation, self.next, self.sum) = (half, generation, next, sum);
        self.is_whole = true;
        self.prove(disk, End::default());
        // Should the new header rot, the old file must not pass for whole. If this
        // write fails, the larger generation still decides.
        let _ = disk.write(name(old), 0, &[0; RECORD]);
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
