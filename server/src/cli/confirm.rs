//! `spad confirm`: newly hidden services stay hidden.

use super::live::do_in_daemon;
use super::{Options, Run};
use crate::control::Request;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Runs it.
pub(crate) fn run(options: &Options, _arguments: &Arguments) -> Run {
    do_in_daemon(options, &Request::Confirm)
}
