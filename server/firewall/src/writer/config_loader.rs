//! [IO] The configuration read beside the work: a hundred thousand files take a second, and no
//! knock and nothing that is to be closed waits for them.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

use spad_config::{ConfigTexts, Loaded};
use spad_sys::clock;

/// What was read, or what is wrong with it.
type LoadResult = Result<(Loaded, ConfigTexts), String>;

/// A thread that reads the configuration for a reload. Its descriptor is readable once it has.
#[derive(Debug)]
pub(super) struct ConfigLoader {
    thread: JoinHandle<LoadResult>,
    /// The other end is closed when the thread ends, however that comes.
    done: PipeReader,
}

impl ConfigLoader {
    /// Begins to read; or why it does not.
    pub(super) fn start(reading: &mut Option<Self>, configuration: &Path) -> Result<(), String> {
        if reading.is_some() {
            return Err("another reload is under way".to_owned());
        }
        let begun = Self::spawn(configuration.to_owned());
        *reading = Some(begun.map_err(|error| format!("cannot read beside the work: {error}"))?);
        Ok(())
    }

    fn spawn(configuration: PathBuf) -> io::Result<Self> {
        let (ended, end) = io::pipe()?;
        let thread = Builder::new().name("reading".to_owned()).spawn(move || {
            let _open_until_the_end = end;
            let now = clock::now().wall;
            spad_config::load_texts(&configuration, now).map_err(|findings| findings.to_string())
        })?;
        Ok(Self {
            thread,
            done: ended,
        })
    }

    /// Whether all was read.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// What was read, where it was; else it goes on.
    pub(super) fn take_result(reading: &mut Option<Self>) -> Option<LoadResult> {
        let finished = reading.take_if(|reading| reading.is_finished())?;
        let failed = |_panic| Err("the configuration could not be read to its end".to_owned());
        Some(finished.thread.join().unwrap_or_else(failed))
    }
}

impl AsFd for ConfigLoader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}
