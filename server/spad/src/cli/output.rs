//! How a command ends, and how that is said.
//!
//! Results go to standard output through `print`, which cannot panic on a
//! closed pipe; notes and errors go to standard error.

use std::fmt::{self, Display};
use std::io::Write;
use std::process::ExitCode;

use spad_model::{Explanation, Help};
use spad_sys::journald;
use spad_sys::journald::Priority;

/// What a command gives.
pub(crate) type CliResult = Result<(), Failure>;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It failed, or found something wrong.
    Failed(Explanation),
    /// Everything was said already.
    AlreadyReported,
}

impl Failure {
    /// A daemon of another version gave an answer to another question.
    pub(super) fn unexpected(response: crate::control::Response) -> Self {
        drop(response);
        Self::with_help(
            "the daemon gave an answer to another question",
            "is it of the same version? systemctl restart spad",
        )
    }

    /// A failure that needs no help, or has it in its text.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self::Failed(Explanation::from(what))
    }

    /// A failure and how to fix it.
    pub(crate) fn with_help(what: impl Display, help: impl Display) -> Self {
        Self::Failed(Explanation {
            message: what.to_string(),
            help: Some(help.to_string()),
        })
    }

    /// The failure of an error that brings its own help.
    pub(crate) fn explained(error: &impl Help) -> Self {
        Self::Failed(error.explain())
    }
}

/// An error without help; one with help goes through [`Failure::explained`].
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

/// Writes a result, a line's end after it.
pub(crate) fn print(result: impl Display) -> CliResult {
    let mut out = std::io::stdout().lock();
    write_result(writeln!(out, "{result}").and_then(|()| out.flush()))
}

/// What became of writing a result.
pub(crate) fn write_result(result: std::io::Result<()>) -> CliResult {
    result.map_err(|error| match error.kind() {
        // Whoever read it has gone, as `head` does.
        std::io::ErrorKind::BrokenPipe => Failure::AlreadyReported,
        _ => Failure::new(format!("standard output: {error}")),
    })
}

/// Writes a report as one line of JSON.
pub(crate) fn print_json(report: &serde_json::Value) -> CliResult {
    print(report)
}

/// `1 client`, `2 clients`.
pub(crate) fn counted<N: Display + PartialEq + From<u8>>(count: N, one: &str) -> String {
    let ending = if count == N::from(1) { "" } else { "s" };
    format!("{count} {one}{ending}")
}

/// Says something besides the result.
pub(crate) fn note(text: impl Display) {
    write(Priority::Info, text);
}

fn write(priority: Priority, text: impl Display) {
    let text = text.to_string();
    let lines = journald::for_stderr(priority, &text);
    // Nothing can be told where standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "{lines}");
}

/// Says a warning besides the result.
pub(crate) fn warn(text: impl Display) {
    write(Priority::Warning, format_args!("warning: {text}"));
}

/// Says what is left to say, and gives the process's exit code.
pub(super) fn exit_code(run: CliResult) -> ExitCode {
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::AlreadyReported) => ExitCode::from(1),
        Err(Failure::Failed(what)) => {
            write(Priority::Error, format_args!("error: {what}"));
            ExitCode::from(1)
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(what) => what.fmt(f),
            Self::AlreadyReported => f.write_str("see above"),
        }
    }
}

/// The longest cell of each column, in characters.
pub(crate) fn column_widths<const N: usize>(rows: &[[String; N]]) -> [usize; N] {
    std::array::from_fn(|column| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    })
}

/// One line of a table: two spaces between columns, and the last cell as long as it is.
pub(crate) fn table_row(widths: &[usize], cells: &[&str]) -> String {
    let mut line = String::new();
    let Some((last, padded)) = cells.split_last() else {
        return line;
    };
    for (cell, width) in padded.iter().zip(widths) {
        line.push_str(&format!("{cell:<width$}  "));
    }
    line.push_str(last);
    line
}
