//! `spa man`: manual pages, made from the same grammar that reads the command line.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::args::Arguments;
use super::output::{Failure, Output, stdout};
use crate::exit::Exit;

/// What the page of `spa` says besides its commands.
const EXTRA_SECTIONS: &str = r#".SH "EXIT STATUS"
.TP
0
the services answer; or the packets were sent, with \-\-no\-wait
.TP
2
the command line makes no sense
.TP
3
sent, and nothing there can be probed (UDP, or no port is known, or a command)
.TP
4
sent, still closed; of close: still open
.TP
5
refused; only a server that answers could say so, and none does yet
.TP
6
configuration or keys of this machine
.TP
7
the name has no address, or there is no way to it
.SH FILES
.TP
~/.config/spa/config.toml
the hosts
.TP
~/.config/spa/identity
this machine's secret key, mode 0600; it never leaves the machine
"#;

pub(super) fn run(
    command: &[String],
    directory: Option<&Path>,
    _: &Output,
) -> Result<Exit, Failure> {
    // `help` gets no page, so no page may name it.
    let mut grammar = Arguments::command().disable_help_subcommand(true);
    grammar.build();
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory)
            .and_then(|()| write_all(&grammar, "spa", directory))
            .map_err(|error| Failure::local(format!("{}: {error}", directory.display())))?;
        return Ok(Exit::Open);
    }
    let mut found = &grammar;
    let mut name = String::from("spa");
    for word in command {
        found = found.find_subcommand(word).ok_or_else(|| {
            Failure::usage(format!(
                "`{name}` has no command `{word}`; see `{name} --help`"
            ))
        })?;
        name = format!("{name}-{word}");
    }
    stdout(&page(found, &name).map_err(Failure::local)?);
    Ok(Exit::Open)
}

fn page(command: &Command, name: &str) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone().display_name(name.to_owned())).render(&mut page)?;
    if name == "spa" {
        page.extend_from_slice(EXTRA_SECTIONS.as_bytes());
    }
    Ok(page)
}

fn write_all(command: &Command, name: &str, directory: &Path) -> io::Result<()> {
    std::fs::write(directory.join(format!("{name}.1")), page(command, name)?)?;
    for command in command.get_subcommands() {
        write_all(
            command,
            &format!("{name}-{}", command.get_name()),
            directory,
        )?;
    }
    Ok(())
}
