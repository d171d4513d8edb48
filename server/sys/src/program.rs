//! [IO] Runs a program until it exits or exceeds a time limit.
//!
//! The program receives a text, and its output is saved up to a limit. It has its own
//! process group, so that its children are killed with it. Errors name what could not be
//! opened, because the program itself may be fine.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use spad_model::BootTime;

use crate::clock;

/// How long to wait for a killed program before it is abandoned.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// How often [`RunObserver::heartbeat`] is called.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// How often to check for its exit if the kernel has no descriptor for that.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// `/dev/null`, for a program without input or output.
///
/// # Errors
/// It cannot be opened.
pub fn dev_null() -> io::Result<Stdio> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/null");
    opened
        .map(Stdio::from)
        .map_err(|error| with_context("cannot open /dev/null", &error))
}

/// A pipe to or from a program.
///
/// # Errors
/// No pipe can be created.
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    io::pipe().map_err(|error| with_context("cannot make a pipe", &error))
}

/// Adds context and drops the error kind, because e.g. `PermissionDenied` would mislead.
fn with_context(what: &str, error: &io::Error) -> io::Error {
    io::Error::other(format!("{what}: {error}"))
}

/// Which output of a program to save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapturedStreams {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Both, merged.
    Both,
}

/// Limits of a run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum time; then the program is killed.
    pub timeout: Duration,
    /// Maximum saved output, in bytes.
    pub max_output: usize,
}

/// Work to do while the program runs.
pub trait RunObserver {
    /// The program was started, or is still running after another [`HEARTBEAT_INTERVAL`].
    fn heartbeat(&self);

    /// The descriptor to watch for input.
    fn watched_fd(&self) -> BorrowedFd<'_>;

    /// Reads and handles the input.
    fn on_readable(&mut self);
}

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// The process id.
    pub pid: u32,
    /// The exit status; `None` if it was killed after its time limit.
    pub status: Option<ExitStatus>,
    /// Whether the program read all of its input.
    pub stdin_consumed: bool,
    /// The saved output.
    pub output: Vec<u8>,
}

/// Runs this command with only its own descriptors added, and writes the text to it.
///
/// # Errors
/// It could not be started, or not be waited for; then it was killed.
pub fn run(
    command: &mut Command,
    input: &[u8],
    streams: CapturedStreams,
    limits: Limits,
    observer: Option<&mut dyn RunObserver>,
) -> io::Result<Run> {
    let end = clock::now().boot.saturating_add(limits.timeout);
    let mut running = Running::start(command, !input.is_empty(), streams, limits.max_output)?;
    let (status, all_read) = running.drive(input, end, observer)?;
    Ok(Run {
        pid: running.child.id(),
        status,
        stdin_consumed: all_read,
        output: std::mem::take(&mut running.output),
    })
}

/// A running program. It is killed when this is dropped.
struct Running {
    child: Child,
    input: Option<PipeWriter>,
    /// The read end of its output, until that is closed.
    output_pipe: Option<PipeReader>,
    output: Vec<u8>,
    max_output: usize,
    /// Becomes readable at its exit; `None` if the kernel has no such descriptor.
    pidfd: Option<OwnedFd>,
    exited: bool,
}

impl Running {
    fn start(
        command: &mut Command,
        has_input: bool,
        streams: CapturedStreams,
        max_output: usize,
    ) -> io::Result<Self> {
        let (says, theirs) = pipe()?;
        let (input, stdin) = match has_input {
            true => {
                let (stdin, input) = pipe()?;
                (Some(input), Stdio::from(stdin))
            }
            false => (None, dev_null()?),
        };
        let (output, errors) = match streams {
            CapturedStreams::Stdout => (Stdio::from(theirs), dev_null()?),
            CapturedStreams::Stderr => (dev_null()?, Stdio::from(theirs)),
            CapturedStreams::Both => {
                let both = theirs.try_clone();
                let both = both.map_err(|error| with_context("cannot share a pipe", &error))?;
                (Stdio::from(both), Stdio::from(theirs))
            }
        };
        command.stdin(stdin).stdout(output).stderr(errors);
        let child = command.process_group(0).spawn();
        // Closes our copies, so that its output ends when it exits.
        command.stdin(Stdio::inherit());
        command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
        let child = child?;
        let running = Self {
            pidfd: Pid::from_raw(child.id().cast_signed())
                .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()),
            child,
            input,
            output_pipe: Some(says),
            output: Vec::new(),
            max_output,
            exited: false,
        };
        let input = running.input.as_ref().map(|input| input.as_fd());
        let says = running.output_pipe.as_ref().map(|says| says.as_fd());
        for pipe in input.into_iter().chain(says) {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(running)
    }

    /// Writes its input and reads its output until it exits. Returns the status and whether it
    /// read all of its input; no status if it exceeded the time limit.
    fn drive(
        &mut self,
        mut input: &[u8],
        end: BootTime,
        mut observer: Option<&mut dyn RunObserver>,
    ) -> io::Result<(Option<ExitStatus>, bool)> {
        let mut last_heartbeat = None;
        loop {
            let now = clock::now().boot;
            if let Some(meanwhile) = &observer
                && last_heartbeat
                    .is_none_or(|said| now.saturating_since(said) >= HEARTBEAT_INTERVAL)
            {
                last_heartbeat = Some(now);
                meanwhile.heartbeat();
            }
            // Remaining output is read after that.
            let status = self.child.try_wait()?;
            self.write(&mut input);
            self.read();
            if status.is_some() {
                self.exited = true;
                return Ok((status, input.is_empty()));
            }
            let remaining = end.saturating_since(clock::now().boot);
            if remaining.is_zero() {
                return Ok((None, input.is_empty()));
            }
            let watched = observer.as_ref().map(|meanwhile| meanwhile.watched_fd());
            if self.wait(remaining, watched)?
                && let Some(meanwhile) = &mut observer
            {
                meanwhile.on_readable();
            }
        }
    }

    /// Waits until there is something to do; returns whether `watched` is ready.
    fn wait(&self, left: Duration, watched: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let remaining = match self.pidfd {
            Some(_) => left.min(HEARTBEAT_INTERVAL),
            None => left.min(POLL_INTERVAL),
        };
        let timeout = Timespec::try_from(remaining.max(Duration::from_millis(1))).ok();
        let read = [
            watched,
            self.pidfd.as_ref().map(|exit| exit.as_fd()),
            self.output_pipe.as_ref().map(|says| says.as_fd()),
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

    /// Writes what fits; closes the input after the last byte, or if nobody reads.
    fn write(&mut self, input_left: &mut &[u8]) {
        let Some(input) = &mut self.input else {
            return;
        };
        loop {
            match input.write(input_left) {
                Ok(written) if written > 0 => {
                    *input_left = input_left.get(written..).unwrap_or(&[])
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => break,
            }
        }
        self.input = None;
    }

    /// Reads the available output; saves its beginning.
    fn read(&mut self) {
        let Some(output_pipe) = &mut self.output_pipe else {
            return;
        };
        let mut buffer = [0; 4096];
        // A program that writes without end must not block us.
        for _ in 0..16 {
            match output_pipe.read(&mut buffer) {
                Ok(length) if length > 0 => {
                    let room = self
                        .max_output
                        .saturating_sub(self.output.len())
                        .min(length);
                    self.output
                        .extend_from_slice(buffer.get(..room).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {
                    self.output_pipe = None;
                    return;
                }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.exited {
            return;
        }
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // It may have exited meanwhile.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        // One that hangs in the kernel is abandoned.
        let end = clock::now().boot.saturating_add(KILL_TIMEOUT);
        while let Ok(None) = self.child.try_wait()
            && clock::now().boot < end
        {
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}
