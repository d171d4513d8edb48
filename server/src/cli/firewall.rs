//! `spad firewall`: the firewall's table.

use super::{Failure, Options, Run};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show the table as it is declared
    #[command(after_help = "Example:\n  spad firewall show")]
    Show,
    /// Load the table now, as the boot does
    #[command(after_help = "Example:\n  spad firewall load")]
    Load,
    /// Take the table away: everything hidden can be reached again
    #[command(after_help = "Example:\n  spad firewall remove")]
    Remove,
}

/// Runs it.
pub(crate) fn run(_options: &Options, _command: &Command) -> Run {
    Err(Failure::Failed(
        "`spad firewall` is not written yet".to_owned(),
    ))
}
