//! A disk in memory: loses unsynced writes in a power cut, fails on command, and can stop
//! its machine between any two calls.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::disk::{ALL_FILES, Disk, FileName};
use crate::encoding::RECORD_LEN;

/// Which files fail at every write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) journal: bool,
    pub(super) horizon: bool,
    pub(super) clean: bool,
    pub(super) run: bool,
    pub(super) full: bool,
    /// Writes succeed, but syncs fail.
    pub(super) sync: bool,
}

#[derive(Clone, Debug, Default)]
struct DiskState {
    live: [Vec<u8>; 6],
    durable: [Vec<u8>; 6],
    pending: Vec<(usize, u64, Vec<u8>)>,
    faults: Faults,
    calls_left: Option<u32>,
}

/// The disk, which outlives the processes that use it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk(Rc<RefCell<DiskState>>);

impl SimDisk {
    pub(super) fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    /// Lets the process die after this many more calls.
    pub(crate) fn die_after(&self, calls: u32) {
        self.0.borrow_mut().calls_left = Some(calls);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.0.borrow().calls_left == Some(0)
    }

    pub(crate) fn revive(&self) {
        self.0.borrow_mut().calls_left = None;
    }

    /// Cuts the power: each write since the last sync is complete, missing or partial, as
    /// `chance` decides. The run directory becomes empty.
    pub(crate) fn cut_power(&self, chance: &mut impl FnMut(u32) -> u32) {
        let medium = &mut *self.0.borrow_mut();
        for (file, offset, bytes) in std::mem::take(&mut medium.pending) {
            let written = match chance(4) {
                0 => 0,
                1 => chance(u32::try_from(bytes.len()).unwrap() + 1) as usize,
                _ => bytes.len(),
            };
            put(&mut medium.durable[file], offset, &bytes[..written]);
        }
        medium.durable[place(FileName::Memory)].clear();
        medium.durable[place(FileName::Proof)].clear();
        medium.live = medium.durable.clone();
        medium.calls_left = None;
    }

    /// A copy of the disk.
    pub(crate) fn copy(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// Replaces the file's content.
    pub(crate) fn replace_file(&self, file: FileName, bytes: Vec<u8>) {
        let medium = &mut *self.0.borrow_mut();
        medium.pending.retain(|(other, ..)| *other != place(file));
        medium.durable[place(file)].clone_from(&bytes);
        medium.live[place(file)] = bytes;
    }

    /// Loses the unsynced writes to this file's block, as after a failed write-back: the block
    /// has the disk's content.
    pub(super) fn lose_block(&self, file: FileName, at: u32) {
        let medium = &mut *self.0.borrow_mut();
        let (live, durable) = (&mut medium.live[place(file)], &medium.durable[place(file)]);
        let Some(range) = block(durable, at).filter(|range| range.end <= live.len()) else {
            // The run directory is not on a disk.
            return;
        };
        live[range.clone()].copy_from_slice(&durable[range]);
        let live = live.clone();
        medium.pending.retain(|(other, ..)| *other != place(file));
        medium.durable[place(file)] = live;
    }

    /// Copies one block to another, as after a misplaced write or a returning old block.
    pub(super) fn copy_block(&self, file: FileName, from: u32, to: u32) {
        let medium = &mut *self.0.borrow_mut();
        for side in [&mut medium.live, &mut medium.durable] {
            let bytes = &mut side[place(file)];
            // Both blocks have the length of the first.
            let to = to / 2 * 2 + from % 2;
            if let (Some(from), Some(to)) = (block(bytes, from), block(bytes, to)) {
                bytes.copy_within(from, to.start);
            }
        }
    }

    /// Flips a bit, if the file has one.
    pub(super) fn flip_bit(&self, file: FileName, at: u32) {
        let medium = &mut *self.0.borrow_mut();
        for side in [&mut medium.live, &mut medium.durable] {
            let length = side[place(file)].len();
            if length > 0 {
                side[place(file)][at as usize % length] ^= 1 << (at % 8);
            }
        }
    }

    fn call(&self) -> io::Result<()> {
        let medium = &mut *self.0.borrow_mut();
        match &mut medium.calls_left {
            Some(0) => Err(io::Error::other("dead")),
            Some(left) => {
                *left -= 1;
                if *left == 0 {
                    Err(io::Error::other("dead"))
                } else {
                    Ok(())
                }
            }
            None => Ok(()),
        }
    }

    fn check(&self, file: FileName) -> io::Result<()> {
        self.call()?;
        let faults = self.0.borrow().faults;
        let fails = match file {
            FileName::JournalA | FileName::JournalB => faults.journal,
            FileName::Horizon => faults.horizon,
            FileName::Clean => faults.clean,
            FileName::Memory | FileName::Proof => faults.run,
        };
        if fails {
            Err(io::Error::other("fault"))
        } else {
            Ok(())
        }
    }
}

impl Disk for SimDisk {
    fn read(&mut self, file: FileName) -> io::Result<Vec<u8>> {
        self.call()?;
        Ok(self.0.borrow().live[place(file)].clone())
    }

    fn allocate(&mut self, file: FileName, length: u64) -> io::Result<()> {
        self.check(file)?;
        let medium = &mut *self.0.borrow_mut();
        let length = usize::try_from(length).unwrap();
        if medium.live[place(file)].len() >= length {
            return Ok(());
        }
        if medium.faults.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        medium.live[place(file)].resize(length, 0);
        medium.durable[place(file)].resize(length, 0);
        Ok(())
    }

    fn write(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(file)?;
        let medium = &mut *self.0.borrow_mut();
        let end = usize::try_from(offset).unwrap() + bytes.len();
        if medium.faults.full && end > medium.live[place(file)].len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        put(&mut medium.live[place(file)], offset, bytes);
        medium.pending.push((place(file), offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self, file: FileName) -> io::Result<()> {
        self.check(file)?;
        let medium = &mut *self.0.borrow_mut();
        if medium.faults.sync {
            return Err(io::Error::other("not synced"));
        }
        medium.durable[place(file)] = medium.live[place(file)].clone();
        medium.pending.retain(|(other, ..)| *other != place(file));
        Ok(())
    }

    fn check_present(&self, _files: &[FileName]) -> io::Result<()> {
        Ok(())
    }
}

/// A block of this file: one record, or four.
fn block(bytes: &[u8], at: u32) -> Option<std::ops::Range<usize>> {
    let length = if at.is_multiple_of(2) {
        RECORD_LEN
    } else {
        4 * RECORD_LEN
    };
    let count = bytes.len() / length;
    let start = (at as usize / 2).checked_rem(count)? * length;
    Some(start..start + length)
}

fn place(file: FileName) -> usize {
    ALL_FILES.iter().position(|other| *other == file).unwrap()
}

fn put(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).unwrap();
    let end = start + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[start..end].copy_from_slice(bytes);
}
