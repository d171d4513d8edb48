//! [IO] Runs one program to its end, or to the end of our patience.
//!
//! Nothing of ours in its environment, nothing to read, a group of processes of its
//! own. What it says on standard error is kept up to a bound.

use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use spa_findings::redact;

use super::super::socket::Announcer;
use super::ledger::Programs;
use crate::clock;

/// What is kept of a program's words, in bytes.
const WORDS: usize = 1024;

/// Runs programs, each for so long at most.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    limit: Duration,
    announcer: Announcer,
}

impl Runner {
    pub(super) const fn new(limit: Duration, announcer: Announcer) -> Self {
        Self { limit, announcer }
    }
}

impl Programs for Runner {
    fn run(&mut self, program: &Path, arguments: &[String]) -> Result<(), String> {
        let shown = program.display();
        self.announcer.busy(self.limit);
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|error| format!("cannot run {shown}: {error}"))?;
        let mut said = Vec::new();
        let ended = await_end(&mut child, self.limit, &mut said);
        let words = in_words(&said);
        match ended {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => Err(format!("{shown} ended with {status}{words}")),
            Ok(None) => Err(format!(
                "{shown} took longer than {} seconds{words}",
                self.limit.as_secs()
            )),
            Err(error) => Err(format!("cannot wait for {shown}: {error}{words}")),
        }
    }

    fn warn(&mut self, text: &str) {
        super::super::warn(text);
    }
}

/// How it ended; none: it had not when its time was over, and was killed.
fn await_end(
    child: &mut Child,
    limit: Duration,
    said: &mut Vec<u8>,
) -> io::Result<Option<ExitStatus>> {
    let group = Pid::from_child(child);
    let watched = watch(child, group, limit, said);
    let ended = match watched {
        Ok(true) => return child.wait().map(Some),
        Ok(false) => Ok(None),
        Err(error) => Err(error),
    };
    // The whole group: what it started would go on without it.
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
    ended
}

/// Reads what it says until it ends; false where it does not in time.
fn watch(child: &mut Child, id: Pid, limit: Duration, said: &mut Vec<u8>) -> io::Result<bool> {
    let process = pidfd_open(id, PidfdFlags::empty())?;
    let mut words = child.stderr.take();
    let end = clock::now().boot.saturating_add(limit);
    loop {
        let left = end.saturating_since(clock::now().boot);
        let timeout = Timespec::try_from(left).ok();
        let mut ready = vec![PollFd::new(&process, PollFlags::IN)];
        ready.extend(
            words
                .as_ref()
                .map(|words| PollFd::new(words, PollFlags::IN)),
        );
        rustix::io::retry_on_intr(|| poll(&mut ready, timeout.as_ref()))?;
        let is_ready = |place: usize| ready.get(place).is_some_and(|fd| !fd.revents().is_empty());
        let (has_ended, speaks) = (is_ready(0), is_ready(1));
        if speaks && !listen(&mut words, said) {
            words = None;
        }
        if has_ended && !speaks {
            return Ok(true);
        }
        if left.is_zero() {
            return Ok(has_ended);
        }
    }
}

/// Takes what is there; false at its end.
fn listen(words: &mut Option<ChildStderr>, said: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 512];
    let Some(Ok(length @ 1..)) = words.as_mut().map(|words| words.read(&mut buffer)) else {
        return false;
    };
    let room = WORDS.saturating_sub(said.len());
    said.extend(buffer.iter().take(length.min(room)));
    true
}

/// Fit to stand in a line of a log.
fn in_words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<String> = text.lines().map(|line| redact::line(line, false)).collect();
    match lines.join(" / ").trim() {
        "" => ", and said nothing".to_owned(),
        words => format!(": {words}"),
    }
}
