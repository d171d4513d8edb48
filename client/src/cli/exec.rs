//! `spa exec`: opens, then becomes the command.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::args::ExecOptions;
use super::asking::{all, checked, with_keys};
use super::given;
use super::say::{Failure, Say};
use crate::ask::{Patience, Wish};
use crate::config::file;
use crate::exit::Exit;
use crate::knock::{Admits, Want};
use crate::open::open;

pub(super) fn run(options: &ExecOptions, directory: &Path, say: &Say) -> Result<Exit, Failure> {
    let config = file::load(directory).map_err(Failure::local)?;
    let asks = checked(&config, std::slice::from_ref(&options.target))?;
    let asks = with_keys(directory, asks)?;
    let family = options.way.families.family();
    let given = given::learned(
        &options.grant.addresses,
        asks.iter().map(|(ask, _)| ask),
        family,
        say,
    )?;
    let wish = Wish {
        given,
        via: options.way.via,
        family,
        patience: Patience::Wait(options.timeout),
    };
    let tell = |line: &str| say.detail(line);
    let exit = all(&asks, say, |ask, knocker| {
        let want = Want::Open {
            services: ask.services.clone(),
            ttl: options.grant.ttl.unwrap_or(0),
            admits: Admits::All,
        };
        open(ask, knocker, &want, &wish, &tell)
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
