//! [IO] The daemon's own log, on standard error.
//!
//! systemd adds the time there, and takes each line's priority from its beginning; on a
//! terminal the time is wanted. Audit lines are another matter: see `audit`.

use std::io::{IsTerminal, Write};

use spad_sys::journald;
use spad_sys::journald::Priority;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Starts the log. Called once, before anything can be said.
pub(super) fn start() {
    let terminal = std::io::stderr().is_terminal();
    let format = tracing_subscriber::fmt()
        .with_writer(StandardError)
        .with_target(false)
        .with_ansi(false)
        // What cannot be written to the log must not end the daemon: it would be told of by
        // `eprintln!`, which panics where standard error takes nothing.
        .log_internal_errors(false)
        .with_max_level(tracing::Level::INFO);
    // A second start in one process (tests) keeps the first log.
    let _first_stays = if terminal {
        format.compact().try_init()
    } else {
        format.compact().without_time().try_init()
    };
}

/// Gives each line to standard error, as who reads that wants it.
struct StandardError;

/// Lines of one priority.
struct LineWriter(Priority);

impl<'a> MakeWriter<'a> for StandardError {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter(Priority::Info)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> LineWriter {
        LineWriter(match *metadata.level() {
            Level::ERROR => Priority::Error,
            Level::WARN => Priority::Warning,
            _ => Priority::Info,
        })
    }
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let lines = journald::for_stderr(self.0, &text);
        std::io::stderr().lock().write_all(lines.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}
