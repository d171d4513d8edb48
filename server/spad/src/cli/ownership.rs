//! Who owns what `spad init` and `spad client add` make.
//!
//! Root gives the files of the state to the engine's user, their directories to
//! nobody, and lets the engine's group read the configuration. Anyone else keeps
//! what he makes.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use spad_sys::users;

/// Users and groups by number; `None` where this process cannot give anything away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owners {
    /// The engine's user and group.
    pub(crate) engine: Option<(u32, u32)>,
    /// The group that may read the configuration.
    pub(crate) readers: Option<u32>,
    /// The user `spad` is missing, and `nobody` stands in.
    pub(crate) stand_in: bool,
}

impl Owners {
    /// As they are on this machine.
    pub(crate) fn find() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::default();
        }
        let ids = |name: &str| {
            users::user(name)
                .ok()
                .flatten()
                .map(|user| (user.uid, user.gid))
        };
        let spad = ids("spad");
        let readers = users::group("spad").ok().flatten().map(|group| group.gid);
        Self {
            engine: spad.or_else(|| ids("nobody")),
            readers,
            stand_in: spad.is_none(),
        }
    }

    /// The mode of a directory of the configuration.
    pub(crate) fn directory_mode(self) -> u32 {
        if self.readers.is_some() { 0o750 } else { 0o755 }
    }

    /// The mode of a file of the configuration.
    pub(crate) fn file_mode(self) -> u32 {
        if self.readers.is_some() { 0o640 } else { 0o644 }
    }

    /// The mode of a directory of the state: the engine reads its keys there.
    pub(crate) fn state_mode(self) -> u32 {
        if self.engine.is_some() { 0o750 } else { 0o700 }
    }

    /// Owner and group of a directory of the state. Root and the firewall writer work
    /// in it too, so the engine must not be able to rename, link or replace anything there.
    pub(crate) fn state(self) -> Option<(u32, u32)> {
        self.engine.map(|(_, group)| (0, group))
    }

    /// Owner and group of the configuration.
    pub(crate) fn configuration(self) -> Option<(u32, u32)> {
        self.readers.map(|group| (0, group))
    }
}

/// Gives these files of `directory` to the engine, as far as they are there: what a
/// command made as root, the engine has to write.
///
/// The directory may have become the engine's, so nothing in it is trusted: only a plain
/// file of root's own with a single name is given away, never what a link names.
///
/// # Errors
/// What the system says, the file named.
pub(crate) fn chown_to_engine(
    directory: &Path,
    names: &[&str],
    owners: Owners,
) -> std::io::Result<()> {
    let Some((uid, gid)) = owners.engine else {
        return Ok(());
    };
    for name in names {
        let path = directory.join(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => std::fs::File::from(file),
            Err(rustix::io::Errno::NOENT) => continue,
            Err(errno) => return Err(with_path(&path, errno.into())),
        };
        let status = file.metadata().map_err(|error| with_path(&path, error))?;
        if status.is_file() && status.nlink() == 1 && status.uid() == 0 {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::fchown(&file, Some(uid), Some(gid))
                .map_err(|errno| with_path(&path, errno.into()))?;
        }
    }
    Ok(())
}

fn with_path(path: &Path, error: std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    /// Needs root, as giving away does.
    #[test]
    fn of_what_lies_in_the_state_only_plain_files_of_roots_with_one_name_are_given_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let owner = |name: &str| std::fs::metadata(path(name)).unwrap().uid();
        for name in ["plain", "outside", "anothers", "named"] {
            std::fs::write(path(name), "").unwrap();
        }
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), pipe, Mode::RUSR, 0).unwrap();
        std::fs::hard_link(path("named"), path("twice")).unwrap();
        chown(path("anothers"), Some(4243), None).unwrap();
        symlink(path("outside"), path("link")).unwrap();
        let owners = Owners {
            engine: Some((4242, 4242)),
            ..Owners::default()
        };
        let names = ["plain", "missing", "pipe", "twice", "anothers"];
        chown_to_engine(directory.path(), &names, owners).unwrap();
        assert!(chown_to_engine(directory.path(), &["link"], owners).is_err());
        assert_eq!(owner("plain"), 4242);
        assert_eq!(owner("anothers"), 4243);
        for unchanged in ["pipe", "named", "outside"] {
            assert_eq!(owner(unchanged), 0, "{unchanged}");
        }
    }
}
