//! `spad replay`: the memory of used packets.

use super::daemon_client::run_in_daemon;
use super::{CliResult, Options};
use crate::control::Request;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Forget which packets were used: the administrator's own exception, after a clock gone wrong
    #[command(after_help = "Example:\n  spad replay reset --yes")]
    Reset {
        /// Do not ask back
        #[arg(long)]
        yes: bool,
    },
}

/// Runs it.
pub(crate) fn run(options: &Options, command: &Command) -> CliResult {
    let Command::Reset { yes } = command;
    super::prompt::confirm(
        "Packets used before now could be used once more. Forget them?",
        *yes,
    )?;
    run_in_daemon(options, &Request::ResetReplay)
}
