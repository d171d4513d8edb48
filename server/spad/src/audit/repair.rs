//! `[IO]` The audit file after a power cut: its length may have reached the disk, and its last
//! lines not, so that it ends in NUL bytes, and programs take it for binary.
//!
//! NUL bytes at the end are cut off; those that later lines follow become blanks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// How much of the file's end is looked at at once; NUL bytes further ahead stay.
const WINDOW: u64 = 1 << 20;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Repaired {
    /// NUL bytes that are gone.
    pub(super) zeros: u64,
    /// The file ends without an end of line.
    pub(super) ends_within_a_line: bool,
}

/// Takes NUL bytes out of the file's end.
///
/// # Errors
/// It cannot be read or written.
pub(super) fn repair(path: &Path) -> io::Result<Repaired> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path)?;
    let mut zeros = 0_u64;
    loop {
        let length = file.metadata()?.len();
        let start = length.saturating_sub(WINDOW);
        let bytes = read(&file, start, length)?;
        let kept = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last.saturating_add(1));
        let cut = bytes.len().saturating_sub(kept);
        if cut > 0 {
            let cut = u64::try_from(cut).unwrap_or(0);
            file.set_len(length.saturating_sub(cut))?;
            zeros = zeros.saturating_add(cut);
        }
        if kept == 0 && start > 0 {
            continue;
        }
        let kept = bytes.get(..kept).unwrap_or_default();
        zeros = zeros.saturating_add(blank(&file, start, kept)?);
        return Ok(Repaired {
            zeros,
            ends_within_a_line: kept.last().is_some_and(|last| *last != b'\n'),
        });
    }
}

fn read(file: &File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

/// Writes blanks over NUL bytes, each run a line of its own.
fn blank(file: &File, start: u64, bytes: &[u8]) -> io::Result<u64> {
    let mut changed = bytes.to_vec();
    let mut zeros = 0_u64;
    for index in 0..bytes.len() {
        let Some(byte @ 0) = changed.get_mut(index) else {
            continue;
        };
        let next = bytes.get(index.saturating_add(1));
        *byte = if next == Some(&0) { b' ' } else { b'\n' };
        zeros = zeros.saturating_add(1);
    }
    if zeros > 0 {
        file.write_all_at(&changed, start)?;
    }
    Ok(zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(bytes: &[u8]) -> (Vec<u8>, Repaired) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, bytes).unwrap();
        let done = repair(&path).unwrap();
        (std::fs::read(&path).unwrap(), done)
    }

    #[test]
    fn zeros_at_the_end_are_cut_off_and_those_in_between_are_blanks() {
        let whole = b"{\"seq\":1}\n".to_vec();
        assert_eq!(repaired(&whole), (whole.clone(), Repaired::default()));
        assert_eq!(repaired(b"").1, Repaired::default());
        let mut bytes = whole.clone();
        bytes.extend([0; 4096]);
        let (left, done) = repaired(&bytes);
        assert_eq!(
            (&left, done.zeros, done.ends_within_a_line),
            (&whole, 4096, false)
        );
        // More than one look takes in, and nothing but zeros.
        let (left, done) = repaired(&vec![0; (2 << 20) + 5]);
        assert_eq!((left.len(), done.zeros), (0, (2 << 20) + 5));
        bytes.extend(b"{\"seq\":2}\n{\"se");
        let (left, done) = repaired(&bytes);
        assert!(!left.contains(&0) && done.ends_within_a_line);
        let text = String::from_utf8(left).unwrap();
        let lines: Vec<_> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        assert_eq!(lines, ["{\"seq\":1}", "{\"seq\":2}", "{\"se"]);
    }
}
