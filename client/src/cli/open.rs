//! `spa open`.

use std::path::Path;

use super::args::OpenOptions;
use super::asking::{all, checked, with_keys};
use super::given;
use super::hold::{self, Ending};
use super::say::{Failure, Say};
use crate::ask::{Patience, Wish};
use crate::config::file;
use crate::exit::Exit;
use crate::knock::{Admits, Want};
use crate::open::open;
use crate::target::Ask;

pub(super) fn run(options: &OpenOptions, directory: &Path, say: &Say) -> Result<Exit, Failure> {
    let every = hold::interval(options)?;
    let config = file::load(directory).map_err(Failure::local)?;
    let asks = checked(&config, &options.request.targets)?;
    let asks = with_keys(directory, asks)?;
    let family = options.way.families.family();
    let given = if options.dry_run {
        given::written_alone(&options.request.grant.addresses, "--dry-run")?
    } else {
        given::learned(
            &options.request.grant.addresses,
            asks.iter().map(|(ask, _)| ask),
            family,
            say,
        )?
    };
    let wish = Wish {
        given,
        via: options.way.via,
        family,
        patience: match (options.dry_run, options.no_wait || options.once) {
            (true, _) => Patience::Rehearse,
            (false, true) => Patience::None,
            (false, false) => Patience::Wait(options.timeout),
        },
    };
    let ttl = options.request.grant.ttl.unwrap_or(0);
    let admits = if options.once {
        Admits::Once
    } else {
        Admits::All
    };
    let tell = |line: &str| say.detail(line);
    let want = |ask: &Ask<'_>| Want::Open {
        services: ask.services.clone(),
        ttl,
        admits,
    };
    let exit = all(&asks, say, |ask, knocker| {
        open(ask, knocker, &want(ask), &wish, &tell)
    })?;
    if let Some(every) = every
        && matches!(exit, Exit::Open | Exit::NotProbed)
    {
        let ending = Ending::await_signals()?;
        hold::hold(&asks, options, every, &ending, want, say);
    }
    Ok(exit)
}
