//! [IO] Runs one program to its end, or to the end of our patience.
//!
//! Nothing of ours in its environment, nothing to read, a group of processes of its
//! own. What it says on standard error is kept up to a bound.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use spa_findings::redact;
use spad_sys::program;
use spad_sys::program::{CapturedStreams, Limits};

use super::super::announcer::Announcer;
use super::leases::Programs;

/// What is kept of a program's words, in bytes.
const MAX_OUTPUT: usize = 1024;

/// Runs programs, each for so long at most.
#[derive(Clone, Debug)]
pub(super) struct ProgramRunner {
    limit: Duration,
    announcer: Announcer,
}

impl ProgramRunner {
    pub(super) const fn new(limit: Duration, announcer: Announcer) -> Self {
        Self { limit, announcer }
    }
}

impl Programs for ProgramRunner {
    fn run(&mut self, program: &Path, arguments: &[String]) -> Result<(), String> {
        let shown = program.display();
        self.announcer.busy(self.limit);
        let mut command = Command::new(program);
        command.args(arguments).env_clear().current_dir("/");
        let limits = Limits {
            timeout: self.limit,
            max_output: MAX_OUTPUT,
        };
        let run = program::run(&mut command, b"", CapturedStreams::Stderr, limits, None);
        let run = run.map_err(|error| format!("cannot run {shown}: {error}"))?;
        let words = format_output(&run.output);
        match run.status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("{shown} ended with {status}{words}")),
            None => Err(format!(
                "{shown} took longer than {} seconds{words}",
                self.limit.as_secs()
            )),
        }
    }

    fn warn(&mut self, text: &str) {
        super::super::warn(text);
    }
}

/// Fit to stand in a line of a log.
fn format_output(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<String> = text.lines().map(|line| redact::line(line, false)).collect();
    match lines.join(" / ").trim() {
        "" => ", and said nothing".to_owned(),
        words => format!(": {words}"),
    }
}
