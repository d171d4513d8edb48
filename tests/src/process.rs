//! Processes of a test: run to their end, or kept until dropped.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal};

use crate::wait;

/// What a process has of a kind of memory, `VmRSS` or another field of its status, in KiB.
#[must_use]
#[track_caller]
pub fn memory(process: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let word = line.and_then(|line| line.strip_prefix(':')?.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).expect("a number")
}

/// What a finished command said.
#[derive(Clone, Debug)]
pub struct Finished {
    /// It ended with 0.
    pub success: bool,
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// All it wrote to its standard output.
    pub stdout: String,
    /// All it wrote to its standard error.
    pub stderr: String,
}

impl Finished {
    /// Its standard output as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}):\n{}\n{}", self.stdout, self.stderr))
    }

    /// Fails the test unless it succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(
            self.success,
            "exit {:?}\n{}{}",
            self.code, self.stdout, self.stderr
        );
        self
    }
}

/// Runs to the end, without standard input.
#[track_caller]
pub fn run(command: &mut Command) -> Finished {
    command.stdin(Stdio::null());
    finish(command.output(), command)
}

/// Runs to the end with `input` on its standard input.
#[track_caller]
pub fn run_with_input(command: &mut Command, input: &str) -> Finished {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = command.spawn().and_then(|mut child| {
        if let Some(mut pipe) = child.stdin.take() {
            // A command that does not read its input says so by its exit code.
            let _ = pipe.write_all(input.as_bytes());
        }
        child.wait_with_output()
    });
    finish(output, command)
}

#[track_caller]
fn finish(output: std::io::Result<std::process::Output>, command: &Command) -> Finished {
    let output = output.unwrap_or_else(|error| {
        panic!(
            "cannot start {}: {error}\nhelp: ./check installs what the tests need",
            command.get_program().display()
        )
    });
    Finished {
        success: output.status.success(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A process that runs beside the test and is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output_file: PathBuf,
}

impl Process {
    /// Starts it; both its outputs go to the file `output`.
    #[track_caller]
    pub fn start(command: &mut Command, output: &Path) -> Self {
        let file = File::create(output).expect("a file for the output");
        let copy = file.try_clone().expect("a second descriptor");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot start {}: {error}", command.get_program().display())
            });
        Self {
            child,
            output_file: output.to_owned(),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.output_file).unwrap_or_default()
    }

    /// How it ended, if it did.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("waiting for a child")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Ok(id) = i32::try_from(self.child.id())
            && let Some(id) = Pid::from_raw(id)
        {
            let _ = rustix::process::kill_process(id, signal);
        }
    }

    /// Sends a signal and waits for the end.
    #[track_caller]
    pub fn signal_and_wait(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        wait::eventually("the process ends on a signal", || self.try_wait())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
