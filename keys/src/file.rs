//! [IO] Key files. Takes paths, gives the text of a key or an error that
//! names the file, what is wrong with it and how to mend it.
//!
//! A key file is opened without following a link, and what was opened is
//! checked, never the path: a regular file, owned by this user, root or a user
//! the caller names, with no access for group and others. So is the directory
//! it stands in, because who can write there can put another file in its
//! place: owned by the same, and not writable for group and others unless
//! sticky (there only the file's owner, who was checked, the directory's, who
//! was checked too, or root can replace the file). docs/protocol.md §3.5.

use alloc::string::String;
use core::fmt;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::random_bytes;

/// The largest key file that is read, in bytes.
pub const MAX_FILE: usize = 4096;

/// Whose key files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedOwner {
    /// Those of the user this process runs as, and root's.
    CurrentUser,
    /// Those of this user as well, by number: root reads the daemon's keys.
    CurrentUserOr(u32),
}

impl AllowedOwner {
    fn allows(self, uid: u32) -> bool {
        uid == 0 || uid == geteuid().as_raw() || self == Self::CurrentUserOr(uid)
    }
}

/// How a key file is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Replace a file that is there. Without it, that is an error.
    pub replace: bool,
    /// User and group the file is given to; this process's own where `None`.
    pub owner: Option<(u32, u32)>,
}

/// What is wrong with a key file, and which it is.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct FileError {
    /// The file, or the directory it stands in.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: FileProblem,
}

/// What is wrong with a key file. The text names the mend.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// There is no such file or directory.
    #[error("there is no such file")]
    Missing,
    /// A link stands in its place.
    #[error(
        "it is a symbolic link, and key files are not read through links; give the file's own path"
    )]
    Link,
    /// It is something else than a file.
    #[error("it is not a regular file")]
    NotAFile,
    /// Somebody else owns it.
    #[error("it belongs to user {uid}, who could change it; `chown {} {}`", geteuid().as_raw(), ShellPath(.path))]
    Owner {
        /// Who owns it.
        uid: u32,
        /// What he owns.
        path: PathBuf,
    },
    /// Others can read or write it.
    #[error("others have access to it (mode {mode:04o}); `chmod 600 {}`, and make a new key if others could read it", ShellPath(.path))]
    Mode {
        /// Its permissions.
        mode: u32,
        /// Which file.
        path: PathBuf,
    },
    /// Others can put another file in its place.
    #[error("others can write in this directory (mode {mode:04o}) and replace the key; `chmod go-w {}`", ShellPath(.path))]
    Directory {
        /// Its permissions.
        mode: u32,
        /// Which directory.
        path: PathBuf,
    },
    /// It is longer than any key.
    #[error("it is longer than {MAX_FILE} bytes: this is not a key file")]
    TooLong,
    /// It is not text.
    #[error("it is not text: this is not a key file")]
    NotText,
    /// The path has no file name.
    #[error("this path does not name a file")]
    NoFileName,
    /// There is a file already.
    #[error(
        "there is a key already, and it was not replaced; move it away first if it is no longer needed"
    )]
    Exists,
    /// The operating system refused.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// The operating system gave no random name.
    #[error(transparent)]
    Key(#[from] crate::KeyError),
}

/// A path as a shell takes it.
struct ShellPath<'a>(&'a Path);

impl fmt::Display for ShellPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if text.chars().all(plain) {
            f.write_str(&text)
        } else {
            write!(f, "'{}'", text.replace('\'', r"'\''"))
        }
    }
}

/// The text of the secret key in the file `path`, wiped when dropped.
///
/// # Errors
/// A file that is missing, a link, not a regular file, longer than
/// [`MAX_FILE`], or open to others, itself or by its directory.
pub fn read_secret_file(path: &Path, owner: AllowedOwner) -> Result<Zeroizing<String>, FileError> {
    let (directory, place, name) = parent(path)?;
    check_directory(&directory, place, owner).map_err(with_path(place))?;
    read(&directory, name, path, owner).map_err(with_path(path))
}

/// Writes a new key file, or says that there is one.
///
/// # Errors
/// As [`write_secret_file_with`].
pub fn write_secret_file(path: &Path, text: &str) -> Result<(), FileError> {
    write_secret_file_with(path, text, WriteOptions::default())
}

/// Writes a key file: mode 0600, complete or not at all, and on the disk when
/// this returns. `text` gets a line's end.
///
/// # Errors
/// A file that is there already (unless `writing.replace`), a directory that
/// is missing or writable for others, and what the operating system says.
pub fn write_secret_file_with(
    path: &Path,
    text: &str,
    options: WriteOptions,
) -> Result<(), FileError> {
    let (directory, place, name) = parent(path)?;
    let owner = options.owner.map_or(AllowedOwner::CurrentUser, |(uid, _)| {
        AllowedOwner::CurrentUserOr(uid)
    });
    check_directory(&directory, place, owner).map_err(with_path(place))?;
    write(&directory, name, text, options).map_err(with_path(path))
}

fn with_path(path: &Path) -> impl Fn(FileProblem) -> FileError {
    move |problem| FileError {
        path: path.into(),
        problem,
    }
}

/// The opened directory of `path`, its own path, and the file's name in it.
fn parent(path: &Path) -> Result<(OwnedFd, &Path, &OsStr), FileError> {
    let name = path
        .file_name()
        .ok_or(FileProblem::NoFileName)
        .map_err(with_path(path))?;
    let directory_path = match path.parent() {
        Some(place) if place != Path::new("") => place,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory_path, flags, Mode::empty())
        .map_err(FileProblem::from)
        .map_err(with_path(directory_path))?;
    Ok((directory, directory_path, name))
}

fn check_directory(
    directory: &OwnedFd,
    path: &Path,
    owner: AllowedOwner,
) -> Result<(), FileProblem> {
    let stat = rustix::fs::fstat(directory)?;
    check_owner(&stat, path, owner)?;
    let mode = stat.st_mode & 0o7777;
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Err(FileProblem::Directory {
            mode,
            path: path.into(),
        });
    }
    Ok(())
}

fn check_owner(stat: &Stat, path: &Path, owner: AllowedOwner) -> Result<(), FileProblem> {
    if owner.allows(stat.st_uid) {
        Ok(())
    } else {
        Err(FileProblem::Owner {
            uid: stat.st_uid,
            path: path.into(),
        })
    }
}

fn read(
    directory: &OwnedFd,
    name: &OsStr,
    path: &Path,
    owner: AllowedOwner,
) -> Result<Zeroizing<String>, FileProblem> {
    // NONBLOCK: opening a named pipe must not wait for its other end.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Err(FileProblem::Link),
        other => other?,
    };
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(FileProblem::NotAFile);
    }
    check_owner(&stat, path, owner)?;
    let mode = stat.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileProblem::Mode {
            mode,
            path: path.into(),
        });
    }
    // One byte more than allowed, so that a longer file shows; allocated at
    // once, for a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new([0; MAX_FILE + 1]);
    let mut length = 0_usize;
    let mut file = File::from(file);
    loop {
        let Some(rest @ [_, ..]) = bytes.get_mut(length..) else {
            return Err(FileProblem::TooLong);
        };
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => length = length.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileProblem::Io(error)),
        }
    }
    let text = bytes
        .get(..length)
        .and_then(|bytes| str::from_utf8(bytes).ok());
    text.map(|text| Zeroizing::new(text.into()))
        .ok_or(FileProblem::NotText)
}

fn write(
    directory: &OwnedFd,
    name: &OsStr,
    text: &str,
    options: WriteOptions,
) -> Result<(), FileProblem> {
    let random = u64::from_be_bytes(random_bytes()?);
    let temporary = alloc::format!(".{}.{random:016x}", name.to_string_lossy());
    let temporary = temporary.as_str();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, temporary, flags, Mode::RUSR | Mode::WUSR)?;
    let result = write_contents(file, text, options)
        .and_then(|()| move_into_place(directory, temporary, name, options));
    if result.is_err() {
        // The error to report is the first one.
        let _ = rustix::fs::unlinkat(directory, temporary, AtFlags::empty());
    }
    result?;
    rustix::fs::fsync(directory)?;
    Ok(())
}

fn write_contents(file: OwnedFd, text: &str, options: WriteOptions) -> Result<(), FileProblem> {
    // The umask may have taken from the mode; it never adds.
    rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
    if let Some((uid, gid)) = options.owner {
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(uid),
            rustix::fs::Gid::from_raw(gid),
        );
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    let mut file = File::from(file);
    file.write_all(text.trim_end().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    Ok(())
}

/// Gives the finished file its name: an existing one is replaced only where
/// that was asked for, decided by the kernel in the same step.
fn move_into_place(
    directory: &OwnedFd,
    temporary: &str,
    name: &OsStr,
    options: WriteOptions,
) -> Result<(), FileProblem> {
    if options.replace {
        rustix::fs::renameat(directory, temporary, directory, name)?;
        return Ok(());
    }
    match rustix::fs::renameat_with(
        directory,
        temporary,
        directory,
        name,
        RenameFlags::NOREPLACE,
    ) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(FileProblem::Exists),
        // A file system without that flag: a second name, which also fails
        // where one exists, then the first one goes.
        Err(Errno::INVAL | Errno::NOSYS) => {
            match rustix::fs::linkat(directory, temporary, directory, name, AtFlags::empty()) {
                Err(Errno::EXIST) => return Err(FileProblem::Exists),
                other => other?,
            }
            rustix::fs::unlinkat(directory, temporary, AtFlags::empty())?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

impl From<Errno> for FileProblem {
    fn from(error: Errno) -> Self {
        if error == Errno::NOENT {
            Self::Missing
        } else {
            Self::Io(error.into())
        }
    }
}

impl From<io::Error> for FileProblem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
