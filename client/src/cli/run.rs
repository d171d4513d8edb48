//! `spa run`: asks for a command that the server's configuration declares.

use std::path::Path;

use spa_proto::{Addresses, CommandName};

use super::args::RunOptions;
use super::asking::{all, checked, with_keys};
use super::say::{Failure, Say};
use crate::ask::{Patience, Wish};
use crate::config::file;
use crate::exit::Exit;
use crate::knock::Want;
use crate::run::run as ask_to_run;

pub(super) fn run(options: &RunOptions, directory: &Path, say: &Say) -> Result<Exit, Failure> {
    let command: CommandName = (options.name.parse())
        .map_err(|error| Failure::usage(format!("{error}; the server's `[commands]` has them")))?;
    if options.host.contains(':') {
        return Err(Failure::usage(
            "a command is run by a host, not by a service; leave out what follows the colon",
        ));
    }
    let config = file::load(directory).map_err(Failure::local)?;
    let asks = checked(&config, std::slice::from_ref(&options.host))?;
    let asks = with_keys(directory, asks)?;
    let wish = Wish {
        given: Addresses::NONE,
        via: options.way.via,
        family: options.way.families.family(),
        patience: if options.dry_run {
            Patience::Rehearse
        } else {
            Patience::None
        },
    };
    let want = Want::Run { command };
    let tell = |line: &str| say.detail(line);
    all(&asks, say, |ask, knocker| {
        ask_to_run(ask, knocker, &want, &wish, &tell)
    })
}
