//! `spad firewall-writer`: the privileged process, started by `spad run`.

use std::os::fd::AsFd as _;

use spad_firewall::writer;

use super::{CliResult, Options};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Runs it on standard input, which is the engine's socket.
pub(crate) fn run(options: &Options, _arguments: &Arguments) -> CliResult {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    writer::run(socket, &options.paths())?;
    Ok(())
}
