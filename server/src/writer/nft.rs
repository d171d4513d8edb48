//! [IO] Loads a table by the program `nft`, in one transaction.
//!
//! Only for whole tables: starting a program costs milliseconds. Run with an
//! empty environment, from directories that only root can write, and for a limited time:
//! at boot the network waits for it. The `nftables` crate's own helper is not used: it
//! leaves what `nft` says about a fault unread.

use std::io::{self, ErrorKind, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde_json::Value;

use crate::clock::{self, BootTime};

/// Where distributions put it.
pub(super) const PLACES: [&str; 6] = [
    "/usr/sbin/nft",
    "/sbin/nft",
    "/usr/bin/nft",
    "/usr/local/sbin/nft",
    "/usr/local/bin/nft",
    "/run/current-system/sw/bin/nft",
];

/// How long one start of it may take; thousands of ports take less than a second.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How long one that was killed may take to be gone, before it is left to itself.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// How often it is looked at where the kernel does not tell that it ended.
const LOOK: Duration = Duration::from_millis(10);

/// The most that is remembered of what it says, in bytes.
const MAX_OUTPUT: usize = 64 << 10;

/// Why a table was not loaded. Nothing of it was, then.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no such program.
    #[error("there is no program `nft`\n  help: install it: apt-get install nftables")]
    Missing,
    /// It could not be run.
    #[error("cannot run {program}: {reason}\n  help: run `{program} --version` as root")]
    NotRun {
        /// Where it is.
        program: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// It did not end.
    #[error(
        "{program} did not end within {} seconds, and was killed\n  help: run `{program} list ruleset` as root and see what it waits for",
        TIME_LIMIT.as_secs()
    )]
    TooSlow {
        /// Where it is.
        program: PathBuf,
    },
    /// It refused the table, or the kernel did.
    #[error("{program} did not load the table: {said}")]
    Refused {
        /// Where it is.
        program: PathBuf,
        /// Its own words, or how it ended.
        said: String,
    },
}

/// What must not wait until `nft` has ended.
pub(super) trait Meanwhile {
    /// Where there is something to read for it.
    fn watched(&self) -> BorrowedFd<'_>;

    /// Reads what is there, and acts on it.
    fn look(&mut self);
}

/// Loads a text of nftables' own language; gives the number of the process that did.
///
/// # Errors
/// Nothing of it is loaded then.
pub(super) fn load_text(text: &str) -> Result<u32, NftError> {
    run(&["-f", "-"], text, None)
}

/// Loads these commands; gives the number of the process that did.
///
/// # Errors
/// Nothing of it is loaded then.
pub(super) fn load(commands: &Value) -> Result<u32, NftError> {
    run(&["-j", "-f", "-"], &commands.to_string(), None)
}

/// The same, with an eye on something else until it has ended.
///
/// # Errors
/// Nothing of it is loaded then.
pub(super) fn load_while(commands: &Value, meanwhile: &mut dyn Meanwhile) -> Result<u32, NftError> {
    run(&["-j", "-f", "-"], &commands.to_string(), Some(meanwhile))
}

fn run(
    arguments: &[&str],
    text: &str,
    meanwhile: Option<&mut dyn Meanwhile>,
) -> Result<u32, NftError> {
    let program = PLACES
        .iter()
        .map(Path::new)
        .find(|place| place.is_file())
        .ok_or(NftError::Missing)?;
    run_program(program, arguments, text, TIME_LIMIT, meanwhile)
}

fn run_program(
    program: &Path,
    arguments: &[&str],
    text: &str,
    limit: Duration,
    meanwhile: Option<&mut dyn Meanwhile>,
) -> Result<u32, NftError> {
    let not_run = |reason| NftError::NotRun {
        program: program.to_owned(),
        reason,
    };
    let end = clock::now().boot.saturating_add(limit);
    let mut running = Running::start(program, arguments).map_err(not_run)?;
    let process = running.child.id();
    let ended = running.feed(text.as_bytes(), end, meanwhile);
    let ended = ended.map_err(not_run)?;
    let Some((status, all_read)) = ended else {
        return Err(NftError::TooSlow {
            program: program.to_owned(),
        });
    };
    if status.success() && all_read {
        return Ok(process);
    }
    let said = String::from_utf8_lossy(&running.output);
    // It repeats the line of the input that it stumbled over; ours is one line of many kilobytes.
    let said: Vec<&str> = said
        .lines()
        .filter(|line| line.len() < 300)
        .take(8)
        .collect();
    let said = match said.join("\n").trim() {
        "" if status.success() => "it ended before it had read the table".to_owned(),
        "" => format!("it ended ({status}) and said nothing"),
        said => said.to_owned(),
    };
    Err(NftError::Refused {
        program: program.to_owned(),
        said,
    })
}

/// It, while it runs. It does not outlive this.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    /// What it says, until the end of that.
    says: Option<PipeReader>,
    output: Vec<u8>,
    /// Tells its end; none where the kernel has no such descriptor for us.
    exit: Option<OwnedFd>,
    ended: bool,
}

impl Running {
    /// In a process group of its own, so that what it starts ends with it.
    fn start(program: &Path, arguments: &[&str]) -> io::Result<Self> {
        let (says, theirs) = io::pipe()?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(theirs.try_clone()?)
            .stderr(theirs)
            .process_group(0)
            .spawn()?;
        let input = child.stdin.take();
        let running = Self {
            exit: Pid::from_raw(child.id().cast_signed())
                .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()),
            child,
            input,
            says: Some(says),
            output: Vec::new(),
            ended: false,
        };
        let pipes = [
            running.input.as_ref().map(AsFd::as_fd),
            running.says.as_ref().map(AsFd::as_fd),
        ];
        for pipe in pipes.into_iter().flatten() {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(running)
    }

    /// Writes its input and hears what it says until it ends: how, and whether it took all of
    /// its input. None where it did not end in time.
    fn feed(
        &mut self,
        mut text: &[u8],
        end: BootTime,
        mut meanwhile: Option<&mut dyn Meanwhile>,
    ) -> io::Result<Option<(ExitStatus, bool)>> {
        loop {
            // What it still says is heard after that.
            let status = self.child.try_wait()?;
            self.write(&mut text);
            self.read();
            if let Some(status) = status {
                self.ended = true;
                return Ok(Some((status, text.is_empty())));
            }
            let left = end.saturating_since(clock::now().boot);
            if left.is_zero() {
                return Ok(None);
            }
            let watched = meanwhile.as_ref().map(|meanwhile| meanwhile.watched());
            if self.wait(left, watched)?
                && let Some(meanwhile) = &mut meanwhile
            {
                meanwhile.look();
            }
        }
    }

    /// Waits until there is something to do; says whether it is for what is `watched`.
    fn wait(&self, left: Duration, watched: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let left = match self.exit {
            Some(_) => left,
            None => left.min(LOOK),
        };
        let timeout = Timespec::try_from(left.max(Duration::from_millis(1))).ok();
        let read = [
            watched,
            self.exit.as_ref().map(AsFd::as_fd),
            self.says.as_ref().map(AsFd::as_fd),
        ];
        let mut ready: Vec<PollFd<'_>> = read
            .into_iter()
            .flatten()
            .map(|one| PollFd::from_borrowed_fd(one, PollFlags::IN))
            .collect();
        if let Some(input) = &self.input {
            ready.push(PollFd::new(input, PollFlags::OUT));
        }
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let first = ready.first();
        let is_ready = first.is_some_and(|first| !first.revents().is_empty());
        Ok(watched.is_some() && is_ready)
    }

    /// Writes what there is room for; closes the input where all is written, or nobody reads.
    fn write(&mut self, text: &mut &[u8]) {
        let Some(input) = &mut self.input else {
            return;
        };
        loop {
            match input.write(text) {
                Ok(written) if written > 0 => *text = text.get(written..).unwrap_or(&[]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => break,
            }
        }
        self.input = None;
    }

    /// Reads what is there; remembers the beginning of it.
    fn read(&mut self) {
        let Some(says) = &mut self.says else {
            return;
        };
        let mut buffer = [0; 4096];
        // One that never stops to talk must not keep us here.
        for _ in 0..16 {
            match says.read(&mut buffer) {
                Ok(length) if length > 0 => {
                    let room = MAX_OUTPUT.saturating_sub(self.output.len()).min(length);
                    self.output.extend(buffer.iter().take(room));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {
                    self.says = None;
                    return;
                }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // It may have ended meanwhile.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        // One that hangs in the kernel is left to itself.
        let end = clock::now().boot.saturating_add(GONE_WITHIN);
        while let Ok(None) = self.child.try_wait()
            && clock::now().boot < end
        {
            std::thread::sleep(LOOK);
        }
    }
}

#[cfg(test)]
#[path = "nft_tests.rs"]
mod tests;
