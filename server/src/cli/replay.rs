//! `spad replay`: the memory of used packets.

use super::live::do_in_daemon;
use super::{Options, Run};
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
pub(crate) fn run(options: &Options, command: &Command) -> Run {
    let Command::Reset { yes } = command;
    super::ask::sure(
        "Packets used before now could be used once more. Forget them?",
        *yes,
    )?;
    do_in_daemon(options, &Request::ResetReplay)
}
