//! `spa close`: the inverse of `spa open`.

use std::path::Path;

use spa_proto::Services;

use super::args::CloseOptions;
use super::asking::{all, checked, with_keys};
use super::given;
use super::say::{Failure, Say};
use crate::ask::{Patience, Wish};
use crate::close::close;
use crate::config::file;
use crate::exit::Exit;
use crate::knock::Want;

pub(super) fn run(options: &CloseOptions, directory: &Path, say: &Say) -> Result<Exit, Failure> {
    let config = file::load(directory).map_err(Failure::local)?;
    let asks = checked(&config, &options.targets)?;
    let asks = with_keys(directory, asks)?;
    let family = options.way.families.family();
    let given = if options.dry_run {
        given::written_alone(&options.addresses, "--dry-run")?
    } else {
        given::learned(
            &options.addresses,
            asks.iter().map(|(ask, _)| ask),
            family,
            say,
        )?
    };
    let wish = Wish {
        given,
        via: options.way.via,
        family,
        patience: match (options.dry_run, options.no_wait) {
            (true, _) => Patience::Rehearse,
            (false, true) => Patience::None,
            (false, false) => Patience::Wait(options.timeout),
        },
    };
    let tell = |line: &str| say.detail(line);
    all(&asks, say, |ask, knocker| {
        // A bare host means all: a default that leaves something open would surprise.
        let services = if ask.is_named {
            ask.services.clone()
        } else {
            Services::default()
        };
        close(ask, knocker, &Want::Close { services }, &wish, &tell)
    })
}
