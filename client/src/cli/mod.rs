//! The command line: words → one file a subcommand → exit code. Results go to
//! stdout, everything else to stderr; secrets go nowhere.

mod address_source;
mod args;
mod close;
mod completions;
mod exec;
mod hold;
mod hosts;
mod implicit_open;
mod key;
mod knock;
mod man;
mod open;
mod output;
mod packet;
mod proxy;
mod run;
mod run_all;
mod ssh;

use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use spa_findings::redact;

use args::{Arguments, Command, HostCommand, KeyCommand};
use output::{Failure, Output};

use crate::exit::Exit;

/// Runs the command of this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let words = implicit_open::insert_open(std::env::args_os().collect());
    let arguments = match parse(Arguments::command(), &words) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let output = Output::new(&arguments.common);
    match run(arguments, &output) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}

/// Parses a command line.
fn parse(grammar: clap::Command, words: &[OsString]) -> Result<Arguments, clap::Error> {
    // Never taken apart: the process ends soon, and it has hundreds of pieces.
    let matches = ManuallyDrop::new(grammar).try_get_matches_from_mut(words)?;
    Arguments::from_arg_matches(&ManuallyDrop::new(matches))
}

fn run(arguments: Arguments, output: &Output) -> Result<Exit, Failure> {
    let directory = || arguments.common.directory();
    match arguments.command {
        Command::Open(options) => open::run(&options, &directory()?, output),
        Command::Close(options) => close::run(&options, &directory()?, output),
        Command::Ssh(options) => ssh::run(&options, &directory()?),
        Command::Proxy(options) => proxy::run(&options, &directory()?, output),
        Command::Exec(options) => exec::run(&options, &directory()?, output),
        Command::Run(options) => run::run(&options, &directory()?, output),
        Command::Packet(options) => packet::run(&options, &directory()?, output),
        Command::Knock(options) => knock::run(&options, output),
        Command::Key(KeyCommand::New) => key::new(&directory()?, output),
        Command::Key(KeyCommand::Show) => key::show(&directory()?, output),
        Command::Hosts => hosts::list(&directory()?, output),
        Command::Host(HostCommand::Add(options)) => hosts::add(&options, &directory()?, output),
        Command::Host(HostCommand::Remove { name }) => hosts::remove(&name, &directory()?, output),
        Command::Completions { shell } => completions::run(shell, output),
        Command::Man { command, directory } => man::run(&command, directory.as_deref(), output),
    }
}

/// What clap says about words it does not understand, help and version
/// included. It quotes words: nothing that may be a key is among them.
fn usage(error: &clap::Error) -> ExitCode {
    let plain = error.render().to_string();
    let shown = redact::message(&plain);
    if shown == plain {
        // Coloured where a terminal is, and to the right stream.
        let _ = error.print();
    } else {
        output::stderr(shown.trim_end());
    }
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Open.into()
    }
}
