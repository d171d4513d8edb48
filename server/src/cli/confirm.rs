//! `spad confirm`: ends the trial of newly hidden services.

use super::{Failure, Options, Run};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Runs it.
pub(crate) fn run(_options: &Options, _arguments: &Arguments) -> Run {
    Err(Failure::Failed(
        "`spad confirm` is not written yet".to_owned(),
    ))
}
