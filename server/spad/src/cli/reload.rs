//! `spad reload`: the running daemon takes the configuration, or says why not.

use super::daemon_client::run_in_daemon;
use super::{CliResult, Options};
use crate::control::Request;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Runs it.
pub(crate) fn run(options: &Options, _arguments: &Arguments) -> CliResult {
    run_in_daemon(options, &Request::Reload)
}
