//! `spa close`: the inverse of `spa open`.

use std::path::Path;

use spa_proto::Services;

use super::address_source;
use super::args::CloseOptions;
use super::output::{Failure, Output};
use super::run_all::{checked_targets, run_all, with_keys};
use crate::close::close;
use crate::config::file;
use crate::exit::Exit;
use crate::packet::RequestKind;
use crate::request::{SendOptions, WaitMode};

pub(super) fn run(
    options: &CloseOptions,
    directory: &Path,
    output: &Output,
) -> Result<Exit, Failure> {
    let config = file::load(directory).map_err(Failure::local)?;
    let targets = checked_targets(&config, &options.targets)?;
    let targets = with_keys(directory, targets)?;
    let family = options.carrier.families.family();
    let addresses = if options.dry_run {
        address_source::literal_addresses_only(&options.addresses, "--dry-run")?
    } else {
        address_source::resolve_addresses(
            &options.addresses,
            targets.iter().map(|(target, _)| target),
            family,
            output,
        )?
    };
    let send_options = SendOptions {
        addresses,
        via: options.carrier.via,
        family,
        wait: match (options.dry_run, options.no_wait) {
            (true, _) => WaitMode::DryRun,
            (false, true) => WaitMode::NoWait,
            (false, false) => WaitMode::Wait(options.timeout),
        },
    };
    let progress = |line: &str| output.detail(line);
    run_all(&targets, output, |target, builder| {
        // A bare host means all: a default that leaves something open would surprise.
        let services = if target.is_named {
            target.services.clone()
        } else {
            Services::default()
        };
        close(
            target,
            builder,
            &RequestKind::Close { services },
            &send_options,
            &progress,
        )
    })
}
