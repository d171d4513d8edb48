//! `spa completions SHELL`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Arguments;
use super::say::{Failure, Say, stdout};
use crate::exit::Exit;

pub(super) fn run(shell: Shell, _: &Say) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "spa", &mut script);
    stdout(&script);
    Ok(Exit::Open)
}
