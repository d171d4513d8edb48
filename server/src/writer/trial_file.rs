//! [IO] The file that remembers trials, in the directory that the writer works in.
//!
//! Written whole or not at all. A damaged one hides everything for good.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use spa_proto::Service;

use crate::firewall::trial::Trials;

const NAME: &str = "trials.json";
/// The longest file that is read, in bytes; 65,536 ports fit.
const LONGEST: u64 = 16 << 20;

/// What was kept.
pub(super) enum Kept {
    /// As it was written, or nothing yet.
    Whole(Trials),
    /// The file is damaged, so everything is hidden for good.
    Damaged(Trials),
}

/// Reads the file in `directory`.
pub(super) fn read(directory: &Path, hidden: &BTreeSet<Service>) -> Kept {
    match text(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::Whole(Trials::default()),
        text => match text.ok().and_then(|text| Trials::from_text(&text)) {
            Some(trials) => Kept::Whole(trials),
            None => Kept::Damaged(Trials::all_hidden(hidden)),
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

/// Writes the file in `directory`, on the disk when this returns.
pub(super) fn write(directory: &Path, trials: &Trials) -> io::Result<()> {
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
