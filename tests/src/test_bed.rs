//! What nearly every test needs: two machines, a running server that hides
//! echo services, and one enrolled client.

use std::net::IpAddr;
use std::time::Duration;

use spa_keys::ServerPublic;

use crate::attacker;
use crate::binaries;
use crate::echo::Echo;
use crate::identity::Identity;
use crate::lab::{CLIENT4, CLIENT6, Lab, SERVER4, SERVER6, STRANGER4};
use crate::process::{Finished, run};
use crate::reach::{self, Reachability};
use crate::settings::{CHAT, EXPOSED, SPA_PORT, Settings, WEB};
use crate::spad::Spad;
use crate::wait;

/// Two machines, a server, a client. Fields are dropped in this order.
pub struct TestBed {
    /// The server.
    pub spad: Spad,
    /// The enrolled client, which may open everything.
    pub laptop: Identity,
    /// The server's public key.
    pub server_public: ServerPublic,
    /// The hidden services and the shown one, in the order WEB, CHAT, SHOWN.
    pub echoes: [Echo; 3],
    /// The machines.
    pub lab: Lab,
}

impl TestBed {
    /// Limits a running process by this argument of `prlimit`. As its own user: root needs a
    /// capability for that.
    #[track_caller]
    pub fn limit(&self, process: impl std::fmt::Display, limit: &str) {
        let process = process.to_string();
        let owner = std::fs::read_to_string(format!("/proc/{process}/status"));
        let owner = owner.expect("its status");
        let id = |word: &str| {
            let line = owner.lines().find_map(|line| line.strip_prefix(word));
            let first = line.and_then(|line| line.split_whitespace().next());
            first.expect("its owner").to_owned()
        };
        let user = format!("--reuid={}", id("Uid:"));
        let group = format!("--regid={}", id("Gid:"));
        let arguments = [
            &user,
            &group,
            "--clear-groups",
            "prlimit",
            "--pid",
            &process,
            limit,
        ];
        let _ = self.lab.server.run_ok("setpriv", &arguments);
    }

    /// One that runs, with the default settings.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self::with(&Settings::default())
    }

    /// One that runs, with these settings.
    #[must_use]
    #[track_caller]
    pub fn with(settings: &Settings) -> Self {
        let mut bed = Self::stopped(settings);
        bed.spad.start();
        bed
    }

    /// One whose server was not started yet.
    #[must_use]
    #[track_caller]
    pub fn stopped(settings: &Settings) -> Self {
        let lab = Lab::new();
        let spad = Spad::init(&lab.server, lab.path(), settings);
        let server_public = spad.public();
        let laptop = Identity::new(&server_public);
        let echoes = [
            Echo::tcp(&lab.server, WEB),
            Echo::udp(&lab.server, CHAT),
            Echo::tcp(&lab.server, EXPOSED),
        ];
        let bed = Self {
            spad,
            laptop,
            server_public,
            echoes,
            lab,
        };
        bed.add_client("laptop", &bed.laptop, "ssh,web,chat");
        bed
    }

    /// Enrols a client; a running server needs `reload` after it.
    #[track_caller]
    pub fn add_client(&self, name: &str, identity: &Identity, allow: &str) {
        let key = identity.public().to_string();
        let _ = self
            .spad
            .cli(&["client", "add", name, "--key", &key, "--allow", allow])
            .ok();
    }

    /// Enrols a new client in the running server, with more lines in its file.
    #[must_use]
    #[track_caller]
    pub fn new_client(&self, name: &str, allow: &str, more: &str) -> Identity {
        let identity = Identity::new(&self.server_public);
        self.add_client(name, &identity, allow);
        if !more.is_empty() {
            let file = self
                .spad
                .config()
                .join("clients.d")
                .join(format!("{name}.toml"));
            let text = std::fs::read_to_string(&file).expect("the client's file");
            std::fs::write(&file, format!("{more}\n{text}")).expect("the client's file");
        }
        self.spad.reload();
        identity
    }

    /// Sends a packet from the client's usual IPv4 address to the server's knock port.
    pub fn send(&self, packet: &[u8]) {
        attacker::send(
            &self.lab.client,
            CLIENT4.into(),
            (SERVER4, SPA_PORT).into(),
            packet,
        );
    }

    /// The same over IPv6.
    pub fn send6(&self, packet: &[u8]) {
        attacker::send(
            &self.lab.client,
            CLIENT6.into(),
            (SERVER6, SPA_PORT).into(),
            packet,
        );
    }

    /// Sends a packet from another address.
    pub fn send_as_stranger(&self, packet: &[u8]) {
        attacker::send(
            &self.lab.client,
            STRANGER4.into(),
            (SERVER4, SPA_PORT).into(),
            packet,
        );
    }

    /// What the client sees at a TCP port of the server.
    #[must_use]
    pub fn tcp(&self, port: u16) -> Reachability {
        reach::tcp(&self.lab.client, SERVER4.into(), port)
    }

    /// What the client sees at a UDP port of the server.
    #[must_use]
    pub fn udp(&self, port: u16) -> Reachability {
        reach::udp(&self.lab.client, SERVER4.into(), port)
    }

    /// What the client sees at a TCP port of the server, over IPv6.
    #[must_use]
    pub fn tcp6(&self, port: u16) -> Reachability {
        reach::tcp(&self.lab.client, SERVER6.into(), port)
    }

    /// What the client sees at a UDP port of the server, over IPv6.
    #[must_use]
    pub fn udp6(&self, port: u16) -> Reachability {
        reach::udp(&self.lab.client, SERVER6.into(), port)
    }

    /// Sends a packet and waits until the server says how it ended.
    #[track_caller]
    pub fn send_counted(&self, packet: &[u8], reason: &str) {
        let before = self.spad.verdict_count(reason);
        self.send(packet);
        self.spad.wait_verdict_count(reason, before + 1);
    }

    /// Sends many packets at once and waits until each has its verdict.
    #[track_caller]
    pub fn send_all(&self, packets: &[Vec<u8>]) {
        let verdict_count = || self.spad.verdicts().values().sum::<u64>();
        let all = verdict_count() + u64::try_from(packets.len()).expect("a count");
        let borrowed: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        let spa_address = (SERVER4, SPA_PORT).into();
        attacker::send_all(&self.lab.client, CLIENT4.into(), spa_address, &borrowed);
        wait::eventually("all get their verdict", || {
            (verdict_count() >= all).then_some(())
        });
    }

    /// What the client sees at the hidden ports, over both families.
    #[must_use]
    pub fn probe_hidden(&self) -> [Reachability; 4] {
        [
            self.tcp(WEB),
            self.tcp6(WEB),
            self.udp(CHAT),
            self.udp6(CHAT),
        ]
    }

    /// Opens these services with a fresh packet of the laptop and waits until the server says so.
    #[track_caller]
    pub fn open(&self, services: &[&str]) {
        self.send_counted(&self.laptop.open(services), "opened");
    }

    /// Waits until the port is closed; gives what is seen then.
    #[track_caller]
    pub fn wait_closed(&self, port: u16) -> Reachability {
        wait::eventually("the port closes", || {
            let seen = self.tcp(port);
            (seen != Reachability::Open).then_some(seen)
        })
    }

    /// Fails if the TCP port answers at any time within `span`.
    #[track_caller]
    pub fn stays_closed(&self, port: u16, duration: Duration) {
        wait::never_within(duration, || {
            (self.tcp(port) == Reachability::Open).then(|| format!("port {port} is open"))
        });
    }

    /// Writes the laptop's files for `spa`, with the server as host `gw` at `address`.
    #[track_caller]
    pub fn enrol_spa(&self, address: IpAddr) {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let directory = self.lab.path().join("spa");
        std::fs::create_dir_all(&directory).expect("the client's directory");
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700))
            .expect("its mode");
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(directory.join("identity"));
        let text = format!("{}\n", self.laptop.secret_text());
        std::io::Write::write_all(&mut file.expect("the identity's file"), text.as_bytes())
            .expect("the identity");
        let (address, port) = (address.to_string(), SPA_PORT.to_string());
        let key = self.server_public.to_string();
        let add = [
            "host",
            "add",
            "gw",
            "--address",
            &address,
            "--port",
            &port,
            "--key",
            &key,
        ];
        let services = ["--service", "ssh=tcp/22", "--default", "ssh"];
        let _ = self.spa(&[&add[..], &services].concat()).ok();
    }

    /// Runs `spa` at the client's machine.
    #[must_use]
    pub fn spa(&self, arguments: &[&str]) -> Finished {
        let mut command = self.lab.client.command(binaries::spa());
        command
            .args(arguments)
            .arg("--config")
            .arg(self.lab.path().join("spa"))
            .env("NO_COLOR", "1");
        run(&mut command)
    }
}

impl Default for TestBed {
    fn default() -> Self {
        Self::new()
    }
}
