//! `spad completions`: what a shell needs to complete our commands.

use super::{CliResult, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which shell
    shell: clap_complete::Shell,
}

pub(crate) fn run(arguments: &Arguments) -> CliResult {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::definition(), "spad", &mut text);
    output::print(String::from_utf8_lossy(&text).trim_end())
}
