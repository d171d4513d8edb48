//! A server with Debian's knockd and spad side by side: both hear the very same packets.
//!
//! knockd guards [`EXPOSED`] with iptables, spad hides [`WEB`]. Knocks are frames made by hand,
//! so that source, order and number are what the test says. Nothing waits a fixed time for
//! what was sent: behind it go a datagram for knockd's door `mark` and a packet of `spa`, and
//! who has heard those has heard what came before.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pnet::packet::ip::IpNextHeaderProtocols;
use rustix::process::{Pid, Signal};
use serde_json::Value;
use spa_tests::frame::{self, Endpoints};
use spa_tests::lab::{CLIENT4, CLIENT6, LINK, Lab, SERVER4, SERVER6, STRANGER4};
use spa_tests::namespace::Namespace;
use spa_tests::process::{Process, memory};
use spa_tests::settings::{EXPOSED, Settings};
use spa_tests::tap::inject;
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

pub(crate) const CLIENT: IpAddr = IpAddr::V4(CLIENT4);
pub(crate) const CLIENT_V6: IpAddr = IpAddr::V6(CLIENT6);
pub(crate) const STRANGER: IpAddr = IpAddr::V4(STRANGER4);
pub(crate) const SEQUENCE: [u16; 3] = [7000, 8000, 9000];
/// From where knockd's door `mark` is knocked at, and its port.
const MARKER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
const MARK: u16 = 6001;
/// For what knockd does, which looks at packets now and then, on a busy machine.
const KNOCKD_TIMEOUT: Duration = Duration::from_secs(60);

/// What each of the two did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerServer<T> {
    pub(crate) knockd: T,
    pub(crate) spad: T,
}

/// The doors of both, as their configurations say it.
pub(crate) struct DoorPair {
    pub(crate) knockd: String,
    pub(crate) spad: String,
}

impl DoorPair {
    /// A door of each for this sequence, the same in all that both know.
    pub(crate) fn new(sequence: &str) -> Self {
        Self::lasting(sequence, 60)
    }

    /// They close after so many seconds.
    pub(crate) fn lasting(sequence: &str, seconds: u32) -> Self {
        Self {
            knockd: door(&format!("sequence = {sequence}\n\tcmd_timeout = {seconds}")),
            spad: format!(
                "[[knock]]\nname = \"side\"\nsequence = \"{sequence}\"\nopen = [\"web\"]\nttl = \"{seconds}s\"\nwithin = \"30s\"\n"
            ),
        }
    }
}

/// knockd's door `side`, as people write it, with these lines.
pub(crate) fn door(lines: &str) -> String {
    let rule = |program: &str, what: &str| {
        format!("{program} {what} INPUT -s %IP% -p tcp --dport {EXPOSED} -j ACCEPT")
    };
    format!(
        "[side]\n\t{lines}\n\tseq_timeout = 30\n\ttcpflags = syn\n\tstart_command = {}\n\tstart_command_6 = {}\n\tstop_command = {}\n\tstop_command_6 = {}\n",
        rule("iptables", "-I"),
        rule("ip6tables", "-I"),
        rule("iptables", "-D"),
        rule("ip6tables", "-D"),
    )
}

/// A running knockd.
pub(crate) struct Knockd {
    pub(crate) process: Process,
    directory: PathBuf,
}

impl Knockd {
    /// Starts it; it may end by itself.
    pub(crate) fn start(lab: &Lab, doors: &str, options: &[&str]) -> Self {
        let directory = lab.path().to_owned();
        configure(lab, doors);
        let output = directory.join("knockd.output");
        let mut command = lab.server.command("knockd");
        command.args(["-i", LINK]).args(options).arg("-c");
        command.env("TZ", "UTC");
        let process = Process::start(command.arg(directory.join("knockd.conf")), &output);
        Self { process, directory }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("knockd.log")).unwrap_or_default()
    }

    /// How often it said this.
    pub(crate) fn logged(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    #[track_caller]
    pub(crate) fn wait_logged(&self, text: &str, times: usize) {
        let begun = wait::now();
        while self.logged(text) < times {
            let (log, output) = (self.log(), self.process.output());
            assert!(
                begun.elapsed() < KNOCKD_TIMEOUT,
                "{times} times {text:?}:\n{log}\n{output}"
            );
            wait::until_after(wait::now(), Duration::from_millis(10));
        }
    }

    /// Its children: each runs one command, or waits for the time of its stop command.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let id = self.process.id();
        let listed = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let listed = listed.unwrap_or_default();
        let ids = listed.split_whitespace().filter_map(|id| id.parse().ok());
        ids.filter_map(Pid::from_raw).collect()
    }

    /// Its resident memory that is not a file's, in kilobytes.
    pub(crate) fn memory(&self) -> u64 {
        memory(self.process.id(), "RssAnon")
    }
}

/// Writes knockd.conf with these doors and the door `mark`.
pub(crate) fn configure(lab: &Lab, doors: &str) {
    let log = lab.path().join("knockd.log");
    let text = format!(
        "[options]\n\tlogfile = {}\n\n{doors}\n[mark]\n\tsequence = {MARK}:udp\n",
        log.display()
    );
    std::fs::write(lab.path().join("knockd.conf"), text).expect("knockd.conf");
}

/// Sends a signal to a process that the test started.
pub(crate) fn signal(process: Pid, signal: Signal) {
    let _ = rustix::process::kill_process(process, signal);
}

/// The two, and the machines.
pub(crate) struct KnockdComparison {
    pub(crate) knockd: Knockd,
    pub(crate) bed: TestBed,
}

impl KnockdComparison {
    /// Both run with these doors.
    #[track_caller]
    pub(crate) fn with(doors: &DoorPair) -> Self {
        Self::starting(doors, &[])
    }

    /// knockd has these options.
    #[track_caller]
    pub(crate) fn starting(doors: &DoorPair, options: &[&str]) -> Self {
        Self::with_bed(TestBed::stopped(&Settings::default()), doors, options)
    }

    /// Both run in this world, whose spad was not started yet.
    #[track_caller]
    pub(crate) fn with_bed(mut bed: TestBed, doors: &DoorPair, options: &[&str]) -> Self {
        for program in ["iptables", "ip6tables"] {
            let port = EXPOSED.to_string();
            let rule = ["-A", "INPUT", "-p", "tcp", "--dport", &port, "-j", "DROP"];
            let _ = bed.lab.server.run_ok(program, &rule);
        }
        bed.append_config("spad.toml", &doors.spad);
        let knockd = Knockd::start(&bed.lab, &doors.knockd, options);
        bed.spad.start();
        knockd.wait_logged("listening on", 1);
        Self { knockd, bed }
    }

    /// The first segment of a connection to each port, in one frame each.
    pub(crate) fn knock(&self, from: IpAddr, ports: &[u16]) {
        let to = if from.is_ipv4() {
            SERVER4.into()
        } else {
            SERVER6.into()
        };
        self.knock_at(from, to, ports);
    }

    /// The same at another address of the server.
    pub(crate) fn knock_at(&self, from: IpAddr, to: IpAddr, ports: &[u16]) {
        let frame = |(place, port): (usize, &u16)| {
            let own = 40_000 + u16::try_from(place).expect("few ports");
            syn(SocketAddr::new(from, own), SocketAddr::new(to, *port))
        };
        let frames: Vec<_> = ports.iter().enumerate().map(frame).collect();
        self.send(&frames);
    }

    pub(crate) fn send(&self, frames: &[Vec<u8>]) {
        inject(&self.bed.lab.client, frames);
    }

    /// Waits until both have heard what was sent so far.
    #[track_caller]
    pub(crate) fn wait_processed(&self) {
        self.wait_knockd_processed();
        self.wait_spad_processed();
    }

    #[track_caller]
    pub(crate) fn wait_knockd_processed(&self) {
        let expected = "mark: OPEN SESAME";
        let before = self.knockd.logged(expected);
        let frame = frame::datagram(Endpoints::new((MARKER, 40_000), (SERVER4, MARK)), b"x");
        // Where knockd changes its filter, for a one-time sequence, what comes meanwhile is lost.
        let mut sent = None;
        wait::within(KNOCKD_TIMEOUT, "knockd hears the mark", || {
            let again = sent.is_none_or(|sent: Instant| sent.elapsed() > Duration::from_secs(2));
            if again {
                self.send(std::slice::from_ref(&frame));
                sent = Some(wait::now());
            }
            (self.knockd.logged(expected) > before).then_some(())
        });
    }

    #[track_caller]
    pub(crate) fn wait_spad_processed(&self) {
        let bed = &self.bed;
        bed.send_counted(&bed.laptop.open(&["tcp/22"]), "opened");
    }

    /// For whom the doors were opened, how often, when all that was sent is heard.
    #[track_caller]
    pub(crate) fn opened(&self, address: IpAddr) -> PerServer<usize> {
        self.wait_processed();
        let grants = |line: &Value| {
            let is = |key: &str, value: &str| line.get(key).and_then(Value::as_str) == Some(value);
            is("event", "grant") && is("door", "side") && is("src", &address.to_string())
        };
        let sesame = format!("{address}: side: OPEN SESAME");
        PerServer {
            knockd: self.knockd.logged(&sesame),
            spad: self
                .bed
                .spad
                .audit()
                .iter()
                .filter(|line| grants(line))
                .count(),
        }
    }
}

/// A frame with a first segment.
pub(crate) fn syn(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let endpoints = Endpoints::new(from, to);
    frame::ip_frame(
        endpoints,
        IpNextHeaderProtocols::Tcp.0,
        &frame::syn(endpoints),
    )
}

/// Whether a namespace's client gets in at this port.
pub(crate) fn is_open(from: &Namespace, server: IpAddr, port: u16) -> bool {
    use spa_tests::reach::{Reachability, tcp};
    tcp(from, server, port) == Reachability::Open
}
