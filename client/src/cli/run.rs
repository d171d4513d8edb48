//! `spa run`: asks for a command that the server's configuration declares.

use std::path::Path;

use spa_proto::{Addresses, CommandName};

use super::args::RunOptions;
use super::output::{Failure, Output};
use super::run_all::{checked_targets, run_all, with_keys};
use crate::config::file;
use crate::exit::Exit;
use crate::packet::RequestKind;
use crate::request::{SendOptions, WaitMode};
use crate::run::run as ask_to_run;

pub(super) fn run(
    options: &RunOptions,
    directory: &Path,
    output: &Output,
) -> Result<Exit, Failure> {
    let command: CommandName = (options.name.parse())
        .map_err(|error| Failure::usage(format!("{error}; the server's `[commands]` has them")))?;
    if options.host.contains(':') {
        return Err(Failure::usage(
            "a command is run by a host, not by a service; leave out what follows the colon",
        ));
    }
    let config = file::load(directory).map_err(Failure::local)?;
    let targets = checked_targets(&config, std::slice::from_ref(&options.host))?;
    let targets = with_keys(directory, targets)?;
    let send_options = SendOptions {
        addresses: Addresses::NONE,
        via: options.carrier.via,
        family: options.carrier.families.family(),
        wait: if options.dry_run {
            WaitMode::DryRun
        } else {
            WaitMode::NoWait
        },
    };
    let kind = RequestKind::Run { command };
    let progress = |line: &str| output.detail(line);
    run_all(&targets, output, |target, builder| {
        ask_to_run(target, builder, &kind, &send_options, &progress)
    })
}
