//! [IO] One process at a time loads the table: the daemon's writer, or `spad firewall load`
//! beside it. Each would take what the other does for the work of a stranger.
//!
//! An advisory lock (flock) on a file in the writer's directory. Nobody waits for it for ever:
//! hiding comes first, and a table loaded twice hides as well.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use spad_sys::clock;

const NAME: &str = "loading";
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The lock; none where there is no directory for it.
#[derive(Debug)]
pub(super) struct LoadLock(Option<PathBuf>);

/// It is taken as long as this lives.
#[derive(Debug)]
pub(super) struct LoadLockGuard {
    _file: Option<File>,
}

impl LoadLock {
    pub(super) fn new(directory: Option<&Path>) -> Self {
        Self(directory.map(|directory| directory.join(NAME)))
    }

    /// Takes it; none where another process has it. One that cannot be had is in nobody's way.
    pub(super) fn try_acquire(&self) -> Option<LoadLockGuard> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = self.0.as_ref();
        let file = path.and_then(|path| open(path, flags, Mode::RUSR | Mode::WUSR).ok());
        let file = file.map(File::from);
        let locked = file
            .as_ref()
            .map(|file| flock(file, FlockOperation::NonBlockingLockExclusive));
        match locked {
            Some(Err(Errno::WOULDBLOCK)) => None,
            _ => Some(LoadLockGuard { _file: file }),
        }
    }

    /// The same; waits for the other for so long at most.
    pub(super) fn acquire_within(&self, limit: Duration) -> Option<LoadLockGuard> {
        let end = clock::now().boot.saturating_add(limit);
        loop {
            let taken = self.try_acquire();
            if taken.is_some() || clock::now().boot >= end {
                return taken;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_it_and_nobody_waits_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (
            LoadLock::new(Some(directory.path())),
            LoadLock::new(Some(directory.path())),
        );
        let taken = one.try_acquire().unwrap();
        assert!(other.try_acquire().is_none());
        assert!(other.acquire_within(Duration::from_millis(30)).is_none());
        drop(taken);
        let taken = other.acquire_within(Duration::from_secs(5));
        assert!(taken.is_some() && one.try_acquire().is_none());
    }

    #[test]
    fn where_there_is_no_file_nothing_is_in_the_way() {
        let nowhere = LoadLock::new(Some(Path::new("/nonexistent")));
        assert!(nowhere.try_acquire().is_some() && nowhere.try_acquire().is_some());
    }
}
