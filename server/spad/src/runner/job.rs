//! [IO] One program under way: started, listened to, ended in time.
//!
//! Its process leads a session and a group of its own, as its own user and with nothing
//! of ours (see [`spad_sys::child`]). When it ends, so does what it left in its group.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use spad_config::writable_by_others;
use spad_model::{BootTime, ExitKind, MAX_OUTPUT, RunExit, RunId};
use spad_sys::program::{dev_null, pipe};

use super::run_policy::ResolvedProgram;

/// Where programs look for others; they are found by path themselves.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Between the signal that asks a program to end and the one that ends it.
const KILL_DELAY: Duration = Duration::from_secs(2);

/// Read at once: a program that writes without an end keeps nobody else waiting.
const READ_SIZE: usize = 16 * 1024;

/// A running program.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: RunId,
    child: Child,
    leader: Pid,
    pidfd: OwnedFd,
    output: Option<io::PipeReader>,
    captured: Vec<u8>,
    truncated: u64,
    started_at: BootTime,
    /// When the next signal is due.
    pub(super) due: BootTime,
    timed_out: bool,
}

impl Job {
    /// Starts it. `facts` are the environment besides the usual; `input` is all that it
    /// can read, at most what a pipe holds.
    pub(super) fn start(
        id: RunId,
        resolved: &ResolvedProgram,
        facts: &[(&str, String)],
        input: &str,
        now: BootTime,
    ) -> io::Result<Self> {
        let account = resolved.account.as_ref();
        let account = account
            .ok_or_else(|| io::Error::other("there is no such user, or none that it may run as"))?;
        let mut arguments = resolved.program.argv.iter();
        let program = arguments.next().ok_or(io::ErrorKind::InvalidInput)?;
        // Who can change it would decide what packets run.
        if let Some(what) = writable_by_others::writable_by_others(program.as_ref())? {
            let message = format!("others than its owner may write to {}", what.display());
            return Err(io::Error::other(message));
        }
        let (output, writer) = pipe()?;
        rustix::io::ioctl_fionbio(&output, true)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir("/")
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", home(&account.home))
            .env("USER", &account.name)
            .envs(facts.iter().map(|(name, value)| (name, value)))
            .stdin(stdin(input)?)
            .stdout(Stdio::from(writer.try_clone()?))
            .stderr(Stdio::from(writer));
        spad_sys::child::prepare_child(&mut command, account.uid, account.gid, &account.groups);
        let child = command.spawn()?;
        let leader = Pid::from_child(&child);
        let over = match pidfd_open(leader, PidfdFlags::empty()) {
            Ok(over) => over,
            Err(error) => {
                // Nobody could wait for it.
                let _ = kill_process_group(leader, Signal::KILL);
                return Err(error.into());
            }
        };
        Ok(Self {
            id,
            child,
            leader,
            pidfd: over,
            output: Some(output),
            captured: Vec::new(),
            truncated: 0,
            started_at: now,
            due: now.saturating_add(resolved.program.timeout),
            timed_out: false,
        })
    }

    /// Readable once the program has ended.
    pub(super) fn exit_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Readable while it says something; none once it cannot any more.
    pub(super) fn output_fd(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    /// Whether the program has ended.
    pub(super) fn has_ended(&self) -> bool {
        let mut ready = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::io::retry_on_intr(|| poll(&mut ready, Some(&now))).is_ok_and(|count| count > 0)
    }

    /// Takes in some of what it says.
    pub(super) fn read_output(&mut self) {
        let mut buffer = [0; READ_SIZE];
        let Some(output) = &mut self.output else {
            return;
        };
        match output.read(&mut buffer) {
            Ok(0) => self.output = None,
            Ok(length) => {
                let room = MAX_OUTPUT.saturating_sub(self.captured.len()).min(length);
                self.captured.extend(buffer.iter().take(room));
                let rest = u64::try_from(length.saturating_sub(room)).unwrap_or(u64::MAX);
                self.truncated = self.truncated.saturating_add(rest);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.output = None,
        }
    }

    /// Its time is over: asks it to end, and at the second call ends it.
    pub(super) fn terminate(&mut self, now: BootTime) {
        let signal = if std::mem::replace(&mut self.timed_out, true) {
            Signal::KILL
        } else {
            Signal::TERM
        };
        // What cannot be signalled has ended, and that is heard of.
        let _ = kill_process_group(self.leader, signal);
        self.due = now.saturating_add(KILL_DELAY);
    }

    /// It has ended: what it left behind ends too, and what it said is told.
    pub(super) fn reap(mut self, now: BootTime) -> RunExit {
        // Before it is waited for: until then nobody else can have its number.
        let _ = kill_process_group(self.leader, Signal::KILL);
        let status = self.child.wait();
        // What the pipe still holds, at most; whoever else has its end may go on writing.
        for _ in 0..(1 << 20) / READ_SIZE {
            let (captured, truncated) = (self.captured.len(), self.truncated);
            self.read_output();
            if self.captured.len() == captured && self.truncated == truncated {
                break;
            }
        }
        RunExit {
            id: self.id,
            kind: self.exit_kind(status.ok()),
            duration: now.saturating_since(self.started_at),
            output: self.captured,
            truncated: self.truncated,
        }
    }

    fn exit_kind(&self, status: Option<ExitStatus>) -> ExitKind {
        if self.timed_out {
            return ExitKind::TimedOut;
        }
        let number = |value: i32| u8::try_from(value).unwrap_or(u8::MAX);
        let code = status.and_then(|status| status.code());
        let signal = status.and_then(|status| status.signal());
        match (code, signal) {
            (Some(code), _) => ExitKind::Exited(number(code)),
            (None, Some(signal)) => ExitKind::Signalled(number(signal)),
            (None, None) => ExitKind::Exited(u8::MAX),
        }
    }
}

fn home(home: &OsString) -> OsString {
    if home.is_empty() {
        "/".into()
    } else {
        home.clone()
    }
}

/// The text, then the end.
fn stdin(input: &str) -> io::Result<Stdio> {
    if input.is_empty() {
        return dev_null();
    }
    let (reader, mut writer) = pipe()?;
    // Less than a pipe holds, so nobody waits.
    writer.write_all(input.as_bytes())?;
    Ok(Stdio::from(reader))
}

#[cfg(test)]
mod tests;
