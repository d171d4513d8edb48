//! One server: its three directories and its process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use spa_keys::ServerPublic;

use crate::binaries;
use crate::namespace::Namespace;
use crate::process::{Finished, Process, run};
use crate::settings::{SPA_PORT, Settings};
use crate::wait;

/// A server in a namespace, running or not.
#[derive(Debug)]
pub struct Spad {
    namespace: String,
    directory: PathBuf,
    process: Option<Process>,
    /// Files that stand in the place of the machine's own, for its processes alone.
    bind_mounts: BTreeMap<&'static str, PathBuf>,
    starts: u32,
    /// What its starts stand behind.
    wrapper: Vec<String>,
}

impl Spad {
    /// Makes its directories with `spad init`; starts nothing.
    #[must_use]
    pub fn init(namespace: &Namespace, directory: &Path, settings: &Settings) -> Self {
        let spad = Self {
            namespace: namespace.name().to_owned(),
            directory: directory.join("spad"),
            process: None,
            bind_mounts: BTreeMap::new(),
            starts: 0,
            wrapper: Vec::new(),
        };
        std::fs::create_dir_all(&spad.directory).expect("the server's directory");
        spad.cli(&["init", "--port", &SPA_PORT.to_string()]).ok();
        spad.configure(settings);
        spad
    }

    /// Writes `spad.toml`; a running server notices on `spad reload`.
    pub fn configure(&self, settings: &Settings) {
        std::fs::write(
            self.config().join("spad.toml"),
            settings.toml(&self.audit_file()),
        )
        .expect("spad.toml");
    }

    /// Its configuration directory.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.join("config")
    }

    /// Its state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Where its audit lines go.
    #[must_use]
    pub fn audit_file(&self) -> PathBuf {
        self.directory.join("log/audit.jsonl")
    }

    /// A `spad` command line of this server.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(binaries::spad());
        self.add_options(&mut command, arguments);
        command
    }

    /// Adds these arguments and this server's directories.
    pub fn add_options(&self, command: &mut Command, arguments: &[&str]) {
        command.args(arguments);
        for (option, directory) in [
            ("--config", "config"),
            ("--state", "state"),
            ("--run", "run"),
        ] {
            command.arg(option).arg(self.directory.join(directory));
        }
        command.env("NO_COLOR", "1");
    }

    /// Runs a `spad` command to its end.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Finished {
        run(&mut self.command(arguments))
    }

    /// The server's public key.
    #[must_use]
    pub fn public(&self) -> ServerPublic {
        let shown = self.cli(&["key", "show"]).ok().stdout;
        let text = shown
            .split_whitespace()
            .find(|word| word.starts_with("spad-pub-"));
        text.expect("a public key")
            .parse()
            .expect("a server's public key")
    }

    /// From its next start on this server believes that the machine was booted anew.
    pub fn fake_new_boot(&mut self) {
        let id = format!(
            "00000000-0000-4000-8000-{:012}\n",
            self.starts.saturating_add(1)
        );
        self.bind_content("/proc/sys/kernel/random/boot_id", "boot_id", &id);
    }

    /// From its next start on this server believes to be on another machine.
    pub fn fake_other_machine(&mut self) {
        self.bind_content(
            "/etc/machine-id",
            "machine-id",
            "0123456789abcdef0123456789abcdef\n",
        );
    }

    /// From its next start on this server believes that the kernel tracks so many connections
    /// at most: in a namespace of a test it cannot be set.
    pub fn fake_conntrack_max(&mut self, max: u32) {
        self.bind_content(
            "/proc/sys/net/netfilter/nf_conntrack_max",
            "conntrack-max",
            &format!("{max}\n"),
        );
    }

    /// From its next start on this command, which executes what follows it, stands before it.
    pub fn set_wrapper(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
    }

    fn bind_content(&mut self, place: &'static str, name: &str, content: &str) {
        let file = self.directory.join(name);
        std::fs::write(&file, content).expect("a file in another's place");
        self.bind_mount(place, file);
    }

    /// From its next start on this file or directory stands in that place, for its processes
    /// and those of [`Spad::cli_under_wrapper`].
    pub fn bind_mount(&mut self, place: &'static str, file: PathBuf) {
        self.bind_mounts.insert(place, file);
    }

    /// From its next start on every place is what it is.
    pub fn clear_bind_mounts(&mut self) {
        self.bind_mounts.clear();
        self.wrapper.clear();
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub fn start(&mut self) {
        self.spawn();
        wait::eventually("spad serves", || {
            let process = self.process.as_mut()?;
            let ended = process.try_wait();
            assert!(
                ended.is_none(),
                "spad run ended ({ended:?}):\n{}",
                process.output()
            );
            self.cli(&["status"]).success.then_some(())
        });
    }

    /// Starts it, and waits for nothing.
    pub fn spawn(&mut self) {
        self.starts = self.starts.saturating_add(1);
        let output = self.directory.join(format!("output.{}", self.starts));
        self.process = Some(Process::start(&mut self.run_command(), &output));
    }

    /// `spad run` behind the disguises.
    fn run_command(&self) -> Command {
        self.command_with_mounts(&self.wrapper, &["run"])
    }

    /// Runs a `spad` command to its end behind the disguises.
    #[must_use]
    pub fn cli_with_mounts(&self, arguments: &[&str]) -> Finished {
        run(&mut self.command_with_mounts(&[], arguments))
    }

    /// Runs a `spad` command to its end, behind all that its starts stand behind.
    #[must_use]
    pub fn cli_under_wrapper(&self, arguments: &[&str]) -> Finished {
        run(&mut self.command_with_mounts(&self.wrapper, arguments))
    }

    /// Starts a `spad` command behind all that its starts stand behind, and waits for nothing.
    #[must_use]
    pub fn spawn_alongside(&mut self, arguments: &[&str]) -> Process {
        self.starts = self.starts.saturating_add(1);
        let output = self.directory.join(format!("output.{}", self.starts));
        Process::start(
            &mut self.command_with_mounts(&self.wrapper, arguments),
            &output,
        )
    }

    fn command_with_mounts(&self, wrapper: &[String], arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]);
        if !self.bind_mounts.is_empty() {
            // `ip netns exec` has a mount namespace of its own.
            let script = "while [ \"$1\" != -- ]; do mount --bind \"$1\" \"$2\" && shift 2 || exit; done; shift; exec \"$@\"";
            command.args(["sh", "-c", script, "disguise"]);
            for (place, file) in &self.bind_mounts {
                command.arg(file).arg(place);
            }
            command.arg("--");
        }
        command.args(wrapper).arg(binaries::spad());
        self.add_options(&mut command, arguments);
        command
    }

    /// Starts it where it is expected to end by itself.
    #[must_use]
    pub fn run_to_exit(&self) -> Finished {
        run(&mut self.run_command())
    }

    /// Ends it as systemd does.
    #[track_caller]
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("a running server");
        let status = process.signal_and_wait(Signal::TERM);
        assert!(
            status.success(),
            "a clean stop: {status}\n{}",
            process.output()
        );
        self.wait_all_exited();
    }

    /// kill -9.
    #[track_caller]
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("a running server");
        process.signal_and_wait(Signal::KILL);
        self.wait_all_exited();
    }

    /// What a service manager does once the main process has ended: ends what it left.
    pub fn kill_all(&mut self) {
        for (id, _) in self.processes() {
            if let Some(id) = rustix::process::Pid::from_raw(id) {
                let _ = rustix::process::kill_process(id, Signal::KILL);
            }
        }
        self.process = None;
        self.wait_all_exited();
    }

    /// Its processes, each with the word of its command line that says what it is: `run`,
    /// `firewall-writer` or `command-runner`.
    #[must_use]
    pub fn processes(&self) -> Vec<(i32, String)> {
        let binary = binaries::spad();
        let listed = run(Command::new("ip").args(["netns", "pids", &self.namespace]));
        let ids = listed.stdout.split_whitespace();
        ids.filter_map(|id| {
            let exe = std::fs::read_link(format!("/proc/{id}/exe")).ok()?;
            let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?;
            let role = line.split('\0').nth(1)?.to_owned();
            Some((id.parse().ok()?, role)).filter(|_| exe == binary)
        })
        .collect()
    }

    /// One process's end ends the others.
    #[track_caller]
    fn wait_all_exited(&self) {
        let binary = binaries::spad();
        wait::eventually("the other processes end too", || {
            let listed = run(Command::new("ip").args(["netns", "pids", &self.namespace]));
            let running = listed.stdout.split_whitespace().any(|id| {
                std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == binary)
            });
            (!running).then_some(())
        });
    }

    /// The engine's process.
    #[must_use]
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a running server")
    }

    /// What it wrote since it was started.
    #[must_use]
    pub fn output(&self) -> String {
        self.process
            .as_ref()
            .map(Process::output)
            .unwrap_or_default()
    }

    /// Makes a running server take the files as they are.
    #[track_caller]
    pub fn reload(&self) {
        let _ = self.cli(&["reload"]).ok();
    }

    /// `spad status --json`.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Value {
        self.cli(&["status", "--json"]).ok().json()
    }

    /// Verdicts by reason since it was started.
    #[must_use]
    #[track_caller]
    pub fn verdicts(&self) -> BTreeMap<String, u64> {
        let status = self.status();
        let verdicts = status
            .get("verdicts")
            .and_then(Value::as_object)
            .expect("verdicts in the status");
        verdicts
            .iter()
            .map(|(reason, count)| (reason.clone(), count.as_u64().unwrap_or(0)))
            .collect()
    }

    /// How many packets ended so.
    #[must_use]
    #[track_caller]
    pub fn verdict_count(&self, reason: &str) -> u64 {
        self.verdicts().get(reason).copied().unwrap_or(0)
    }

    /// Waits until `count` packets ended so.
    #[track_caller]
    pub fn wait_verdict_count(&self, reason: &str, count: u64) {
        let mut last = BTreeMap::new();
        let end = wait::now();
        loop {
            last.clone_from(&self.verdicts());
            if last.get(reason).copied().unwrap_or(0) >= count {
                return;
            }
            assert!(
                end.elapsed() < wait::TIMEOUT,
                "{count} packets never ended as {reason}: {last:?}\n{}",
                self.output()
            );
        }
    }

    /// The audit so far.
    #[must_use]
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.audit_file()).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits for an audit line in which these fields have these values.
    #[track_caller]
    pub fn wait_audited(&self, fields: &[(&str, &str)]) -> Value {
        let matches = |line: &Value| {
            fields
                .iter()
                .all(|(key, value)| line.get(key).and_then(Value::as_str) == Some(value))
        };
        let start = wait::now();
        loop {
            let lines = self.audit();
            if let Some(line) = lines.iter().find(|line| matches(line)) {
                return line.clone();
            }
            assert!(
                start.elapsed() < wait::TIMEOUT,
                "no audit line {fields:?} among:\n{}\n{}",
                lines
                    .iter()
                    .map(Value::to_string)
                    .collect::<Vec<_>>()
                    .join("\n"),
                self.output()
            );
            wait::until_after(wait::now(), std::time::Duration::from_millis(10));
        }
    }
}
