//! `[IO]` The few files of the state, behind the four things done to them.
//!
//! The rules of journal and horizon are written against [`Disk`], so that tests
//! can cut the power between any two of its calls, or let them fail.
//! [`Directory`] is the real one; it opens every file at the start and none later.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The files of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// One of the journal's two files; the other is its next compaction.
    JournalA,
    /// The other.
    JournalB,
    /// Two slots, each with a check value.
    Horizon,
    /// Written at a clean stop, wiped at every start.
    Clean,
    /// In the run directory, hence gone with the boot: the horizon, whatever the disk holds.
    Memory,
    /// In the run directory too: what proves where the journal ends.
    Proof,
}

/// No file is read that is longer, in bytes: who made it so wants the memory of
/// whoever reads it. A full journal of a million packets has an eighth of it.
pub(super) const MAX_FILE_LEN: u64 = 1 << 30;

/// All of them.
pub const ALL_FILES: [FileName; 6] = [
    FileName::JournalA,
    FileName::JournalB,
    FileName::Horizon,
    FileName::Clean,
    FileName::Memory,
    FileName::Proof,
];

/// Those of the state directory.
pub const STATE_FILES: [FileName; 4] = [
    FileName::JournalA,
    FileName::JournalB,
    FileName::Horizon,
    FileName::Clean,
];

/// Those of the run directory.
pub const RUN_FILES: [FileName; 2] = [FileName::Memory, FileName::Proof];

impl FileName {
    /// Its name in its directory.
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

/// What is done to the files.
pub trait Disk {
    /// All of the file's bytes; none if it does not exist.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&mut self, file: FileName) -> io::Result<Vec<u8>>;

    /// Makes the file at least `length` bytes long, new bytes zero, with blocks
    /// reserved, so that writing them later does not need room.
    ///
    /// # Errors
    /// No room, or no right.
    fn allocate(&mut self, file: FileName, length: u64) -> io::Result<()>;

    /// Writes with one call; it survives the process, not the machine.
    ///
    /// # Errors
    /// Any part was not written.
    fn write(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// What was written survives the machine from here on.
    ///
    /// # Errors
    /// Nobody knows what does.
    fn sync(&mut self, file: FileName) -> io::Result<()>;

    /// Will the next start find these files? They may be deleted or replaced while they are open.
    ///
    /// # Errors
    /// It will not; which, and what became of it.
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
    /// Why it could be opened for reading only.
    read_only: Option<i32>,
}

impl Directory {
    /// Opens, and where missing makes, all files, owner-only, following no link.
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
        // New names survive the machine too. If not, their loss is an unclean start.
        let _ = directory.sync_names();
        directory
    }

    /// No directory at all: every use fails.
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

/// The engine has no right to open files later.
fn needs_restart(name: FileName, code: i32) -> io::Error {
    let (name, error) = (name.as_str(), io::Error::from_raw_os_error(code));
    io::Error::other(format!(
        "{name} could not be opened when spad started: {error}; restart spad after fixing that"
    ))
}

/// Opens a file of the state, made for its owner alone where it is missing; follows no link.
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
        // A disk that became read-only can still be read.
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
        // It could not even be made: there is no such directory.
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
            // One that was not opened fails where it is used.
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
                // The engine may not look into every directory.
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

/// Reserves room where the filesystem has no call for it.
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
