//! [IO] Under which address does a STUN server see this machine? RFC 8489, over
//! UDP, one request a family.
//!
//! Whoever is on the way can answer in the server's place. What is learned here is
//! good where a packet's own source would do as well, and no "stated" address.

pub mod message;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spa_proto::Addresses;

use crate::clock;
use crate::resolve::{Family, ResolveError, resolve};

/// The port of STUN (RFC 8489 §18.6).
pub const DEFAULT_PORT: NonZeroU16 = match NonZeroU16::new(3478) {
    Some(port) => port,
    None => NonZeroU16::MIN,
};

/// When a request is sent, and sent again (§6.2.1), and when there will be no answer.
const SEND_AT: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_millis(1_500),
    Duration::from_millis(3_000),
];

/// How much longer the other family is waited for once one is known.
const SECOND_FAMILY_WAIT: Duration = Duration::from_millis(500);

/// The longest answer that is read.
const MAX_RESPONSE: usize = 1_500;

/// A STUN server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StunServer {
    /// A name to look up, or an address.
    pub host: String,
    /// Its UDP port.
    pub port: NonZeroU16,
}

impl fmt::Display for StunServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// Why no address was learned.
#[derive(Debug, thiserror::Error)]
pub enum StunError {
    /// The server has no address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// There was no randomness.
    #[error(transparent)]
    Key(#[from] spa_keys::KeyError),
    /// It did not answer; each address and what was met there.
    #[error(
        "the STUN server {server} did not tell this machine's address ({each}); say `--for ADDR`, or leave --for out"
    )]
    NoAnswer {
        /// Which.
        server: StunServer,
        /// What was met.
        each: String,
    },
}

/// Asks the server in each family that it has.
///
/// # Errors
/// No answer in any.
pub fn query(server: &StunServer, family: Family) -> Result<Addresses, StunError> {
    let found = resolve(&server.host, server.port, family)?;
    let mut requests = Vec::new();
    for is_v4 in [true, false] {
        if let Some(at) = found.iter().find(|at| at.is_ipv4() == is_v4) {
            requests.push(Request::new(*at)?);
        }
    }
    exchange(&mut requests);
    let known = |is_v4| {
        let mut known = requests.iter().filter_map(|request| request.mapped);
        known.find(|address| address.is_ipv4() == is_v4)
    };
    let v4 = known(true).and_then(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let v6 = known(false).and_then(|address| match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    });
    match Addresses::new(v4, v6) {
        Ok(addresses) if !addresses.is_empty() => Ok(addresses),
        _ => Err(StunError::NoAnswer {
            server: server.clone(),
            each: requests
                .iter()
                .map(|request| format!("{}: {}", request.server.ip(), request.status))
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// One family's request.
struct Request {
    server: SocketAddr,
    /// Connected: datagrams from elsewhere do not arrive.
    socket: io::Result<UdpSocket>,
    transaction: message::TransactionId,
    mapped: Option<IpAddr>,
    status: String,
}

impl Request {
    fn new(server: SocketAddr) -> Result<Self, spa_keys::KeyError> {
        Ok(Self {
            server,
            socket: connected_socket(server),
            transaction: spa_keys::random_bytes()?,
            mapped: None,
            status: "no answer".into(),
        })
    }

    /// The socket, as long as something may come.
    fn pending_socket(&self) -> Option<&UdpSocket> {
        self.socket.as_ref().ok().filter(|_| self.mapped.is_none())
    }

    fn send(&mut self) {
        let sent = match (&self.socket, self.mapped) {
            (_, Some(_)) => return,
            (Ok(socket), None) => socket
                .send(&message::binding_request(self.transaction))
                .map(|_| ()),
            (Err(error), None) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        self.note_error(sent);
    }

    fn receive(&mut self) {
        let mut datagram = vec![0; MAX_RESPONSE];
        let Some(socket) = self.pending_socket() else {
            return;
        };
        match socket.recv(&mut datagram) {
            Ok(length) => {
                datagram.truncate(length);
                match message::parse_response(datagram, self.transaction, self.server) {
                    Ok(address) => self.mapped = Some(address),
                    // The genuine answer may still come.
                    Err(fault) => self.status = fault.to_string(),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.note_error(Err(error)),
        }
    }

    fn note_error(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.status = error.to_string();
        }
    }
}

fn connected_socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let any = if server.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sends, and sends again, until all have answered or their time is over.
fn exchange(requests: &mut [Request]) {
    let start = clock::monotonic();
    let since = || clock::monotonic().saturating_sub(start);
    let mut sent = 0;
    let mut end = SEND_AT.into_iter().max().unwrap_or_default();
    loop {
        let now = since();
        if now >= end
            || requests
                .iter()
                .all(|request| request.pending_socket().is_none())
        {
            break;
        }
        let due = SEND_AT.get(sent).copied().unwrap_or(end);
        if now >= due {
            requests.iter_mut().for_each(Request::send);
            sent = sent.saturating_add(1);
            continue;
        }
        wait(requests, due.min(end).saturating_sub(now));
        let before = requests.iter().any(|request| request.mapped.is_some());
        requests.iter_mut().for_each(Request::receive);
        let after = requests.iter().any(|request| request.mapped.is_some());
        if after && !before {
            end = end.min(since().saturating_add(SECOND_FAMILY_WAIT));
        }
    }
}

fn wait(requests: &[Request], max_wait: Duration) {
    let timeout = Timespec::try_from(max_wait).unwrap_or_default();
    let mut polled: Vec<_> = requests
        .iter()
        .filter_map(Request::pending_socket)
        .map(|socket| PollFd::new(socket, PollFlags::IN))
        .collect();
    // Interrupted or not: what is there is read, and the time is looked at again.
    let _ = poll(&mut polled, Some(&timeout));
}
