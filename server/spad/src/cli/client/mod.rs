//! `spad client`: who may open what. One file a command; every add has an exact inverse.

mod add;
mod enable;
mod keys;
mod list;
mod remove;
mod reset;

use spa_findings::{EditDistance, Findings, nearest};
use spad_model::{ClientName, Paths};

use super::output::warn;
use super::{CliResult, Failure, Options};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Let a client open services
    #[command(after_help = "Example:\n  spad client add anna --key spa-pub-… --allow ssh,wg")]
    Add(Box<add::Arguments>),
    /// List the clients
    #[command(after_help = "Example:\n  spad client list --json")]
    List,
    /// Show one client
    #[command(after_help = "Example:\n  spad client show anna")]
    Show(Name),
    /// Change a client's key: add the new one, and later take out the old one
    #[command(
        after_help = "Example:\n  spad client key anna --add spa-pub-… --old-until 2027-01-31T18:00:00Z"
    )]
    Key(keys::Arguments),
    /// Refuse a client from now on, and keep its file
    #[command(after_help = "Example:\n  spad client disable anna")]
    Disable(Name),
    /// Let a disabled client open services again
    #[command(after_help = "Example:\n  spad client enable anna")]
    Enable(Name),
    /// Let a client whose clock ran ahead in again: forgets which of its packets were used
    #[command(after_help = "Example:\n  spad client reset anna --yes")]
    Reset(reset::Arguments),
    /// Remove a client and its keys; its used packets stay used
    #[command(after_help = "Example:\n  spad client remove anna")]
    Remove(Name),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Name {
    /// The client's name
    name: ClientName,
}

pub(crate) fn run(options: &Options, command: &Command) -> CliResult {
    match command {
        Command::Add(arguments) => add::run(options, arguments),
        Command::List => list::list(options),
        Command::Show(name) => list::show(options, &name.name),
        Command::Key(arguments) => keys::run(options, arguments),
        Command::Disable(name) => enable::disable(options, &name.name),
        Command::Enable(name) => enable::enable(options, &name.name),
        Command::Reset(arguments) => reset::run(options, arguments),
        Command::Remove(name) => remove::run(options, &name.name),
    }
}

/// An instant on the command line, always with its offset.
fn instant(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse().map_err(|_| {
        "write date, time and offset, for example 2027-01-31T18:00:00Z or 2027-01-31T18:00:00+01:00"
            .to_owned()
    })
}

/// What the configuration is like now; its errors are for others to stop at.
fn check_config(paths: &Paths) -> Findings {
    match spad_config::load(&paths.config, spad_sys::clock::now().wall) {
        Ok(loaded) => loaded.warnings,
        Err(findings) => findings,
    }
}

/// Shows what a change left behind: a locked door, or faults that were there before.
fn show_findings(findings: &Findings) {
    if !findings.is_empty() {
        super::output::note(findings);
    }
    if findings.has_errors() {
        warn(
            "the configuration has errors: until they are mended it is not taken, at start the last good one is",
        );
    }
}

/// There is no such client.
fn unknown(paths: &Paths, name: &ClientName) -> Failure {
    let names = spad_config::client_names(&paths.config);
    let known = names.iter().map(ClientName::as_str);
    match nearest(name.as_str(), known, EditDistance::OptimalStringAlignment) {
        Some(meant) => Failure::with_help(
            format_args!("there is no client `{name}`"),
            format_args!("did you mean `{meant}`?"),
        ),
        None => Failure::with_help(
            format_args!("there is no client `{name}`"),
            "spad client list shows them",
        ),
    }
}
