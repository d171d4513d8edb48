//! `spad revoke`: closes now what is open, for a client or for an address.

use super::daemon_client::run_in_daemon;
use super::{CliResult, Failure, Options};
use crate::control::Request;
use crate::control::message::unknown_holder;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The client, or the door of [[knock]], whose grants are closed; with --from the service, by its name or as tcp/22
    #[arg(value_name = "NAME|SERVICE")]
    what: String,
    /// Close what is open of the service for these, whoever holds it
    #[arg(long, num_args = 1.., value_name = "ADDR[/PREFIX]")]
    from: Vec<String>,
    /// End established connections too: all from these addresses to these services
    #[arg(long)]
    cut: bool,
}

/// Runs it.
pub(crate) fn run(options: &Options, arguments: &Arguments) -> CliResult {
    let (what, cut) = (arguments.what.clone(), arguments.cut);
    let request = if arguments.from.is_empty() {
        // A text that cannot be a name is known to no daemon.
        let client = what
            .parse()
            .map_err(|_not_a_name| Failure::new(unknown_holder(&what)))?;
        Request::Revoke { client, cut }
    } else {
        let from = arguments.from.clone();
        let service = what;
        Request::RevokeFrom { service, from, cut }
    };
    run_in_daemon(options, &request)
}
