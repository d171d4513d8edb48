//! `spa exec`: opens, then becomes the command.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::address_source;
use super::args::ExecOptions;
use super::output::{Failure, Output};
use super::run_all::{checked_targets, run_all, with_keys};
use crate::config::file;
use crate::exit::Exit;
use crate::open::open;
use crate::packet::{ConnectionLimit, RequestKind};
use crate::request::{SendOptions, WaitMode};

pub(super) fn run(
    options: &ExecOptions,
    directory: &Path,
    output: &Output,
) -> Result<Exit, Failure> {
    let config = file::load(directory).map_err(Failure::local)?;
    let targets = checked_targets(&config, std::slice::from_ref(&options.target))?;
    let targets = with_keys(directory, targets)?;
    let family = options.carrier.families.family();
    let addresses = address_source::resolve_addresses(
        &options.grant.addresses,
        targets.iter().map(|(target, _)| target),
        family,
        output,
    )?;
    let send_options = SendOptions {
        addresses,
        via: options.carrier.via,
        family,
        wait: WaitMode::Wait(options.timeout),
    };
    let progress = |line: &str| output.detail(line);
    let exit = run_all(&targets, output, |target, builder| {
        let kind = RequestKind::Open {
            services: target.services.clone(),
            ttl: options.grant.ttl.unwrap_or(0),
            limit: ConnectionLimit::All,
        };
        open(target, builder, &kind, &send_options, &progress)
    })?;
    if !matches!(exit, Exit::Open | Exit::NotProbed) {
        return Ok(exit);
    }
    let Some((program, arguments)) = options.command.split_first() else {
        return Err(Failure::usage("name the command to run after `--`"));
    };
    let error = Command::new(program).args(arguments).exec();
    let program = program.display();
    Err(Failure::local(format!(
        "`{program}` cannot be started ({error})"
    )))
}
