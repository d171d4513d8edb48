//! [IO] The daemon's own log, on standard error.
//!
//! systemd adds the time there; on a terminal it is wanted. Audit lines are
//! another matter: see `audit`.

use std::io::IsTerminal;

/// Starts the log. Called once, before anything can be said.
pub(super) fn start() {
    let terminal = std::io::stderr().is_terminal();
    let format = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
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
