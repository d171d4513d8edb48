//! [IO] What the program prints. Writing never fails a run that worked: a closed
//! pipe is its reader's business.

use std::io::Write as _;

use serde_json::{Value, json};
use spa_findings::redact;

use super::args::Common;
use crate::exit::Exit;

/// Why a command ends without a result.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) message: String,
}

impl Failure {
    /// This machine's configuration or keys.
    pub(super) fn local(why: impl ToString) -> Self {
        Self {
            exit: Exit::Local,
            message: why.to_string(),
        }
    }

    /// No name, or no way there.
    pub(super) fn route(why: impl ToString) -> Self {
        Self {
            exit: Exit::Route,
            message: why.to_string(),
        }
    }

    /// Words that make no sense.
    pub(super) fn usage(why: impl ToString) -> Self {
        Self {
            exit: Exit::Usage,
            message: why.to_string(),
        }
    }
}

/// How much is said, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
}

impl Output {
    pub(super) const fn new(common: &Common) -> Self {
        Self {
            json: common.json,
            quiet: common.quiet,
            verbose: common.verbose,
        }
    }

    /// A result: `text`, or the object with `--json`.
    pub(super) fn result(self, text: &str, object: &Value) {
        if self.json {
            stdout(format!("{object}\n").as_bytes());
        } else if !text.is_empty() {
            stdout(format!("{text}\n").as_bytes());
        }
    }

    /// The object with `--json`, nothing without.
    pub(super) fn object(self, object: impl FnOnce() -> Value) {
        if self.json {
            stdout(format!("{}\n", object()).as_bytes());
        }
    }

    /// A result that `--json` gives in another form, later.
    pub(super) fn text(self, text: &str) {
        if !self.json {
            stdout(format!("{text}\n").as_bytes());
        }
    }

    /// Whether results are JSON.
    pub(super) const fn is_json(self) -> bool {
        self.json
    }

    /// Something a person wants to know.
    pub(super) fn note(self, text: &str) {
        if !self.quiet {
            stderr(text);
        }
    }

    /// A detail.
    pub(super) fn detail(self, text: &str) {
        if self.verbose {
            stderr(text);
        }
    }

    /// Why there is no result.
    pub(super) fn failure(self, failure: &Failure) {
        let message = redact::message(&failure.message);
        self.object(|| json!({ "exit": failure.exit.code(), "error": message }));
        if !self.quiet {
            let begins = message.starts_with("error: ");
            stderr(&format!("{}{message}", if begins { "" } else { "spa: " }));
        }
    }
}

/// Writes bytes to stdout.
pub(super) fn stdout(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Writes a line to stderr.
pub(super) fn stderr(line: &str) {
    // In one write: lines of several processes stay whole.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
