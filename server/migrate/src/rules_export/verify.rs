//! [IO] Tries rules out: two network namespaces of their own, joined by a link, real
//! packets. Touches nothing of the host's network. The namespaces have no names: they
//! are gone when this process is, however it ends.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Command;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use spa_proto::{Protocol, Service};
use spad_model::Help;
use spad_model::knock::Knock;
use spad_sys::netns::unshare_network;
use spad_sys::program;
use spad_sys::program::{CapturedStreams, Limits};

use super::RuleSpec;

const SERVER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];
/// A packet that nobody answers took this long at most.
const UNANSWERED_TIMEOUT: Duration = Duration::from_millis(20);
/// Whoever answers answers within this time.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// What one program may take.
const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(10),
    max_output: 64 << 10,
};

/// Why rules could not be tried, or do not hold.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A program is missing or failed.
    #[error("{0}")]
    Program(String),
    /// The system refused.
    #[error("cannot try the rules: {0}")]
    Io(#[from] io::Error),
    /// They do something else than they should.
    #[error("the rules do not hold: over {0}, {1}")]
    Mismatch(&'static str, &'static str),
}

impl Help for VerifyError {
    fn help(&self) -> Option<String> {
        let help = match self {
            Self::Program(_) => {
                "--check needs root, and the programs ip and nft, or iptables-restore and ip6tables-restore"
            }
            Self::Io(_) => "--check needs root and network namespaces",
            Self::Mismatch(..) => return None,
        };
        Some(help.to_owned())
    }
}

/// How the rules are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// By `nft -f`.
    Nftables,
    /// By `iptables-restore` and `ip6tables-restore`.
    Iptables,
}

/// Loads the rules where they can do no harm and knocks, over IPv4 and IPv6: closed at
/// first, closed after a scan upwards and after a wrong knock in between, open after
/// the sequence. Gives what was seen, a line each.
///
/// # Errors
/// See [`VerifyError`].
pub fn verify(spec: &RuleSpec, rules: &str, loader: Loader) -> Result<Vec<String>, VerifyError> {
    let network = TestNetwork::new()?;
    match loader {
        Loader::Nftables => network.server.pipe_stdin("nft", &["-f", "-"], rules)?,
        Loader::Iptables => {
            network.server.pipe_stdin("iptables-restore", &[], rules)?;
            network.server.pipe_stdin("ip6tables-restore", &[], rules)?;
        }
    }
    let Some(service) = spec.open.first().copied() else {
        return Ok(Vec::new());
    };
    let doors = network.server.enter(|| TestService::open(service))??;
    let mut seen = Vec::new();
    for (name, door) in ["IPv4", "IPv6"].into_iter().zip(&doors) {
        let open = || network.client.enter(|| door.is_open());
        let knock = |knocks: &[Knock]| {
            network
                .client
                .enter(|| knocks.iter().for_each(|one| door.knock(*one)))
        };
        let wrong = |what| VerifyError::Mismatch(name, what);
        if open()? {
            return Err(wrong("the port is open before any knock"));
        }
        knock(&ascending(spec))?;
        if open()? {
            return Err(wrong("a scan upwards opens the port"));
        }
        knock(&with_wrong_knock(spec))?;
        if open()? {
            return Err(wrong("a wrong knock in between does not matter"));
        }
        knock(spec.sequence.knocks())?;
        if !open()? {
            return Err(wrong("the sequence does not open the port"));
        }
        seen.push(format!(
            "{name}: closed at first, after a scan upwards and after a wrong knock; open after {}",
            spec.sequence
        ));
    }
    Ok(seen)
}

/// Every port from below the lowest knock to above the highest would take minutes; the
/// knocks and their neighbours in ascending order meet the same rules.
fn ascending(spec: &RuleSpec) -> Vec<Knock> {
    let knocks = spec.sequence.knocks().iter();
    let mut all: Vec<Knock> = knocks
        .flat_map(|knock| {
            let port = knock.port.get();
            let near = [port.saturating_sub(1), port, port.saturating_add(1)];
            let near = near.into_iter().filter_map(std::num::NonZeroU16::new);
            near.map(|port| Knock { port, ..*knock })
        })
        .collect();
    all.sort_by_key(|knock| knock.port);
    all.dedup();
    all
}

/// The sequence with the first knock again before the last.
fn with_wrong_knock(spec: &RuleSpec) -> Vec<Knock> {
    let mut knocks = spec.sequence.knocks().to_vec();
    let Some(last) = knocks.pop() else {
        return knocks;
    };
    let stranger = (1..u16::MAX).filter_map(std::num::NonZeroU16::new).rev();
    let mut strange = stranger.map(|port| Knock { port, ..last });
    knocks.extend(strange.find(|knock| !spec.sequence.knocks().contains(knock)));
    knocks.push(last);
    knocks
}

/// The port that is to be opened, with somebody behind it.
struct TestService {
    server: SocketAddr,
    backend: Backend,
}

enum Backend {
    Tcp(#[expect(dead_code, reason = "listens while it lives")] TcpListener),
    Udp(UdpSocket),
}

impl TestService {
    fn open(service: Service) -> io::Result<Vec<Self>> {
        SERVER
            .into_iter()
            .map(|address| {
                let server = SocketAddr::new(address, service.port.get());
                let backend = if service.protocol == Protocol::Udp {
                    let socket = UdpSocket::bind(server)?;
                    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                    Backend::Udp(socket)
                } else {
                    Backend::Tcp(TcpListener::bind(server)?)
                };
                Ok(Self { server, backend })
            })
            .collect()
    }

    fn is_open(&self) -> bool {
        match &self.backend {
            Backend::Tcp(_) => TcpStream::connect_timeout(&self.server, ANSWER_TIMEOUT).is_ok(),
            Backend::Udp(socket) => {
                send_udp(self.server);
                socket.recv_from(&mut [0; 8]).is_ok()
            }
        }
    }

    fn knock(&self, knock: Knock) {
        let mut to = self.server;
        to.set_port(knock.port.get());
        if knock.protocol == Protocol::Udp {
            send_udp(to);
        } else {
            // Nobody answers; what counts is the first segment.
            let _ = TcpStream::connect_timeout(&to, UNANSWERED_TIMEOUT);
        }
    }
}

fn send_udp(to: SocketAddr) {
    let any: IpAddr = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    if let Ok(socket) = UdpSocket::bind((any, 0)) {
        let _ = socket.send_to(&[0], to);
        std::thread::sleep(UNANSWERED_TIMEOUT);
    }
}

/// Two machines and a link.
struct TestNetwork {
    server: Namespace,
    client: Namespace,
}

impl TestNetwork {
    fn new() -> Result<Self, VerifyError> {
        let (server, client) = (Namespace::new()?, Namespace::new()?);
        let joined = format!(
            "link add door type veth peer name door netns {}\n",
            server.path()
        );
        client.pipe_stdin("ip", &["-batch", "-"], &joined)?;
        for (namespace, last) in [(&server, 1), (&client, 2)] {
            let addresses = format!(
                "link set lo up\nlink set door up\naddr add 192.0.2.{last}/24 dev door\naddr add 2001:db8::{last}/64 dev door nodad\n"
            );
            namespace.pipe_stdin("ip", &["-batch", "-"], &addresses)?;
        }
        // A knock that waits for the neighbour's address would come late.
        client.enter(|| {
            for address in SERVER {
                let _ = TcpStream::connect_timeout(&SocketAddr::new(address, 9), ANSWER_TIMEOUT);
            }
        })?;
        Ok(Self { server, client })
    }
}

/// A namespace, for as long as this is kept.
struct Namespace(File);

impl Namespace {
    fn new() -> io::Result<Self> {
        run_on_thread(|| {
            unshare_network()?;
            File::open("/proc/thread-self/ns/net").map(Self)
        })
    }

    /// Where others find it.
    fn path(&self) -> String {
        let (process, file) = (std::process::id(), self.0.as_raw_fd());
        format!("/proc/{process}/fd/{file}")
    }

    /// Does this on a thread inside.
    fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        run_on_thread(|| {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.0.as_fd(), network)?;
            Ok(work())
        })
    }

    /// Runs a program inside.
    fn pipe_stdin(
        &self,
        program: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<(), VerifyError> {
        self.enter(|| run(program, arguments, input))?
    }
}

/// What a thread does to its own namespace is over when it ends.
fn run_on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(io::Error::other("a thread of the trial failed")))
}

/// Runs a program from the system's own places, with nothing of our environment.
fn run(program: &str, arguments: &[&str], input: &str) -> Result<(), VerifyError> {
    let failed = |why: String| {
        let words = [&[program][..], arguments].concat();
        VerifyError::Program(format!("`{}` failed: {why}", words.join(" ")))
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let run = program::run(
        &mut command,
        input.as_bytes(),
        CapturedStreams::Stderr,
        LIMITS,
        None,
    );
    let run = run.map_err(|error| failed(error.to_string()))?;
    match run.status {
        Some(status) if status.success() && run.stdin_consumed => Ok(()),
        // One that ended early says why itself.
        Some(status) => Err(failed(match String::from_utf8_lossy(&run.output).trim() {
            "" => format!("it ended ({status}) and said nothing"),
            words => words.to_owned(),
        })),
        None => Err(failed(format!(
            "it did not end within {} seconds, and was killed",
            LIMITS.timeout.as_secs()
        ))),
    }
}
