//! `[IO]` The files of the state, behind the few operations on them.
//!
//! The journal and the horizon use [`Disk`], so that tests can cut the power between any
//! two calls, or let calls fail. [`Directory`] is the real one; it opens every file at the
//! start and none later.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The files of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// One of the journal's two files; the next compaction writes the other.
    JournalA,
    /// The other file of the journal.
    JournalB,
    /// The horizon: two slots, each with a check value.
    Horizon,
    /// The clean mark, written at a clean stop, wiped at every start.
    Clean,
    /// The horizon in the run directory, hence gone after a reboot.
    Memory,
    /// The proof of the journal's end, also in the run directory.
    Proof,
}

/// Maximum length of a file, in bytes; longer ones are not read, to bound memory. A full
/// journal of a million packets has an eighth of it.
pub(super) const MAX_FILE_LEN: u64 = 1 << 30;

/// All files.
pub const ALL_FILES: [FileName; 6] = [
    FileName::JournalA,
    FileName::JournalB,
    FileName::Horizon,
    FileName::Clean,
    FileName::Memory,
    FileName::Proof,
];

/// The files of the state directory.
pub const STATE_FILES: [FileName; 4] = [
    FileName::JournalA,
    FileName::JournalB,
    FileName::Horizon,
    FileName::Clean,
];

/// The files of the run directory.
pub const RUN_FILES: [FileName; 2] = [FileName::Memory, FileName::Proof];

impl FileName {
    /// The file's name in its directory.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JournalA => "journal.a",
            Self::JournalB => "journal.b",
            Self::Horizon => "horizon",
            Self::Clean => "clean",
            Self::Memory => "horizon.memory",
            Self::Proof => "journal.proof",
        }
    }

    const fn is_in_run_dir(self) -> bool {
        matches!(self, Self::Memory | Self::Proof)
    }

    const fn index(self) -> usize {
        match self {
            Self::JournalA => 0,
            Self::JournalB => 1,
            Self::Horizon => 2,
            Self::Clean => 3,
            Self::Memory => 4,
            Self::Proof => 5,
        }
    }
}

/// The operations on the files.
pub trait Disk {
    /// Reads all of the file; empty if it does not exist.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read(&mut self, file: FileName) -> io::Result<Vec<u8>>;

    /// Extends the file to at least `length` bytes with zeros and reserves the blocks, so that
    /// later writes need no space.
    ///
    /// # Errors
    /// No space, or no permission.
    fn allocate(&mut self, file: FileName, length: u64) -> io::Result<()>;

    /// Writes with one call; survives a crash of the process, not of the machine.
    ///
    /// # Errors
    /// Any part was not written.
    fn write(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// It is unknown what is durable.
    fn sync(&mut self, file: FileName) -> io::Result<()>;

    /// Checks that the next start will find these files, which may be deleted or replaced while open.
    ///
    /// # Errors
    /// Names the missing file and what happened to it.
    fn check_present(&self, files: &[FileName]) -> io::Result<()>;
}

/// The real files. A file that cannot be opened fails at each use.
#[derive(Debug)]
pub struct Directory {
    state: PathBuf,
    run: PathBuf,
    files: [Result<StateFile, i32>; 6],
}

/// An open file of the state.
#[derive(Debug)]
pub(super) struct StateFile {
    file: File,
    /// Why it was opened for reading only, if it was.
    read_only: Option<i32>,
}

impl Directory {
    /// Opens or creates all files, accessible to their owner only, without following links.
    #[must_use]
    pub fn open(state: &Path, run: &Path) -> Self {
        let open = |file: FileName| {
            let directory = if file.is_in_run_dir() { run } else { state };
            open_state_file(&directory.join(file.as_str()))
                .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
        };
        let directory = Self {
            state: state.to_owned(),
            run: run.to_owned(),
            files: ALL_FILES.map(open),
        };
        // Makes new names durable. If that fails, their loss causes an unclean start.
        let _ = directory.sync_names();
        directory
    }

    /// A directory that does not exist: every use fails.
    #[must_use]
    pub(super) fn unavailable() -> Self {
        Self {
            state: PathBuf::new(),
            run: PathBuf::new(),
            files: ALL_FILES.map(|_| Err(libc::ENOENT)),
        }
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.state)?.sync_all()
    }

    fn file(&self, name: FileName) -> io::Result<&StateFile> {
        match self.files.get(name.index()) {
            Some(Ok(file)) => Ok(file),
            Some(Err(code)) => Err(needs_restart(name, *code)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn writable(&self, name: FileName) -> io::Result<&File> {
        let file = self.file(name)?;
        match file.read_only {
            None => Ok(&file.file),
            Some(code) => Err(needs_restart(name, code)),
        }
    }
}

/// The error for a file that only a restart can open, because the engine may not.
fn needs_restart(name: FileName, code: i32) -> io::Error {
    let (name, error) = (name.as_str(), io::Error::from_raw_os_error(code));
    io::Error::other(format!(
        "{name} could not be opened when spad started: {error}; restart spad after fixing that"
    ))
}

/// Opens or creates a file of the state, accessible to its owner only; follows no link.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    open_state_file(path).map(|opened| opened.file)
}

fn open_state_file(path: &Path) -> io::Result<StateFile> {
    let options = |write: bool| {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(write)
            .create(write)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .to_owned()
    };
    match options(true).open(path) {
        Ok(file) => Ok(StateFile {
            file,
            read_only: None,
        }),
        // A read-only disk can still be read.
        Err(error) => options(false)
            .open(path)
            .map(|file| StateFile {
                file,
                read_only: Some(error.raw_os_error().unwrap_or(libc::EIO)),
            })
            .map_err(|_| error),
    }
}

impl Disk for Directory {
    fn read(&mut self, name: FileName) -> io::Result<Vec<u8>> {
        // Creating it failed too: the directory does not exist.
        if self
            .files
            .get(name.index())
            .and_then(|file| file.as_ref().err())
            == Some(&libc::ENOENT)
        {
            return Ok(Vec::new());
        }
        let file = &self.file(name)?.file;
        let length = file.metadata()?.len();
        if length > MAX_FILE_LEN {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn allocate(&mut self, name: FileName, length: u64) -> io::Result<()> {
        let file = self.writable(name)?;
        let old = file.metadata()?.len();
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length) {
            Ok(()) => {}
            Err(rustix::io::Errno::OPNOTSUPP) => zero_fill(file, old, length)?,
            Err(error) => return Err(error.into()),
        }
        if old < length {
            file.sync_all()
        } else {
            Ok(())
        }
    }

    fn write(&mut self, name: FileName, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writable(name)?.write_all_at(bytes, offset)
    }

    fn sync(&mut self, name: FileName) -> io::Result<()> {
        self.writable(name)?.sync_data()
    }

    fn check_present(&self, files: &[FileName]) -> io::Result<()> {
        for name in files {
            // A file that failed to open fails at its use.
            let Some(Ok(file)) = self.files.get(name.index()) else {
                continue;
            };
            let ours = file.file.metadata()?;
            let directory = if name.is_in_run_dir() {
                &self.run
            } else {
                &self.state
            };
            let path = directory.join(name.as_str());
            let is_replaced = match std::fs::symlink_metadata(&path) {
                Ok(there) => (there.dev(), there.ino()) != (ours.dev(), ours.ino()),
                // The engine may be unable to search the directory.
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
            if ours.nlink() == 0 || is_replaced {
                let path = path.display();
                return Err(io::Error::other(format!("{path} was deleted or replaced")));
            }
        }
        Ok(())
    }
}

/// Reserves space by writing zeros where the filesystem has no call for it.
fn zero_fill(file: &File, old: u64, length: u64) -> io::Result<()> {
    let zeros = [0; 4096];
    let mut at = old;
    while at < length {
        let rest = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX);
        let part = zeros.get(..rest.min(zeros.len())).unwrap_or(&zeros);
        file.write_all_at(part, at)?;
        at = at.saturating_add(4096);
    }
    Ok(())
}
