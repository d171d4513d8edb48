//! Two namespaces and a link: the server's, in which the test itself runs, and the client's.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::LinkNameSpaceType;
use spad_firewall::{FromWriter, StartingWriter, ToWriter, WriterClient};
use spad_ipc::HelperError;
use spad_model::{
    Change, ChangeId, ChangeResult, Element, FirewallError, KernelElement, Paths, Step,
};

const NAMESPACE_ENV: &str = "SPAD_TEST_NAMESPACE";

pub(crate) const SERVER4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub(crate) const CLIENT4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Another address behind the link, with no machine of its own: nothing answers for it.
pub(crate) const GHOST4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 77);
pub(crate) const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2);
pub(crate) const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const GHOST6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x77);

/// Starts a writer that has leave to load the table.
pub(crate) fn start(binary: &Path, paths: &Paths) -> Result<WriterClient, HelperError> {
    StartingWriter::spawn(binary, paths)?.begin()
}

/// Runs a test in a namespace of its own.
pub(crate) fn isolated(name: &str, test: impl FnOnce()) {
    if std::env::var_os(NAMESPACE_ENV).is_some() {
        return test();
    }
    let output = Command::new("unshare")
        .args(["-n", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(NAMESPACE_ENV, "1")
        .output()
        .expect("this test needs unshare from util-linux");
    let output_text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && output_text.contains("1 passed"),
        "in its namespace (this needs root):\n{output_text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Makes a test of a function that takes no arguments: the test runs in a namespace of its own.
macro_rules! in_netns {
    ($($(#[$doc:meta])* fn $name:ident() $body:block)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            let name = concat!(module_path!(), "::", stringify!($name));
            let name = name.split_once("::").map_or(name, |(_, name)| name);
            crate::firewall::netns::isolated(name, || $body);
        }
    )*};
}
pub(crate) use in_netns;

pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Loads rules in the server's namespace, as an administrator would.
pub(crate) fn nft(text: &str) {
    // nft 1.0.6 wants a line's end or a semicolon between two closing braces.
    let text = &text.replace("} }", "}\n}\n");
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("this test needs nft: apt-get install nftables");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
}

pub(crate) struct TestNetns {
    client: Child,
    directory: tempfile::TempDir,
    pub(crate) paths: Paths,
}

impl TestNetns {
    /// The link, addresses of both families, and a configuration with these lines besides.
    pub(crate) fn new(hide: &str, guard: &str) -> Self {
        assert!(std::env::var_os(NAMESPACE_ENV).is_some());
        sh("ip link set lo up");
        let client = Command::new("unshare")
            .args(["-n", "--", "sleep", "300"])
            .spawn()
            .unwrap();
        let pid = client.id();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let other = format!("/proc/{pid}/ns/net");
        wait_until(|| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim() == "sleep" && std::fs::read_link(&other).is_ok_and(|link| link != own)
        });
        sh(&format!(
            "ip link add s0 address 02:00:00:00:00:02 type veth peer name c0 address 02:00:00:00:00:01 netns {pid}
            sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
            sysctl -qw net.ipv4.icmp_msgs_per_sec=1000000 net.ipv4.icmp_msgs_burst=100000 2>/dev/null || true
            ip addr add {SERVER4}/24 brd + dev s0; ip -6 addr add {SERVER6}/64 dev s0 nodad; ip link set s0 up
            for one in {CLIENT4} {GHOST4} {CLIENT6} {GHOST6}; do ip neigh add $one lladdr 02:00:00:00:00:01 dev s0; done
            nsenter -t {pid} -n sh -c 'ip link set lo up; ip addr add {CLIENT4}/24 brd + dev c0
              ip -6 addr add {CLIENT6}/64 dev c0 nodad; ip link set c0 up
              for one in {SERVER4} {SERVER6}; do ip neigh add $one lladdr 02:00:00:00:00:02 dev c0; done'"
        ));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        // The writer reads the configuration as a user of its own.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let paths = Paths {
            config: path.join("etc"),
            state: path.join("state"),
            run: path.join("run"),
        };
        std::fs::create_dir_all(paths.clients_dir()).unwrap();
        let world = Self {
            client,
            directory,
            paths,
        };
        world.configure(hide, guard);
        std::thread::sleep(Duration::from_millis(100));
        world
    }

    /// A process in the client's namespace.
    pub(crate) fn client_process(&self) -> u32 {
        self.client.id()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn configure(&self, hide: &str, guard: &str) {
        let text = format!(
            "hide = [{hide}]\n[services]\nssh = \"tcp/22\"\nweb = \"tcp/80\"\ndns = \"udp/53\"\n\
             [listen]\nport = 62201\n[guard]\n{guard}\n"
        );
        std::fs::write(self.paths.config_file(), text).unwrap();
    }

    /// Looks for packets there instead of at 62201.
    pub(crate) fn set_spa_port(&self, port: &str) {
        let file = self.paths.config_file();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, text.replace("62201", port)).unwrap();
    }

    /// Runs this in a thread that is in the client's namespace.
    pub(crate) fn in_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", self.client.id())).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    pub(crate) fn writer(&self) -> TestWriter {
        let binary = Path::new(env!("CARGO_BIN_EXE_spad"));
        TestWriter::new(start(binary, &self.paths).unwrap())
    }

    pub(crate) fn spad(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_spad"))
            .args(arguments)
            .arg("--config")
            .arg(&self.paths.config)
            .arg("--state")
            .arg(&self.paths.state)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether a client's connection to this port is taken.
    pub(crate) fn connects(&self, to: impl Into<IpAddr>, port: u16) -> bool {
        self.connection(to, port).is_some()
    }

    pub(crate) fn connection(&self, to: impl Into<IpAddr>, port: u16) -> Option<TcpStream> {
        let to = SocketAddr::new(to.into(), port);
        self.in_client(|| TcpStream::connect_timeout(&to, Duration::from_secs(3)).ok())
    }

    /// Whether the server's UDP service on this port hears this client.
    pub(crate) fn datagram_arrives(
        &self,
        service: &UdpSocket,
        to: impl Into<IpAddr>,
        port: u16,
    ) -> bool {
        let to = SocketAddr::new(to.into(), port);
        self.in_client(|| {
            let any: IpAddr = if to.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            let socket = UdpSocket::bind((any, 0)).unwrap();
            socket.set_broadcast(true).unwrap();
            let _ = socket.send_to(b"hello", to);
        });
        receives(service)
    }
}

impl Drop for TestNetns {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// Whether a datagram is there, or comes soon.
pub(crate) fn receives(service: &UdpSocket) -> bool {
    service
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut received = false;
    while service.recv(&mut [0; 64]).is_ok() {
        received = true;
        service
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
    }
    received
}

/// A TCP service of both families that gives back what it gets.
pub(crate) fn echo(port: u16) {
    for address in [
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        SocketAddr::from((SERVER6, port)),
    ] {
        let listener = TcpListener::bind(address).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut bytes = [0; 64];
                    while let Ok(length @ 1..) = stream.read(&mut bytes) {
                        let _ = stream.write_all(&bytes[..length]);
                    }
                });
            }
        });
    }
}

/// Whether the echo answers on this connection.
pub(crate) fn answers(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut [0]).is_ok()
}

/// A UDP service of this family.
pub(crate) fn udp(address: impl Into<IpAddr>, port: u16) -> UdpSocket {
    UdpSocket::bind((address.into(), port)).unwrap()
}

pub(crate) fn element(address: impl Into<IpAddr>, service: &str) -> Element {
    Element {
        address: address.into(),
        service: service.parse().unwrap(),
        source_port: None,
        once: false,
        prefix: None,
    }
}

pub(crate) fn put(element: Element, milliseconds: u64) -> Step {
    let ttl = Duration::from_millis(milliseconds);
    Step::Put { element, ttl }
}

/// The engine's end, with the patience that a test has.
pub(crate) struct TestWriter {
    pub(crate) writer: WriterClient,
    /// What came besides answers.
    pub(crate) events: Vec<FromWriter>,
}

/// `nft monitor` at work: what the kernel tells of each transaction.
pub(crate) struct Transactions {
    monitor: std::process::Child,
    log: std::path::PathBuf,
}

impl Transactions {
    /// Counts from now on.
    pub(crate) fn watch(directory: &Path) -> Self {
        let log = directory.join("monitor");
        let file = std::fs::File::create(&log).unwrap();
        let mut monitor = std::process::Command::new("nft");
        let monitor = monitor.arg("monitor").stdout(file).spawn().unwrap();
        let watch = Self { monitor, log };
        wait_until(|| {
            nft("table inet heard {}");
            nft("delete table inet heard");
            watch.text().contains("delete table inet heard")
        });
        watch
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Those of elements since the start.
    pub(crate) fn count(&self) -> usize {
        nft("table inet over {}");
        wait_until(|| self.text().contains("add table inet over"));
        let text = self.text();
        let generations = text.split("# new generation");
        generations
            .filter(|one| one.contains(" element inet spad "))
            .count()
    }
}

impl Drop for Transactions {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}

impl TestWriter {
    /// Its process, found as an administrator would.
    pub(crate) fn process(&self) -> i32 {
        let parent = format!("PPid:\t{}\n", std::process::id());
        let is_writer = |id: &i32| {
            let proc_file = |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}"));
            proc_file("status").is_ok_and(|status| status.contains(&parent))
                && proc_file("comm").is_ok_and(|name| name == "spad\n")
        };
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let mut ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.find(is_writer).expect("the firewall writer's process")
    }

    pub(crate) fn new(writer: WriterClient) -> Self {
        let events = Vec::new();
        Self { writer, events }
    }

    /// Keeps it from working until [`Self::resume`], so that messages gather.
    pub(crate) fn suspend(&self) {
        self.signal(rustix::process::Signal::STOP);
        let stat = format!("/proc/{}/stat", self.process());
        wait_until(|| std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")));
    }

    pub(crate) fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// Ends it by a signal that it cannot catch.
    pub(crate) fn kill(self) {
        self.signal(rustix::process::Signal::KILL);
        self.writer.stop();
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_raw(self.process()).unwrap();
        rustix::process::kill_process(process, signal).unwrap();
    }

    pub(crate) fn change(&mut self, steps: Vec<Step>) -> Result<(), FirewallError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = ChangeId(NEXT.fetch_add(1, Ordering::Relaxed));
        self.writer
            .send(ToWriter::Change(Change { id, steps }))
            .unwrap();
        match self.wait_for(|message| matches!(message, FromWriter::Answer(_))) {
            FromWriter::Answer(ChangeResult { id: of, result }) => {
                assert_eq!(of, id);
                result
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn list(&mut self) -> Vec<KernelElement> {
        self.writer.send(ToWriter::List).unwrap();
        let mut all = Vec::new();
        loop {
            match self.wait_for(|message| matches!(message, FromWriter::Listed { .. })) {
                FromWriter::Listed { elements, last } => {
                    all.extend(elements);
                    if last {
                        return all;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn has(&mut self, element: Element) -> bool {
        self.list().iter().any(|one| one.element == element)
    }

    /// Sends this and gives the answer of that kind.
    pub(crate) fn request(
        &mut self,
        message: &ToWriter,
        matches: impl Fn(&FromWriter) -> bool,
    ) -> FromWriter {
        self.writer.send(message.clone()).unwrap();
        self.wait_for(matches)
    }

    /// The next message of this kind; others are kept.
    pub(crate) fn wait_for(&mut self, is: impl Fn(&FromWriter) -> bool) -> FromWriter {
        if let Some(place) = self.events.iter().position(&is) {
            return self.events.remove(place);
        }
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            self.writer.wait(Duration::from_millis(200)).unwrap();
            while let Some(message) = self.writer.receive().unwrap() {
                if is(&message) {
                    return message;
                }
                // They come when the rules of others were read, whatever the test is about.
                let is_unsolicited = matches!(
                    message,
                    FromWriter::StrangerReply(_) | FromWriter::Busy(_) | FromWriter::Pong
                );
                if !is_unsolicited {
                    self.events.push(message);
                }
            }
        }
        panic!("no such message in ten seconds; others: {:?}", self.events);
    }
}

/// Waits until this is so, ten seconds at most.
pub(crate) fn wait_until(condition: impl FnMut() -> bool) {
    wait_until_within(Duration::from_secs(10), condition);
}

/// Waits until this is so, for so long at most.
pub(crate) fn wait_until_within(time: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while !condition() {
        assert!(Instant::now() < end, "not so within {time:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
