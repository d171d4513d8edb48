//! A small file mapped into memory: what is stored in it outlives the process, not the machine.
#![expect(unsafe_code, reason = "memory that is a file's")]

use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

/// Length of the file and of the mapping.
pub const LENGTH: usize = 4096;

/// Bytes stored at once.
pub const CELL: usize = 64;

/// The mapping. The file must keep its length: a piece that is cut off ends the process
/// when it is stored to.
#[derive(Debug)]
pub struct SharedPage {
    base: NonNull<AtomicU64>,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for SharedPage {}

impl SharedPage {
    /// Maps the file, whose first [`LENGTH`] bytes are there.
    ///
    /// # Errors
    /// The system refuses.
    pub fn map(file: &File) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; nothing of ours lies there.
        let base = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                LENGTH,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                file,
                0,
            )
        }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { base })
    }

    /// Stores these bytes as the cell of this number, word after word in their order; a number
    /// beyond the page stores nothing. Killed in the midst, the cell is a mixture.
    pub fn store(&self, cell: usize, bytes: &[u8; CELL]) {
        if cell >= LENGTH / CELL {
            return;
        }
        let (words, _) = bytes.as_chunks::<8>();
        for (word, place) in words.iter().zip(cell.saturating_mul(CELL / 8)..) {
            // SAFETY: the cell lies within the mapping, which lives as long as `self`, and a page's start is aligned.
            let to = unsafe { self.base.add(place).as_ref() };
            // Release: no store of a later cell overtakes it.
            to.store(u64::from_ne_bytes(*word), Ordering::Release);
        }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, with its length; nothing borrowed from it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), LENGTH) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_stands_in_the_file_at_its_place_and_nowhere_else() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(u64::try_from(LENGTH).unwrap()).unwrap();
        let page = SharedPage::map(&file).unwrap();
        let bytes = std::array::from_fn(|place| u8::try_from(place).unwrap());
        page.store(1, &bytes);
        page.store(LENGTH / CELL, &[9; CELL]);
        drop(page);
        let mut read = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut read).unwrap();
        assert_eq!(read[CELL..2 * CELL], bytes);
        assert!(
            read[..CELL]
                .iter()
                .chain(&read[2 * CELL..])
                .all(|byte| *byte == 0)
        );
    }
}
