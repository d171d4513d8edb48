//! `spad client reset`: the administrator's own exception to "never twice", for one client.

use crate::cli::live::{self, Outcome};
use crate::cli::outcome::print;
use crate::cli::{Failure, Options, Run, ask};
use crate::config::ClientName;
use crate::control::Request;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The client's name
    name: ClientName,
    /// Do not ask back
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Run {
    let name = &arguments.name;
    ask::sure(
        &format!("Packets that `{name}` sent before now could be used once more. Go on?"),
        arguments.yes,
    )?;
    match live::request(
        &options.paths(),
        &Request::ResetClient {
            client: name.to_string(),
        },
    ) {
        Outcome::Done(message) => print(message.trim_end()),
        Outcome::Refused(message) => Err(Failure::Failed(message)),
        Outcome::NotRunning => Err(Failure::with_help(
            "only the running daemon can do this",
            "spad run, then this again",
        )),
    }
}
