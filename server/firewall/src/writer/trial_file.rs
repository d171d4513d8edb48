//! [IO] The file that remembers trials, in the directory that the writer works in.
//!
//! Written whole or not at all. A damaged one hides everything for good.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use spa_proto::Service;
use spad_config::ConfigTexts;
use spad_model::{Paths, check_line};
use spad_sys::clock;

use crate::trial::Trials;

/// Where trials are remembered.
#[derive(Clone, Debug)]
pub(super) enum GuardDir {
    /// In this directory.
    Present(PathBuf),
    /// It was lost, for the server was set up long ago; written to this directory again.
    Lost(PathBuf),
    /// The directory cannot be used.
    Unusable,
}

impl GuardDir {
    /// The memory of these paths, for who may read all of them. `spad init` makes the file.
    pub(super) fn for_paths(paths: &Paths) -> Self {
        let directory = paths.guard_state();
        Self::detect(directory.clone(), paths, &directory)
    }

    /// The same, which is to be found at `directory` from now on.
    pub(super) fn detect(at: PathBuf, paths: &Paths, directory: &Path) -> Self {
        let is_missing = |path: &Path| matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
        match !is_missing(&paths.server_key()) && is_missing(&directory.join(NAME)) {
            true => Self::Lost(at),
            false => Self::Present(at),
        }
    }

    /// Keeps the texts of a configuration that is in force for a start with a broken one.
    pub(super) fn save_last_good(&self, texts: &ConfigTexts) {
        let directory = self.directory();
        if let Err(error) = directory.and_then(|directory| texts.save(directory)) {
            super::warn(&format!(
                "cannot keep this configuration for a start with a broken one: {error}\n  help: check the disk, and remove what stands in its place in guard/ of the state directory"
            ));
        }
    }

    /// Where it can be written.
    pub(super) fn directory(&self) -> io::Result<&Path> {
        match self {
            Self::Present(directory) | Self::Lost(directory) => Ok(directory),
            Self::Unusable => Err(io::Error::other("its directory cannot be used")),
        }
    }
}

/// Makes an empty memory of a server that is set up.
///
/// # Errors
/// What the file system says.
pub fn create(paths: &Paths) -> io::Result<()> {
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
/// Beside it, written after it: its number.
const NUMBER: &str = "trials.number";
/// The longest file that is read, in bytes; 65,536 ports fit.
const MAX_LENGTH: u64 = 16 << 20;

/// What was kept.
pub(super) struct TrialFile {
    /// How the hidden ports stand.
    pub(super) trials: Trials,
    /// What is wrong with the file, and which ports stay hidden for it.
    pub(super) problem: Option<String>,
}

/// Reads what is remembered. Where that cannot be what was written last, everything is hidden
/// for good; so is a port that was hidden before and is not remembered.
pub(super) fn read(guard_dir: &GuardDir, hidden: &BTreeSet<Service>) -> TrialFile {
    let assume_hidden = |why: &str| TrialFile {
        trials: Trials::assume_hidden(hidden),
        problem: Some(format!(
            "the file trials.json of the firewall writer {why}: every hidden port stays hidden, without a trial"
        )),
    };
    let directory = match guard_dir {
        GuardDir::Present(directory) => directory,
        GuardDir::Lost(_) => return assume_hidden("is missing"),
        GuardDir::Unusable => return assume_hidden("cannot be read"),
    };
    let mut trials = match bytes(directory, NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Trials::default(),
        Err(error) => return assume_hidden(&format!("cannot be read ({error})")),
        Ok(bytes) => match (Trials::from_bytes(&bytes), last_number(directory)) {
            (None, _) => return assume_hidden("is damaged"),
            (Some(_), None) => return assume_hidden("is beside a damaged trials.number"),
            (Some((_, number)), Some(last)) if number < last => {
                return assume_hidden("is an older one than was written last");
            }
            (Some((trials, _)), Some(_)) => trials,
        },
    };
    let before = spad_config::saved_hidden_ports(directory, clock::now().wall);
    let before = before.map_or_else(
        || hidden.clone(),
        |before| before.intersection(hidden).copied().collect(),
    );
    let lost: Vec<String> = trials
        .keep_hidden(&before)
        .iter()
        .map(ToString::to_string)
        .collect();
    let problem = (!lost.is_empty()).then(|| {
        let lost = lost.join(", ");
        format!("the file trials.json of the firewall writer does not hold {lost}, hidden before as far as is known: stays hidden, without a trial")
    });
    TrialFile { trials, problem }
}

/// The number of the last writing; 0 where none is kept, `None` where it is damaged.
fn last_number(directory: &Path) -> Option<u64> {
    match bytes(directory, NUMBER) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(0),
        bytes => {
            let bytes = bytes.ok()?;
            let text = std::str::from_utf8(check_line::verify(&bytes)?).ok()?;
            text.trim_end().parse().ok()
        }
    }
}

fn bytes(directory: &Path, name: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(directory.join(name), flags, Mode::empty())?;
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(MAX_LENGTH)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes what is remembered, on the disk when this returns.
pub(super) fn write(guard_dir: &GuardDir, trials: &Trials) -> io::Result<()> {
    write_in(guard_dir.directory()?, trials)
}

fn write_in(directory: &Path, trials: &Trials) -> io::Result<()> {
    let present = bytes(directory, NAME).ok();
    let present = present.and_then(|bytes| Trials::from_bytes(&bytes));
    let present = present.map_or(0, |(_, number)| number);
    let last = last_number(directory).unwrap_or(0);
    let number = present.max(last).saturating_add(1);
    replace_file(directory, NAME, &trials.to_text(number))?;
    // Killed before this, the file is newer than the last number, and taken as it is.
    let text = format!("{number}\n");
    let line = check_line::compute(&[text.as_bytes()]);
    replace_file(directory, NUMBER, &(text + &line))
}

fn replace_file(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    let new = directory.join("trials.new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = std::fs::File::from(file);
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, directory.join(name))?;
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
            read(
                &GuardDir::Present(directory.path().to_owned()),
                &BTreeSet::new(),
            )
            .problem
        };
        assert_eq!(why(|_| ()), None);
        assert_eq!(
            why(|path| write_in(path.parent().unwrap(), &Trials::default()).unwrap()),
            None
        );
        // A directory can be opened, and not be read.
        let unreadable = why(|path| std::fs::create_dir(path).unwrap()).unwrap();
        assert!(
            unreadable.contains("cannot be read (Is a directory"),
            "{unreadable}"
        );
        let damaged: [fn(&Path); 3] = [
            |path| std::fs::write(path, "{").unwrap(),
            |path| std::fs::write(path, [0xff]).unwrap(),
            // Without a check value.
            |path| std::fs::write(path, "{}").unwrap(),
        ];
        for make in damaged {
            let why = why(make).unwrap();
            assert!(why.contains("firewall writer is damaged"), "{why}");
        }
    }

    #[test]
    fn an_older_file_and_a_damaged_number_hide_everything_and_a_newer_file_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let problem = || {
            read(
                &GuardDir::Present(directory.path().to_owned()),
                &BTreeSet::new(),
            )
            .problem
        };
        write_in(directory.path(), &Trials::default()).unwrap();
        let [first, number] = [NAME, NUMBER].map(|name| std::fs::read(at(name)).unwrap());
        write_in(directory.path(), &Trials::default()).unwrap();
        assert_eq!(problem(), None);
        let last = std::fs::read(at(NAME)).unwrap();
        std::fs::write(at(NAME), first).unwrap();
        assert!(problem().unwrap().contains("is an older one"));
        std::fs::write(at(NAME), last).unwrap();
        // As after a kill between the two.
        std::fs::write(at(NUMBER), number).unwrap();
        assert_eq!(problem(), None);
        std::fs::write(at(NUMBER), "1\n").unwrap();
        assert!(problem().unwrap().contains("damaged trials.number"));
        write_in(directory.path(), &Trials::default()).unwrap();
        assert_eq!(problem(), None, "written anew it is whole again");
    }
}
