//! [IO] Puts files and directories in their place: whole or not at all, on the disk
//! when it returns, with owner and mode from the first moment they have their name.
//!
//! For what is no secret; key files are written by `spa_keys::file`.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, RenameFlags, Uid};

/// What happens where there is a file already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is an error.
    Refuse,
    /// It is replaced; the new one has its owner and mode.
    Replace,
}

/// Owner and group by number; `None` keeps this process's own.
pub(crate) type UidGid = Option<(u32, u32)>;

/// Writes a file.
///
/// # Errors
/// What the system says, the path named; a file that is there, if it must not be.
pub(crate) fn write(
    path: &Path,
    text: &[u8],
    mode: u32,
    owner: UidGid,
    existing: Existing,
) -> io::Result<()> {
    let (mode, owner) = match (existing, path.symlink_metadata()) {
        (Existing::Replace, Ok(old)) => (old.mode() & 0o7777, Some((old.uid(), old.gid()))),
        _ => (mode, owner),
    };
    write_and_rename(path, text, mode, owner, existing).map_err(|error| with_path(path, &error))
}

fn write_and_rename(
    path: &Path,
    text: &[u8],
    mode: u32,
    owner: UidGid,
    existing: Existing,
) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let random: [u8; 8] = spa_keys::random_bytes().map_err(io::Error::other)?;
    // A leading dot: the loader passes it over if a crash leaves it behind.
    let temporary = directory.join(format!(
        ".{}.{:016x}",
        name.to_string_lossy(),
        u64::from_be_bytes(random)
    ));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(
        &temporary,
        flags,
        Mode::RUSR | Mode::WUSR,
    )?);
    let result = write_contents(&mut file, text, mode, owner).and_then(|()| match existing {
        Existing::Replace => std::fs::rename(&temporary, path),
        Existing::Refuse => rename_to_new(&temporary, path),
    });
    if result.is_err() {
        // The error to report is the first one.
        let _ = std::fs::remove_file(&temporary);
    }
    result?;
    sync(directory)
}

fn write_contents(file: &mut File, text: &[u8], mode: u32, owner: UidGid) -> io::Result<()> {
    set_owner_and_mode(file, mode, owner)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Gives an open file or directory its owner, then its mode (a change of owner may clear bits).
fn set_owner_and_mode(file: &File, mode: u32, owner: UidGid) -> io::Result<()> {
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?;
    Ok(())
}

/// Renames unless the new name is taken, decided by the kernel in the same step.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    let here = rustix::fs::CWD;
    match rustix::fs::renameat_with(here, from, here, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // A file system without that flag: a second name fails where one exists.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Renames a file; the new name must not be taken.
///
/// # Errors
/// What the system says, the path named.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let done = rename_to_new(from, to).and_then(|()| sync(to.parent().unwrap_or(to)));
    done.map_err(|error| with_path(from, &error))
}

/// Removes a file; false if there was none.
///
/// # Errors
/// What the system says, the path named.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path).and_then(|()| sync(path.parent().unwrap_or(path))) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(with_path(path, &error)),
    }
}

/// Makes a directory and those above it that are missing; false if it was there.
///
/// # Errors
/// What the system says, the path named.
pub(crate) fn create_directory(path: &Path, mode: u32, owner: UidGid) -> io::Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    let create = || -> io::Result<()> {
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above)?;
        }
        rustix::fs::mkdir(path, Mode::RWXU)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        set_owner_and_mode(
            &File::from(rustix::fs::open(path, flags, Mode::empty())?),
            mode,
            owner,
        )
    };
    create()
        .map(|()| true)
        .map_err(|error| with_path(path, &error))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
