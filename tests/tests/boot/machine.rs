//! A machine with its own systemd: Debian 12 in a container, the shipped units, the built
//! binaries. Its network card is the lab's, and is down until its own units bring it up.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use spa_keys::ServerPublic;
use spa_tests::identity::Identity;
use spa_tests::lab::{CLIENT4, LINK, Lab, SERVER4};
use spa_tests::process::{Finished, Process, run};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{EXPOSED, SPA_PORT, Settings, WEB};
use spa_tests::{attacker, binaries, wait};

/// Where its audit lines go.
const AUDIT: &str = "/var/log/spad/audit.jsonl";
/// Nothing listens there, and no rule names it.
const UNUSED: u16 = 8079;
/// A boot on a loaded machine.
const BOOT: Duration = Duration::from_secs(60);

/// The script's directory.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boot")
}

/// The tree that boots, made once for each text of the script that makes it.
fn tree() -> &'static Path {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    TREE.get_or_init(|| {
        let script = include_bytes!("tree.sh");
        let sum = script.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("boot-tree-{sum:016x}"));
        if !tree.exists() {
            println!("making {} (once)", tree.display());
            let mut make = Command::new("unshare");
            make.args(["--mount", "--propagation", "private"]);
            let _ = run(make.arg(scripts().join("tree.sh")).arg(&tree)).ok();
        }
        tree
    })
}

/// A machine that was set up, running or not. Fields are dropped in this order.
pub(crate) struct Machine {
    nspawn: Option<Process>,
    /// Its first process.
    leader: u32,
    name: String,
    boots: u32,
    /// The enrolled client.
    pub(crate) laptop: Identity,
    /// Its network, and everybody else's machine.
    pub(crate) lab: Lab,
}

impl Machine {
    /// One with these units of others enabled besides the shipped ones. The port of the
    /// early service is hidden.
    #[track_caller]
    pub(crate) fn new(enabled: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let lab = Lab::new();
        let name = format!("spalab-{}-{count}", std::process::id());
        let mut machine = Self {
            nspawn: None,
            leader: 0,
            name,
            boots: 0,
            laptop: Identity::new(&ServerPublic::from_bytes([9; 32]).expect("a key")),
            lab,
        };
        let toml = Settings {
            hide: &["web"],
            trial: "10m",
            ..Settings::ttl("2s")
        }
        .toml(Path::new(AUDIT));
        let output = machine.prepare(&format!(
            "cp -r /shipped/. /etc/systemd/system/
             spad init --port {SPA_PORT} >&2
             cat >/etc/spad/spad.toml <<'TOML'\n{toml}\nTOML
             systemctl enable spad-guard spad {} >&2
             spad key show",
            enabled.join(" ")
        ));
        let public = output
            .split_whitespace()
            .find(|word| word.starts_with("spad-pub-"));
        let public = public.expect("a public key").parse().expect("a public key");
        machine.laptop = Identity::new(&public);
        let key = machine.laptop.public().to_string();
        let _ = machine.prepare(&format!(
            "spad client add laptop --key {key} --allow web >&2
             spad check >&2"
        ));
        machine
    }

    fn work(&self) -> PathBuf {
        self.lab.path().join("machine")
    }

    fn nspawn(&self) -> Command {
        let mut command = Command::new(scripts().join("nspawn.sh"));
        command.arg(tree()).arg(self.work()).arg(&self.name);
        for (binary, place) in [
            (binaries::spad(), "/usr/sbin/spad"),
            (binaries::spa(), "/usr/bin/spa"),
        ] {
            command.arg(format!("--bind-ro={}:{place}", binary.display()));
        }
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
        command.arg(format!("--bind-ro={}:/shipped", shipped.display()));
        command.arg(format!(
            "--network-namespace-path=/run/netns/{}",
            self.lab.server.name()
        ));
        command
    }

    /// Runs a script on the machine while it is off; gives what it printed.
    #[track_caller]
    pub(crate) fn prepare(&self, script: &str) -> String {
        let done = run(self.nspawn().args(["--", "/bin/sh", "-euc", script]));
        assert!(done.success, "{script}\n{}{}", done.stdout, done.stderr);
        done.stdout
    }

    /// Boots it, and waits until everything was started.
    #[track_caller]
    pub(crate) fn boot(&mut self) {
        assert!(self.nspawn.is_none(), "it runs");
        self.boots += 1;
        // A kernel that has just started.
        self.lab.server.run_ok("ip", &["link", "set", LINK, "down"]);
        self.lab.server.run_ok("nft", &["flush", "ruleset"]);
        let output = self.lab.path().join(format!("boot.{}", self.boots));
        let process = Process::start(self.nspawn().arg("--boot"), &output);
        let nspawn = process.id();
        self.nspawn = Some(process);
        self.leader = wait::within(BOOT, "systemd runs", || first_process(nspawn));
        wait::within(BOOT, "the boot is over", || {
            let state = self.run(&["systemctl", "is-system-running"]).stdout;
            ["running", "degraded"]
                .contains(&state.trim())
                .then_some(())
        });
    }

    /// Shuts it down in order.
    #[track_caller]
    pub(crate) fn shut_down(&mut self) {
        let _ = self.run(&["systemctl", "poweroff"]);
        let mut nspawn = self.nspawn.take().expect("a running machine");
        let _ = wait::within(BOOT, "the machine is off", || nspawn.try_wait());
    }

    /// A command on the running machine.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.leader));
        command.args([
            "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--",
        ]);
        command.args(words).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("NO_COLOR", "1");
        command
    }

    /// Runs a command on it to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Finished {
        run(&mut self.command(words))
    }

    /// Runs a command on it that must succeed.
    #[track_caller]
    pub(crate) fn run_ok(&self, words: &[&str]) -> String {
        let done = self.run(words);
        assert!(
            done.success,
            "{words:?}\n{}{}\n{}",
            done.stdout,
            done.stderr,
            self.journal()
        );
        done.stdout
    }

    /// `systemctl` with these words, which must succeed.
    #[track_caller]
    pub(crate) fn systemctl(&self, words: &[&str]) {
        let _ = self.run_ok(&[&["systemctl"], words].concat());
    }

    /// What a unit's state is called.
    pub(crate) fn state(&self, unit: &str) -> String {
        self.run(&["systemctl", "is-active", unit])
            .stdout
            .trim()
            .to_owned()
    }

    /// Waits until a unit is active.
    #[track_caller]
    pub(crate) fn wait_active(&self, unit: &str) {
        let start = wait::now();
        while self.state(unit) != "active" {
            assert!(
                start.elapsed() < wait::TIMEOUT,
                "{unit} is {}\n{}",
                self.state(unit),
                self.journal()
            );
        }
    }

    /// Waits until systemd has nothing left to do.
    #[track_caller]
    pub(crate) fn wait_idle(&self) {
        wait::eventually("systemd has nothing left to do", || {
            let jobs = self.run(&["systemctl", "list-jobs", "--no-legend"]).stdout;
            jobs.trim().is_empty().then_some(())
        });
    }

    /// The engine's process id, as the machine counts.
    pub(crate) fn main_process(&self) -> String {
        let shown = self.run(&["systemctl", "show", "--value", "-p", "MainPID", "spad"]);
        shown.stdout.trim().to_owned()
    }

    /// The first child of a process.
    #[track_caller]
    pub(crate) fn child_pid(&self, id: &str) -> String {
        let children = self.run_ok(&["cat", &format!("/proc/{id}/task/{id}/children")]);
        let first = children.split_whitespace().next();
        first.expect("a child").to_owned()
    }

    /// Waits until the network is up: the shown port answers.
    #[track_caller]
    pub(crate) fn wait_exposed(&self) {
        let shown = SocketAddr::new(SERVER4.into(), EXPOSED);
        wait::eventually("the shown port answers", || {
            // While the link is down, nobody is there to refuse.
            let answers = || TcpStream::connect_timeout(&shown, Duration::from_millis(400)).is_ok();
            self.lab.client.enter(answers).then_some(())
        });
    }

    /// Waits until the hidden port is closed.
    #[track_caller]
    pub(crate) fn wait_closed(&self) {
        wait::eventually("the hidden port closes", || {
            (self.hidden_port() != Reachability::Open).then_some(())
        });
    }

    /// The end of its journal.
    pub(crate) fn journal(&self) -> String {
        let mut text = String::new();
        let _ = write!(
            text,
            "{}",
            self.run(&["journalctl", "-b", "--no-pager", "-n", "60"])
                .stdout
        );
        text
    }

    /// What a stranger sees at the hidden port.
    pub(crate) fn hidden_port(&self) -> Reachability {
        reach::tcp(&self.lab.client, SERVER4.into(), WEB)
    }

    /// What a stranger sees at a port where nothing listens.
    pub(crate) fn closed_port(&self) -> Reachability {
        reach::tcp(&self.lab.client, SERVER4.into(), UNUSED)
    }

    /// Sends a packet of the client.
    pub(crate) fn send(&self, packet: &[u8]) {
        attacker::send(
            &self.lab.client,
            CLIENT4.into(),
            (SERVER4, SPA_PORT).into(),
            packet,
        );
    }

    /// Opens the hidden port by a fresh packet, and waits until it is open.
    #[track_caller]
    pub(crate) fn open(&self) {
        self.send(&self.laptop.open(&["tcp/8080"]));
        wait::eventually("a packet opens", || {
            (self.hidden_port() == Reachability::Open).then_some(())
        });
    }
}

/// The first process of the machine: the child of nspawn's child.
fn first_process(nspawn: u32) -> Option<u32> {
    let children = |id: u32| {
        let text = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        text.split_whitespace().next()?.parse::<u32>().ok()
    };
    let first = children(nspawn)?;
    let name = std::fs::read_to_string(format!("/proc/{first}/comm")).ok()?;
    (name.trim() == "systemd").then_some(first)
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut nspawn) = self.nspawn.take() {
            // Its first process takes everything along.
            if let Some(leader) = i32::try_from(self.leader)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process(leader, Signal::KILL);
            }
            let _ = wait::within(BOOT, "nspawn ends", || nspawn.try_wait());
        }
        for root in [
            "/sys/fs/cgroup/systemd",
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup",
        ] {
            let group = Path::new(root).join(&self.name);
            let _ = run(Command::new("find")
                .arg(group)
                .args(["-depth", "-type", "d", "-delete"]));
        }
    }
}
