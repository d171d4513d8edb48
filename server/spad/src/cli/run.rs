//! `spad run`: the daemon, in the foreground.

use super::{CliResult, Failure, Options};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Runs it until it is told to stop.
pub(crate) fn run(options: &Options, _arguments: &Arguments) -> CliResult {
    crate::daemon::run(&options.paths()).map_err(|error| Failure::explained(&error))
}
