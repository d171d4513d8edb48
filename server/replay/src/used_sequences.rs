//! `[IO]` The used one-time sequences, in a file of their own.
//!
//! One record per sequence, on the disk before its door opens, and never removed. A used
//! sequence that is listed again, for any door, does not open it. If the file cannot be
//! trusted, these doors stay closed.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use spa_proto::{Protocol, Timestamp};
use spad_model::knock::{Knock, Sequence};

use super::disk::open_file;
use super::proof;

/// The file's name in the state directory.
const FILE_NAME: &str = "one-time";
/// Length of a record in bytes: the number of knocks, three bytes per knock, the time, a
/// check value, and [`END_MARK`].
const RECORD_LEN: usize = 128;
/// The last byte of a record, which distinguishes an incomplete record from a damaged one.
const END_MARK: u8 = 0xa5;
/// Maximum number of remembered sequences: 8 MiB.
const MAX_SEQUENCES: usize = 1 << 16;

/// Why a door's one-time sequence cannot be used. The text includes the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OneTimeError {
    /// The file could not be read or written.
    #[error("{path}: {problem}; mend the disk, and restart spad")]
    Io {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        problem: String,
    },
    /// A record is damaged.
    #[error(
        "{path}: the record {number} is damaged, so nobody knows all that is used; stop spad, write new sequences into every file, and remove this one"
    )]
    Damaged {
        /// The file's path.
        path: PathBuf,
        /// The number of the record, from 1.
        number: usize,
    },
    /// The journal lists more used sequences, or different ones.
    #[error(
        "{path} does not hold every sequence that was used; stop spad, write new sequences into every file, and remove this one"
    )]
    Lost {
        /// The file's path.
        path: PathBuf,
    },
    /// The file is full.
    #[error(
        "{path} holds {MAX_SEQUENCES} used sequences, as many as it may; stop spad, write new sequences into every file, and remove this one"
    )]
    Full {
        /// The file's path.
        path: PathBuf,
    },
}

/// The extent of the file. The journal stores it too, to detect a truncated or older file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsedMark {
    /// Number of intact records.
    pub count: u32,
    /// The sum over the records.
    pub sum: u64,
}

impl UsedMark {
    fn add(self, record: &[u8]) -> Self {
        let mut check = [0; 64];
        if let (Some(place), Some(bytes)) = (check.last_chunk_mut(), record.get(123..127)) {
            *place = <[u8; 4]>::try_from(bytes).unwrap_or_default();
        }
        Self {
            count: self.count.saturating_add(1),
            sum: proof::add_check(self.sum, &check),
        }
    }
}

/// The open file, owned by the engine alone.
#[derive(Debug)]
pub struct UsedSequences {
    path: PathBuf,
    file: Result<File, OneTimeError>,
    /// The file's extent.
    mark: UsedMark,
    /// Used but not yet written. Their doors stayed closed, but someone may have observed the
    /// knocks, so no later start may treat them as unused.
    pending: Vec<(Sequence, Timestamp)>,
    /// The error of the last write, if it failed.
    failed: Option<OneTimeError>,
}

impl UsedSequences {
    /// Opens or creates the file and returns the used sequences; `None` if they cannot be
    /// known. `expected` is the minimum extent by the journal.
    #[must_use]
    pub fn open(state: &Path, expected: Option<UsedMark>) -> (Self, Option<HashSet<Sequence>>) {
        let path = state.join(FILE_NAME);
        let opened = open_file(&path).and_then(|file| {
            let bytes = read_all(&file)?;
            if bytes.is_empty() {
                // The file's name must be durable before its contents matter.
                File::open(state)?.sync_all()?;
            }
            Ok((file, bytes))
        });
        let read = opened
            .map_err(|error| disk_error(&path, &error))
            .and_then(|(file, bytes)| Ok((file, parse(&path, &bytes, expected)?)));
        let (file, used, mark) = match read {
            Ok((file, (used, mark))) => (Ok(file), Some(used), mark),
            Err(error) => (Err(error), None, UsedMark::default()),
        };
        let opened = Self {
            path,
            file,
            mark,
            pending: Vec::new(),
            failed: None,
        };
        (opened, used)
    }

    /// Writes, durably, that this sequence is used, together with those that could not be
    /// written before.
    ///
    /// # Errors
    /// The write failed; the door must stay closed.
    pub fn append(&mut self, sequence: &Sequence, now: Timestamp) -> Result<(), OneTimeError> {
        self.pending.push((sequence.clone(), now));
        self.retry_pending().map(drop)
    }

    /// Writes the pending records and returns their number.
    ///
    /// # Errors
    /// The write failed again.
    pub fn retry_pending(&mut self) -> Result<usize, OneTimeError> {
        let mut count: usize = 0;
        while let Some((sequence, at)) = self.pending.first().cloned() {
            let written = self.write(&sequence, at);
            self.failed = written.as_ref().err().cloned();
            written?;
            self.pending.remove(0);
            count = count.saturating_add(1);
        }
        Ok(count)
    }

    fn write(&mut self, sequence: &Sequence, now: Timestamp) -> Result<(), OneTimeError> {
        let file = self.file.as_ref().map_err(Clone::clone)?;
        let records = usize::try_from(self.mark.count).unwrap_or(usize::MAX);
        if records >= MAX_SEQUENCES {
            let path = self.path.clone();
            return Err(OneTimeError::Full { path });
        }
        // Overwrites the remains of a failed write.
        let offset = u64::try_from(records.saturating_mul(RECORD_LEN)).unwrap_or(u64::MAX);
        let record = encode(sequence, now);
        file.write_all_at(&record, offset)
            .and_then(|()| file.sync_data())
            .map_err(|error| disk_error(&self.path, &error))?;
        self.mark = self.mark.add(&record);
        Ok(())
    }

    /// The file's extent.
    #[must_use]
    pub fn mark(&self) -> UsedMark {
        self.mark
    }

    /// The error that keeps doors with one-time sequences closed, if any.
    #[must_use]
    pub fn problem(&self) -> Option<&OneTimeError> {
        self.file.as_ref().err().or(self.failed.as_ref())
    }
}

/// Reads the used sequences while another process owns the file.
///
/// # Errors
/// They cannot be known; a missing file counts as empty.
pub fn read_used(state: &Path) -> Result<HashSet<Sequence>, OneTimeError> {
    let path = state.join(FILE_NAME);
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW);
    let bytes = match options.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        opened => opened.and_then(|file| read_all(&file)),
    };
    let bytes = bytes.map_err(|error| disk_error(&path, &error))?;
    parse(&path, &bytes, None).map(|(used, _)| used)
}

fn disk_error(path: &Path, error: &io::Error) -> OneTimeError {
    OneTimeError::Io {
        path: path.to_owned(),
        problem: error.to_string(),
    }
}

fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let max_len = u64::try_from(MAX_SEQUENCES.saturating_mul(RECORD_LEN)).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(max_len.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > max_len) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Parses the used sequences and the file's extent. Ignores an incomplete last record,
/// because its door did not open.
fn parse(
    path: &Path,
    bytes: &[u8],
    least: Option<UsedMark>,
) -> Result<(HashSet<Sequence>, UsedMark), OneTimeError> {
    let records: Vec<&[u8]> = bytes.chunks(RECORD_LEN).collect();
    let (mut used, mut mark) = (HashSet::new(), UsedMark::default());
    let expected = least.unwrap_or_default();
    let mut reaches_expected = expected == mark;
    for (place, record) in records.iter().enumerate() {
        let number = place.saturating_add(1);
        if let Some(sequence) = decode(record) {
            used.insert(sequence);
            mark = mark.add(record);
            reaches_expected |= expected == mark;
            continue;
        }
        let torn = record.len() < RECORD_LEN || record.last() == Some(&0);
        if torn && number == records.len() {
            break;
        }
        let path = path.to_owned();
        return Err(OneTimeError::Damaged { path, number });
    }
    if reaches_expected {
        Ok((used, mark))
    } else {
        let path = path.to_owned();
        Err(OneTimeError::Lost { path })
    }
}

fn encode(sequence: &Sequence, now: Timestamp) -> Vec<u8> {
    let knocks = sequence.knocks();
    let mut record = vec![u8::try_from(knocks.len()).unwrap_or(0)];
    for knock in knocks {
        record.push(knock.protocol.number());
        record.extend(knock.port.get().to_be_bytes());
    }
    record.resize(97, 0);
    record.extend(now.as_micros().to_be_bytes());
    record.resize(123, 0);
    let check = crc32fast::hash(&record);
    record.extend(check.to_be_bytes());
    record.push(END_MARK);
    record
}

fn decode(record: &[u8]) -> Option<Sequence> {
    let (fields, rest) = record.split_at_checked(123)?;
    let (check, end) = rest.split_first_chunk()?;
    if *end != [END_MARK] || u32::from_be_bytes(*check) != crc32fast::hash(fields) {
        return None;
    }
    let (count, fields) = fields.split_first()?;
    let knock = |[protocol, high, low]: &[u8; 3]| {
        Some(Knock {
            protocol: Protocol::from_number(*protocol)?,
            port: u16::from_be_bytes([*high, *low]).try_into().ok()?,
        })
    };
    let (knocks, _) = fields.as_chunks();
    let knocks = knocks.get(..usize::from(*count))?.iter().map(knock);
    Sequence::new(knocks.collect::<Option<_>>()?).ok()
}

#[cfg(test)]
mod tests;
