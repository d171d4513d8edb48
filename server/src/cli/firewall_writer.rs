//! `spad firewall-writer`: the privileged process, started by `spad run`.

use super::{Failure, Options, Run};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Runs it.
pub(crate) fn run(_options: &Options, _arguments: &Arguments) -> Run {
    Err(Failure::Failed(
        "`spad firewall-writer` is not written yet".to_owned(),
    ))
}
