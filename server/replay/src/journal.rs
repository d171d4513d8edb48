//! `[IO]` Writing the journal: one write a record, before the packet acts.
//!
//! The files are preallocated, so a full disk does not stop writes. There is no fsync, so
//! records survive the process only; the horizon covers the rest. After each record the
//! proof of the journal's end is written to the run directory, which also survives the
//! process. A nearly full journal is compacted into the second file, which then counts.

use std::io;

use super::disk::{Disk, FileName};
use super::encoding::{RECORD_LEN, encode};
use super::horizon_file::SlotId;
use super::journal_read::{FIRST_RECORD_SLOT, JournalContents, JournalFile};
use super::lock::NO_BOOT_ID;
use super::proof::{JournalEnd, Proof, add_check};
use super::record::{JournalEntry, JournalRecord};

/// Minimum slots of a new file: one mebibyte. Tests compact often.
const MIN_SLOTS: u32 = if cfg!(test) { 32 } else { 16_384 };

/// Bytes buffered for one write of a compaction.
const CHUNK: usize = 64 * 1024;

/// The journal's files and the position of the next record.
#[derive(Debug)]
pub struct Journal {
    file: JournalFile,
    generation: u32,
    max_generation: u32,
    next: u32,
    /// The sum over the journal's records.
    sum: u64,
    /// Slots reserved in each of the two files.
    slots: [u32; 2],
    boot_id: [u8; 16],
    /// Sequence number of the next proof.
    sequence: u32,
    /// Whether these are known to be all records.
    is_complete: bool,
    /// The error of the last proof, if it could not be stored.
    proof_error: Option<String>,
}

impl Journal {
    /// Continues the journal that was read. `lengths` are those of the two files, in bytes.
    #[must_use]
    pub fn resume(contents: &JournalContents, lengths: [usize; 2]) -> Self {
        Self {
            file: contents.file,
            generation: contents.generation,
            max_generation: contents.max_generation,
            next: contents.next,
            sum: contents.sum,
            boot_id: NO_BOOT_ID,
            sequence: 0,
            is_complete: false,
            proof_error: None,
            slots: lengths.map(|length| {
                u32::try_from(length.checked_div(RECORD_LEN).unwrap_or(0)).unwrap_or(u32::MAX)
            }),
        }
    }

    /// Sets whether the whole journal was read, and the last proof of this boot.
    pub fn set_proof(&mut self, is_complete: bool, boot_id: [u8; 16], last: Option<Proof>) {
        self.is_complete = is_complete;
        self.boot_id = boot_id;
        self.sequence = last.map_or(0, |last| last.sequence.wrapping_add(1));
    }

    /// Writes one record, with one call and without allocating. Extends the file only if it was
    /// not compacted in time.
    ///
    /// # Errors
    /// The file and the disk are full, or the disk failed; then the record does not count.
    pub fn append<D: Disk>(&mut self, disk: &mut D, record: &JournalRecord) -> io::Result<()> {
        if self.next >= self.capacity(self.file) {
            // More records arrived at once than a compaction leaves space for.
            let more = self.capacity(self.file).saturating_add(MIN_SLOTS);
            self.reserve(disk, self.file, more)?;
        }
        let bytes = encode(self.generation, self.next, &JournalEntry::Record(*record));
        disk.write(file_name(self.file), slot_offset(self.next), &bytes)?;
        self.next = self.next.saturating_add(1);
        self.sum = add_check(self.sum, &bytes);
        // A kill before this leaves one record beyond the proof, whose packet has not acted.
        self.store_proof(disk, JournalEnd::default());
        Ok(())
    }

    /// Whether the journal is full enough to compact.
    #[must_use]
    pub fn is_nearly_full(&self) -> bool {
        let capacity = self.capacity(self.file);
        self.next >= capacity.saturating_sub(capacity / 8)
    }

    /// The clean mark: the end of this journal, with this horizon.
    #[must_use]
    pub fn clean_mark(&self, horizon: SlotId) -> [u8; RECORD_LEN] {
        let JournalEnd {
            generation,
            count,
            sum,
        } = self.end();
        let slots = self.capacity(self.file);
        let entry = JournalEntry::Clean {
            count,
            sum,
            slots,
            max_generation: self.max_generation,
            horizon,
        };
        encode(generation, 0, &entry)
    }

    /// Why the next start of this boot will not find the proof of the last record.
    #[must_use]
    pub fn proof_error(&self) -> Option<&str> {
        self.proof_error.as_deref()
    }

    /// Stores the proof again if that failed before.
    pub fn retry_proof<D: Disk>(&mut self, disk: &mut D) {
        if self.proof_error.is_some() {
            self.store_proof(disk, JournalEnd::default());
        }
    }

    fn end(&self) -> JournalEnd {
        JournalEnd {
            generation: self.generation,
            count: self.next.saturating_sub(FIRST_RECORD_SLOT),
            sum: self.sum,
        }
    }

    /// Stores the proof; `next` is the journal whose header is about to be written.
    fn store_proof<D: Disk>(&mut self, disk: &mut D, next: JournalEnd) {
        let now = if self.is_complete {
            self.end()
        } else {
            JournalEnd::default()
        };
        let proof = Proof {
            sequence: self.sequence,
            current: now,
            slots: self.capacity(self.file),
            next,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let (place, bytes) = proof.cell(self.boot_id);
        // If that fails the next start is unclean, and `proof_error` is reported.
        let stored = disk.write(FileName::Proof, slot_offset(place), &bytes);
        self.proof_error = stored.err().map(|error| error.to_string());
    }

    /// Marks the journal on the disk as incomplete.
    ///
    /// # Errors
    /// The mark could not be written.
    pub fn mark_incomplete<D: Disk>(&self, disk: &mut D) -> io::Result<()> {
        disk.write(
            file_name(self.file),
            slot_offset(1),
            &encode(self.generation, 1, &JournalEntry::Incomplete),
        )?;
        disk.sync(file_name(self.file))
    }

    /// Writes `records`, all that is still valid, to the other file, which then counts. With
    /// `durable`, it is on the disk when this returns.
    ///
    /// # Errors
    /// The other file could not be written; the current one still counts.
    pub fn compact<D: Disk>(
        &mut self,
        disk: &mut D,
        boot_id: [u8; 16],
        records: impl IntoIterator<Item = JournalRecord>,
        durable: bool,
    ) -> io::Result<()> {
        let file = self.file.other();
        // A new number even after a failed attempt, whose remains must not count.
        self.max_generation = self.max_generation.saturating_add(1);
        let generation = self.max_generation;
        self.reserve(disk, file, MIN_SLOTS)?;
        let (mut next, mut place, mut sum) = (FIRST_RECORD_SLOT, FIRST_RECORD_SLOT, 0);
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut records = records.into_iter().peekable();
        while let Some(record) = records.next() {
            let bytes = encode(generation, place, &JournalEntry::Record(record));
            sum = add_check(sum, &bytes);
            place = place.saturating_add(1);
            chunk.extend_from_slice(&bytes);
            if chunk.len() >= CHUNK || records.peek().is_none() {
                let end = next
                    .saturating_add(u32::try_from(chunk.len() / RECORD_LEN).unwrap_or(u32::MAX));
                if self.capacity(file) < end
                    && self.reserve(disk, file, end.saturating_mul(2)).is_err()
                {
                    self.reserve(disk, file, end)?;
                }
                disk.write(file_name(file), slot_offset(next), &chunk)?;
                chunk.clear();
                next = end;
            }
        }
        self.make_room(disk, file, next)?;
        self.wipe_rest(disk, file, next)?;
        if durable {
            disk.sync(file_name(file))?;
        }
        let end = JournalEnd {
            generation,
            count: next.saturating_sub(FIRST_RECORD_SLOT),
            sum,
        };
        let header = JournalEntry::Header {
            boot_id,
            count: end.count,
            sum,
            slots: self.capacity(file),
        };
        self.store_proof(disk, end);
        let begun = disk
            .write(file_name(file), 0, &encode(generation, 0, &header))
            .and_then(|()| match durable {
                true => disk.sync(file_name(file)),
                false => Ok(()),
            });
        if let Err(error) = begun {
            // The header may be on the disk all the same; the proof says that it does not count.
            self.store_proof(disk, JournalEnd::default());
            let _ = disk.write(file_name(file), 0, &[0; RECORD_LEN]);
            return Err(error);
        }
        let old = self.file;
        (self.file, self.generation, self.next, self.sum) = (file, generation, next, sum);
        self.is_complete = true;
        self.store_proof(disk, JournalEnd::default());
        // If the new header is damaged later, the old file must not appear intact. If this
        // write fails, the larger generation still decides.
        let _ = disk.write(file_name(old), 0, &[0; RECORD_LEN]);
        Ok(())
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// It may not be durable.
    pub fn sync<D: Disk>(&self, disk: &mut D) -> io::Result<()> {
        disk.sync(file_name(self.file))
    }

    /// Zeros the rest of the file: damaged remains would spoil every later reading.
    fn wipe_rest<D: Disk>(&self, disk: &mut D, file: JournalFile, used: u32) -> io::Result<()> {
        disk.write(file_name(file), slot_offset(1), &[0; RECORD_LEN])?;
        let mut at = slot_offset(used);
        let zeros = [0; 4096];
        while at < slot_offset(self.capacity(file)) {
            let rest = usize::try_from(slot_offset(self.capacity(file)).saturating_sub(at))
                .unwrap_or(usize::MAX);
            let part = zeros.get(..rest).unwrap_or(&zeros);
            disk.write(file_name(file), at, part)?;
            at = at.saturating_add(4096);
        }
        Ok(())
    }

    /// Extends the file until half of it is free, so that compactions are rare. On a full disk
    /// an eighth and one slot suffice.
    fn make_room<D: Disk>(&mut self, disk: &mut D, file: JournalFile, used: u32) -> io::Result<()> {
        let grown = self.reserve(disk, file, used.saturating_mul(2));
        let capacity = self.capacity(file);
        if used < capacity.saturating_sub(capacity / 8) {
            Ok(())
        } else {
            grown
        }
    }

    fn reserve<D: Disk>(&mut self, disk: &mut D, file: JournalFile, slots: u32) -> io::Result<()> {
        if self.capacity(file) >= slots {
            return Ok(());
        }
        disk.allocate(file_name(file), slot_offset(slots))?;
        match file {
            JournalFile::A => self.slots[0] = slots,
            JournalFile::B => self.slots[1] = slots,
        }
        Ok(())
    }

    fn capacity(&self, file: JournalFile) -> u32 {
        match file {
            JournalFile::A => self.slots[0],
            JournalFile::B => self.slots[1],
        }
    }
}

const fn file_name(file: JournalFile) -> FileName {
    match file {
        JournalFile::A => FileName::JournalA,
        JournalFile::B => FileName::JournalB,
    }
}

fn slot_offset(slot: u32) -> u64 {
    u64::from(slot).saturating_mul(64)
}
