//! [IO] Runs a program to its end, or to the end of a time limit.
//!
//! It is fed a text, its words are remembered up to a bound, and it runs in a process group of
//! its own, so that what it started is killed with it. What could not be opened for it is named:
//! the program itself may be all right.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::clock::{self, BootTime};

/// How long one that was killed may take to be gone, before it is left to itself.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// How often [`Meanwhile::still_runs`] is called.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// How often it is looked at where the kernel does not tell that it ended.
const LOOK: Duration = Duration::from_millis(10);

/// `/dev/null`, for a program that is to read or say nothing.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn null() -> io::Result<Stdio> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/null");
    opened
        .map(Stdio::from)
        .map_err(|error| named("cannot open /dev/null", &error))
}

/// A pipe to or from a program.
///
/// # Errors
/// There is none to be had.
pub(crate) fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    io::pipe().map_err(|error| named("cannot make a pipe", &error))
}

/// Not of its kind any more: permission, say, to execute the program is not what is missing.
fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::other(format!("{what}: {error}"))
}

/// What is heard of a program's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// Standard output.
    Output,
    /// Standard error.
    Errors,
    /// Both, as one.
    Both,
}

/// What a run may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long; then it is killed.
    pub(crate) time: Duration,
    /// How much of its words is remembered, in bytes.
    pub(crate) words: usize,
}

/// What must not wait until it has ended.
pub(crate) trait Meanwhile {
    /// It has begun, or still runs after another [`SIGN_OF_LIFE`].
    fn still_runs(&self);

    /// Where there is something to read for it.
    fn watched(&self) -> BorrowedFd<'_>;

    /// Reads what is there, and acts on it.
    fn look(&mut self);
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Run {
    /// The number of its process.
    pub(crate) process: u32,
    /// How it ended; none: not in time, and it was killed.
    pub(crate) status: Option<ExitStatus>,
    /// Whether it took the whole text.
    pub(crate) all_read: bool,
    /// What it said.
    pub(crate) words: Vec<u8>,
}

/// Runs this command, to which only its descriptors are added, and feeds it the text.
///
/// # Errors
/// It could not be run, or not be waited for; then it was killed.
pub(crate) fn run(
    command: &mut Command,
    text: &[u8],
    words: Words,
    limits: Limits,
    meanwhile: Option<&mut dyn Meanwhile>,
) -> io::Result<Run> {
    let end = clock::now().boot.saturating_add(limits.time);
    let mut running = Running::start(command, !text.is_empty(), words, limits.words)?;
    let (status, all_read) = running.feed(text, end, meanwhile)?;
    Ok(Run {
        process: running.child.id(),
        status,
        all_read,
        words: std::mem::take(&mut running.words),
    })
}

/// It, while it runs. It does not outlive this.
struct Running {
    child: Child,
    input: Option<PipeWriter>,
    /// What it says, until the end of that.
    says: Option<PipeReader>,
    words: Vec<u8>,
    max_words: usize,
    /// Tells its end; none where the kernel has no such descriptor for us.
    exit: Option<OwnedFd>,
    ended: bool,
}

impl Running {
    fn start(command: &mut Command, is_fed: bool, words: Words, max: usize) -> io::Result<Self> {
        let (says, theirs) = pipe()?;
        let (input, stdin) = match is_fed {
            true => {
                let (stdin, input) = pipe()?;
                (Some(input), Stdio::from(stdin))
            }
            false => (None, null()?),
        };
        let (output, errors) = match words {
            Words::Output => (Stdio::from(theirs), null()?),
            Words::Errors => (null()?, Stdio::from(theirs)),
            Words::Both => {
                let both = theirs.try_clone();
                let both = both.map_err(|error| named("cannot share a pipe", &error))?;
                (Stdio::from(both), Stdio::from(theirs))
            }
        };
        command.stdin(stdin).stdout(output).stderr(errors);
        let child = command.process_group(0).spawn();
        // Ours of these are closed, so that its end is the end of what it says.
        command.stdin(Stdio::inherit());
        command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
        let child = child?;
        let running = Self {
            exit: Pid::from_raw(child.id().cast_signed())
                .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()),
            child,
            input,
            says: Some(says),
            words: Vec::new(),
            max_words: max,
            ended: false,
        };
        let input = running.input.as_ref().map(|input| input.as_fd());
        let says = running.says.as_ref().map(|says| says.as_fd());
        for pipe in input.into_iter().chain(says) {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(running)
    }

    /// Writes its input and hears what it says until it ends: how, and whether it took all of
    /// its input. No status where it did not end in time.
    fn feed(
        &mut self,
        mut text: &[u8],
        end: BootTime,
        mut meanwhile: Option<&mut dyn Meanwhile>,
    ) -> io::Result<(Option<ExitStatus>, bool)> {
        let mut said = None;
        loop {
            let now = clock::now().boot;
            if let Some(meanwhile) = &meanwhile
                && said.is_none_or(|said| now.saturating_since(said) >= SIGN_OF_LIFE)
            {
                said = Some(now);
                meanwhile.still_runs();
            }
            // What it still says is heard after that.
            let status = self.child.try_wait()?;
            self.write(&mut text);
            self.read();
            if status.is_some() {
                self.ended = true;
                return Ok((status, text.is_empty()));
            }
            let left = end.saturating_since(clock::now().boot);
            if left.is_zero() {
                return Ok((None, text.is_empty()));
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
            Some(_) => left.min(SIGN_OF_LIFE),
            None => left.min(LOOK),
        };
        let timeout = Timespec::try_from(left.max(Duration::from_millis(1))).ok();
        let read = [
            watched,
            self.exit.as_ref().map(|exit| exit.as_fd()),
            self.says.as_ref().map(|says| says.as_fd()),
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
                    let room = self.max_words.saturating_sub(self.words.len()).min(length);
                    self.words
                        .extend_from_slice(buffer.get(..room).unwrap_or_default());
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
