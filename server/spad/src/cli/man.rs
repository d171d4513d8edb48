//! `spad man`: manual pages, made from the definition of the command line.

use std::path::{Path, PathBuf};

use super::{CliResult, Failure, output};

/// The section of commands for administrators.
const SECTION: &str = "8";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write every page into this directory instead of printing the first
    directory: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> CliResult {
    // `help` gets no page, so no page may name it.
    let mut command = super::definition().disable_help_subcommand(true);
    command.build();
    match &arguments.directory {
        None => output::print(String::from_utf8_lossy(&page(&command, "spad")?).trim_end()),
        Some(directory) => {
            std::fs::create_dir_all(directory)
                .map_err(|error| Failure::new(format!("{}: {error}", directory.display())))?;
            write_all(&command, "spad", directory)
        }
    }
}

/// The page of one command, as `man` reads it.
fn page(command: &clap::Command, name: &str) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let command = command.clone().display_name(name.to_owned());
    clap_mangen::Man::new(command)
        .title(name.to_uppercase())
        .section(SECTION)
        .render(&mut text)?;
    Ok(text)
}

fn write_all(command: &clap::Command, name: &str, directory: &Path) -> CliResult {
    let path = directory.join(format!("{name}.{SECTION}"));
    let text = page(command, name)?;
    std::fs::write(&path, text)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    for sub in command.get_subcommands() {
        if !sub.is_hide_set() {
            write_all(sub, &format!("{name}-{}", sub.get_name()), directory)?;
        }
    }
    Ok(())
}
