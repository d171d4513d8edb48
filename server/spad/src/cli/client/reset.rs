//! `spad client reset`: the administrator's own exception to "never twice", for one client.

use spad_model::ClientName;

use crate::cli::daemon_client::run_in_daemon;
use crate::cli::{CliResult, Options, prompt};
use crate::control::Request;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The client's name
    name: ClientName,
    /// Do not ask back
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> CliResult {
    let name = &arguments.name;
    prompt::confirm(
        &format!("Packets that `{name}` sent before now could be used once more. Go on?"),
        arguments.yes,
    )?;
    run_in_daemon(
        options,
        &Request::ResetClient {
            client: name.clone(),
        },
    )
}
