//! `spad grant`: an administrator lets an address in by hand.

use std::time::Duration;

use super::daemon_client::run_in_daemon;
use super::{CliResult, Options, duration};
use crate::control::Request;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The service, by its name or as one port: tcp/22
    service: String,
    /// The addresses and networks that may reach it
    #[arg(long, required = true, num_args = 1.., value_name = "ADDR[/PREFIX]")]
    from: Vec<String>,
    /// For how long: up to `[grants] admin_max_ttl`
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = duration::parse)]
    ttl: Duration,
}

/// Runs it.
pub(crate) fn run(options: &Options, arguments: &Arguments) -> CliResult {
    let request = Request::Grant {
        service: arguments.service.clone(),
        from: arguments.from.clone(),
        ttl_s: arguments.ttl.as_secs(),
    };
    run_in_daemon(options, &request)
}
