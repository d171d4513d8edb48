//! Asks back before what cannot be undone; only ever on a terminal.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use super::output::note;
use super::{CliResult, Failure};

/// Goes on if `yes` was said on the command line or is said now.
///
/// # Errors
/// Without a terminal to ask at, and for every other answer.
pub(crate) fn confirm(question: &str, yes: bool) -> CliResult {
    if yes {
        return Ok(());
    }
    let input = std::io::stdin();
    if !input.is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::with_help(
            "not done: there is no terminal to ask back at",
            "say --yes",
        ));
    }
    note(format_args!("{question} [y/N]"));
    let mut answer = String::new();
    input.lock().take(64).read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new("not done".to_owned())),
    }
}
