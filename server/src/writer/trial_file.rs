//! [IO] The file that remembers trials, in the directory that the writer works in.
//!
//! Written whole or not at all. A damaged one hides everything for good.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use spa_proto::Service;

use crate::config::Texts;
use crate::firewall::trial::Trials;
use crate::paths::Paths;

/// Where trials are remembered.
#[derive(Clone, Debug)]
pub(super) enum Memory {
    /// In this directory.
    In(PathBuf),
    /// It was lost, for the server was set up long ago; written to this directory again.
    LostIn(PathBuf),
    /// The directory cannot be used.
    Unusable,
}

impl Memory {
    /// The memory of these paths, for who may read all of them. `spad init` makes the file.
    pub(super) fn of(paths: &Paths) -> Self {
        let directory = paths.guard_state();
        Self::found(directory.clone(), paths, &directory)
    }

    /// The same, which is to be found at `directory` from now on.
    pub(super) fn found(at: PathBuf, paths: &Paths, directory: &Path) -> Self {
        let is_missing = |path: &Path| matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
        match !is_missing(&paths.server_key()) && is_missing(&directory.join(NAME)) {
            true => Self::LostIn(at),
            false => Self::In(at),
        }
    }

    /// Keeps the texts of a configuration that is in force for a start with a broken one.
    pub(super) fn keep(&self, texts: &Texts) {
        let kept = self.directory();
        if let Err(error) = kept.and_then(|directory| texts.keep_in(directory)) {
            super::warn(&format!(
                "cannot keep this configuration for a start with a broken one: {error}\n  help: check the disk, and remove what stands in its place in guard/ of the state directory"
            ));
        }
    }

    /// Where it can be written.
    pub(super) fn directory(&self) -> io::Result<&Path> {
        match self {
            Self::In(directory) | Self::LostIn(directory) => Ok(directory),
            Self::Unusable => Err(io::Error::other("its directory cannot be used")),
        }
    }
}

/// Makes an empty memory of a server that is set up.
///
/// # Errors
/// What the file system says.
pub(crate) fn create(paths: &Paths) -> io::Result<()> {
    let directory = paths.guard_state();
    match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if directory.join(NAME).symlink_metadata().is_ok() {
        return Ok(());
    }
    write_in(&directory, &Trials::default())
}

const NAME: &str = "trials.json";
/// The longest file that is read, in bytes; 65,536 ports fit.
const LONGEST: u64 = 16 << 20;

/// What was kept.
pub(super) enum Kept {
    /// As it was written, or nothing yet.
    Whole(Trials),
    /// The file is damaged or lost, or cannot be read, so everything is hidden for good; why.
    Damaged(Trials, String),
}

/// Reads what is remembered.
pub(super) fn read(memory: &Memory, hidden: &BTreeSet<Service>) -> Kept {
    let all_hidden = |why: &str| Kept::Damaged(Trials::all_hidden(hidden), why.to_owned());
    let directory = match memory {
        Memory::In(directory) => directory,
        Memory::LostIn(_) => return all_hidden("is missing"),
        Memory::Unusable => return all_hidden("cannot be read"),
    };
    match text(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::Whole(Trials::default()),
        Err(error) if error.kind() != io::ErrorKind::InvalidData => {
            all_hidden(&format!("cannot be read ({error})"))
        }
        text => match text.ok().and_then(|text| Trials::from_text(&text)) {
            Some(trials) => Kept::Whole(trials),
            None => all_hidden("is damaged"),
        },
    }
}

fn text(directory: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(directory.join(NAME), flags, Mode::empty())?;
    let mut text = String::new();
    std::fs::File::from(file)
        .take(LONGEST)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Writes what is remembered, on the disk when this returns.
pub(super) fn write(memory: &Memory, trials: &Trials) -> io::Result<()> {
    write_in(memory.directory()?, trials)
}

fn write_in(directory: &Path, trials: &Trials) -> io::Result<()> {
    let new = directory.join("trials.new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = std::fs::File::from(file);
    file.write_all(trials.to_text().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, directory.join(NAME))?;
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_not_called_damaged() {
        let why = |make: fn(&Path)| {
            let directory = tempfile::tempdir().unwrap();
            make(&directory.path().join(NAME));
            match read(&Memory::In(directory.path().to_owned()), &BTreeSet::new()) {
                Kept::Whole(_) => None,
                Kept::Damaged(_, why) => Some(why),
            }
        };
        assert_eq!(why(|_| ()), None);
        // A directory can be opened, and not be read.
        let unreadable = why(|path| std::fs::create_dir(path).unwrap()).unwrap();
        assert!(
            unreadable.contains("cannot be read (Is a directory"),
            "{unreadable}"
        );
        let damaged: [fn(&Path); 2] = [
            |path| std::fs::write(path, "{").unwrap(),
            |path| std::fs::write(path, [0xff]).unwrap(),
        ];
        for make in damaged {
            assert_eq!(why(make).as_deref(), Some("is damaged"));
        }
    }
}
