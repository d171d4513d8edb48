//! `spad import`: other programs' configuration becomes ours. One file a program.

mod knockd;
mod write;

use super::{CliResult, Options};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Turn knockd's doors into [[knock]] of spad.toml
    #[command(
        after_help = "Example:\n  spad import knockd /etc/knockd.conf --dry-run\n  spad import knockd /etc/knockd.conf\n\nAdds to spad.toml and changes nothing that stands there; said twice, it adds nothing twice.\nWhat cannot be carried over is named with its line. Nothing of the file is run."
    )]
    Knockd(knockd::Arguments),
}

pub(crate) fn run(options: &Options, command: &Command) -> CliResult {
    match command {
        Command::Knockd(arguments) => knockd::run(options, arguments),
    }
}
