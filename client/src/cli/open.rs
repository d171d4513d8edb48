//! `spa open`.

use std::path::Path;

use super::args::OpenOptions;
use super::asking::{all, checked, with_keys};
use super::given;
use super::say::{Failure, Say};
use crate::ask::{Patience, Wish};
use crate::config::file;
use crate::exit::Exit;
use crate::knock::{Admits, Want};
use crate::open::open;

pub(super) fn run(options: &OpenOptions, directory: &Path, say: &Say) -> Result<Exit, Failure> {
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
    all(&asks, say, |ask, knocker| {
        let services = ask.services.clone();
        let want = Want::Open {
            services,
            ttl,
            admits,
        };
        open(ask, knocker, &want, &wish, &tell)
    })
}
