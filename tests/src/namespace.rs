//! A network namespace of a test: made by name, entered by threads and
//! processes, removed with everything in it when dropped.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{Finished, run};
use crate::wait;

/// Names begin so, then the test process's id: who finds one knows whose it is.
const PREFIX: &str = "spalab";

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one; `role` ends its name.
    #[must_use]
    pub fn new(role: &str) -> Self {
        static SWEEP: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        SWEEP.call_once(remove_orphans);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{count}-{role}", std::process::id());
        let made = run(Command::new("ip").args(["netns", "add", &name]));
        assert!(
            made.success,
            "cannot make a network namespace: {}\nhelp: these tests need root (CAP_SYS_ADMIN, CAP_NET_ADMIN) and iproute2",
            made.stderr
        );
        Self { name }
    }

    /// Its name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// A command that will run inside.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command inside to its end.
    #[must_use]
    pub fn run(&self, program: &str, arguments: &[&str]) -> Finished {
        run(self.command(program).args(arguments))
    }

    /// Runs a command inside that must succeed; gives its stdout.
    #[track_caller]
    pub fn run_ok(&self, program: &str, arguments: &[&str]) -> String {
        let finished = self.run(program, arguments);
        assert!(
            finished.success,
            "{program} {arguments:?} failed:\n{}{}",
            finished.stdout, finished.stderr
        );
        finished.stdout
    }

    /// Loads nftables rules inside, as an administrator would.
    #[track_caller]
    pub fn nft(&self, rules: &str) {
        let finished = crate::process::run_with_input(self.command("nft").args(["-f", "-"]), rules);
        assert!(
            finished.success,
            "nft refused:\n{rules}\n{}",
            finished.stderr
        );
    }

    /// Runs `work` on a thread inside; sockets made there stay inside.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = self.path();
        std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    join(&path);
                    work()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `work` on a thread of its own inside, which goes on beside the test.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let path = self.path();
        std::thread::spawn(move || {
            join(&path);
            work()
        })
    }

    /// The processes inside.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let listed = run(Command::new("ip").args(["netns", "pids", &self.name]));
        listed
            .stdout
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect()
    }
}

/// Moves the calling thread into the namespace at `path`.
fn join(path: &Path) {
    let file = File::open(path).expect("the namespace's file");
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("entering the namespace: these tests need root");
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Ends the processes inside, then removes the name. A thread of the test that
/// went inside is seen as the test's own process: never that one.
fn remove(name: &str) {
    let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    for _ in 0..100 {
        let listed = run(Command::new("ip").args(["netns", "pids", name]));
        let strangers: Vec<i32> = listed
            .stdout
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .filter(|id| *id != own)
            .collect();
        if strangers.is_empty() {
            break;
        }
        for id in strangers {
            if let Some(id) = Pid::from_raw(id) {
                let _ = rustix::process::kill_process(id, Signal::KILL);
            }
        }
        wait::until_after(wait::now(), std::time::Duration::from_millis(5));
    }
    let _ = run(Command::new("ip").args(["netns", "del", name]));
}

/// Removes what a killed test run left behind: namespaces whose maker is gone.
pub fn remove_orphans() {
    let listed = run(Command::new("ip").args(["netns", "list"]));
    for name in listed
        .stdout
        .lines()
        .filter_map(|line| line.split_whitespace().next())
    {
        let maker = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.trim_start_matches('-').split('-').next());
        if maker.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            remove(name);
        }
    }
}
