//! `spa completions SHELL`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Arguments;
use super::output::{Failure, Output, stdout};
use crate::exit::Exit;

pub(super) fn run(shell: Shell, _: &Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "spa", &mut script);
    stdout(&script);
    Ok(Exit::Open)
}
