//! [IO] Reads `config.toml`, and replaces it in one step.
//!
//! What is opened is checked, not its path: whoever can write this file decides
//! where packets go, so it must belong to this user or root and be writable for
//! nobody else.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use spa_findings::Findings;

use super::Config;

/// Longest configuration that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Why the configuration cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// It is something else than a file.
    #[error("{}: it is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Somebody else owns it.
    #[error("{}: it belongs to user {uid}, who decides with it where packets go; make a copy that is yours", path.display())]
    Owner {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Others can write it.
    #[error("{}: others can write it (mode {mode:04o}) and so decide where packets go; `chmod go-w` it", path.display())]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Too long.
    #[error("{}: it is longer than {LONGEST} bytes: this is not a configuration", .0.display())]
    TooLong(PathBuf),
    /// Not text.
    #[error("{}: it is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// What stands in it.
    #[error("{0:#}")]
    Findings(#[from] Findings),
}

/// Where the configuration stands in its directory.
#[must_use]
pub fn path_in(directory: &Path) -> PathBuf {
    directory.join("config.toml")
}

/// The hosts. None where there is no file.
///
/// # Errors
/// A file that cannot be trusted or read, or what is wrong in it.
pub fn load(directory: &Path) -> Result<Config, FileError> {
    let path = path_in(directory);
    match read(&path)? {
        Some(text) => Ok(super::parse(&path, &text)?),
        None => Ok(Config::default()),
    }
}

/// The text of the file; none where there is no file.
///
/// # Errors
/// A file that cannot be trusted or read.
pub fn read(path: &Path) -> Result<Option<String>, FileError> {
    let system = |error| FileError::Io {
        path: path.into(),
        error,
    };
    // Not blocking: opening a named pipe must not wait for its other end.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(system)?,
    };
    let metadata = file.metadata().map_err(system)?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile(path.into()));
    }
    let uid = metadata.uid();
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        return Err(FileError::Owner {
            path: path.into(),
            uid,
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(FileError::Mode {
            path: path.into(),
            mode,
        });
    }
    // Room for all of it and a byte more: read at once, not in growing pieces.
    let limit = LONGEST.saturating_add(1);
    let room = metadata.len().saturating_add(1).min(limit);
    let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or_default());
    file.take(limit).read_to_end(&mut bytes).map_err(system)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LONGEST {
        return Err(FileError::TooLong(path.into()));
    }
    let text = String::from_utf8(bytes).map_err(|_| FileError::NotText(path.into()))?;
    Ok(Some(text))
}

/// Makes the directory and those above it, each new one for this user alone.
///
/// # Errors
/// What the operating system says.
pub fn make_directory(directory: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| FileError::Io {
            path: directory.into(),
            error,
        })
}

/// Changes the configuration in one step: complete or not at all, and one
/// change after the other where several run at once. `change` gets the present
/// text and gives the new one.
///
/// # Errors
/// What `change` says, or a file that cannot be read or written.
pub fn change<E: From<FileError>>(
    directory: &Path,
    change: impl FnOnce(&Path, &str) -> Result<String, E>,
) -> Result<(), E> {
    make_directory(directory)?;
    let path = path_in(directory);
    let system = |error| FileError::Io {
        path: path.clone(),
        error,
    };
    let lock = File::open(directory).map_err(system)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| system(error.into()))?;
    let old = read(&path)?;
    let new = change(&path, old.as_deref().unwrap_or_default())?;
    replace(&path, old.is_some(), &new).map_err(system)?;
    Ok(())
}

/// Writes a file beside the old one and renames it over it.
fn replace(path: &Path, exists: bool, text: &str) -> io::Result<()> {
    // Where config.toml is a link, the file it points to is the one to replace.
    let path = if exists {
        fs::canonicalize(path)?
    } else {
        path.to_owned()
    };
    let mode = if exists {
        fs::metadata(&path)?.permissions().mode() & 0o755
    } else {
        0o600
    };
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let result = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, &path));
    if result.is_err() {
        // The error to report is the first one.
        let _ = fs::remove_file(&temporary);
        return result;
    }
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
