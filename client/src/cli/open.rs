//! `spa open`.

use std::path::Path;

use super::address_source;
use super::args::OpenOptions;
use super::hold::{self, StopSignal};
use super::output::{Failure, Output};
use super::run_all::{checked_targets, run_all, with_keys};
use crate::config::file;
use crate::exit::Exit;
use crate::open::open;
use crate::packet::{ConnectionLimit, RequestKind};
use crate::request::{SendOptions, WaitMode};
use crate::target::Target;

pub(super) fn run(
    options: &OpenOptions,
    directory: &Path,
    output: &Output,
) -> Result<Exit, Failure> {
    let every = hold::interval(options)?;
    let config = file::load(directory).map_err(Failure::local)?;
    let targets = checked_targets(&config, &options.request.targets)?;
    let targets = with_keys(directory, targets)?;
    let family = options.carrier.families.family();
    let addresses = if options.dry_run {
        address_source::literal_addresses_only(&options.request.grant.addresses, "--dry-run")?
    } else {
        address_source::resolve_addresses(
            &options.request.grant.addresses,
            targets.iter().map(|(target, _)| target),
            family,
            output,
        )?
    };
    let send_options = SendOptions {
        addresses,
        via: options.carrier.via,
        family,
        wait: match (options.dry_run, options.no_wait || options.once) {
            (true, _) => WaitMode::DryRun,
            (false, true) => WaitMode::NoWait,
            (false, false) => WaitMode::Wait(options.timeout),
        },
    };
    let ttl = options.request.grant.ttl.unwrap_or(0);
    let admits = if options.once {
        ConnectionLimit::Once
    } else {
        ConnectionLimit::All
    };
    let progress = |line: &str| output.detail(line);
    let kind = |target: &Target<'_>| RequestKind::Open {
        services: target.services.clone(),
        ttl,
        limit: admits,
    };
    let exit = run_all(&targets, output, |target, builder| {
        open(target, builder, &kind(target), &send_options, &progress)
    })?;
    if let Some(every) = every
        && matches!(exit, Exit::Open | Exit::NotProbed)
    {
        let stop = StopSignal::install()?;
        hold::hold(&targets, options, every, &stop, kind, output);
    }
    Ok(exit)
}
