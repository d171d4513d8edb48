//! `[IO]` Reads the used packets while another process owns the state; writes nothing.
//!
//! It returns the journal's records without the decisions of a start. After an unclean
//! stop a server refuses older packets that this accepts.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use spa_proto::Timestamp;

use super::cache::{Bounds, ReplayCache};
use super::disk::{FileName, MAX_FILE_LEN};
use super::encoding::{Slot, decode};
use super::journal_read::read;
use super::lock::NO_BOOT_ID;
use super::record::JournalEntry;

/// Reads the journal in this state directory.
///
/// # Errors
/// A file cannot be read; a missing one counts as empty.
pub fn read_only_snapshot(state: &Path) -> io::Result<ReplayCache> {
    let bytes = |file: FileName| read_all(&state.join(file.as_str()));
    let contents = read(&bytes(FileName::JournalA)?, &bytes(FileName::JournalB)?);
    let mut cache = ReplayCache::new(Bounds::default());
    for record in &contents.records {
        cache.restore(record);
    }
    Ok(cache)
}

fn read_all(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW);
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_LEN).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The horizon in this run directory, if it is from this boot.
pub(super) fn run_horizon(run: &Path, boot: [u8; 16]) -> Option<Timestamp> {
    let bytes = read_all(&run.join(FileName::Memory.as_str())).ok()?;
    match decode(0, bytes.first_chunk()?) {
        Slot::Entry {
            entry: JournalEntry::Memory {
                boot_id, timestamp, ..
            },
            ..
        } if boot_id == boot && boot != NO_BOOT_ID => Some(timestamp),
        _ => None,
    }
}
