//! [IO] Did it open? Connects without blocking, on fresh sockets, and closes
//! each as soon as it is connected, or keeps the first. Sends no byte and reads none.
//!
//! A service sees a connection that ends at once, and may log it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, socket_with, sockopt,
};
use spa_proto::Service;

/// The most sockets that wait at a time; the oldest goes first. Below the
/// number of open files a process may have.
const MAX_CONNECTING: usize = 256;

/// What the last attempt at an address met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeResult {
    /// Nothing yet: the way swallows packets, or is long.
    NoAnswer,
    /// A reset: closed, or no service there.
    Refused,
    /// An ICMP error or none of this machine's routes.
    NoRoute,
}

/// Where and when a service answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reachable {
    /// The address.
    pub address: IpAddr,
    /// After the first packet.
    pub after: Duration,
}

struct Connecting {
    service: Service,
    server: SocketAddr,
    socket: OwnedFd,
    since: Duration,
}

/// How long an attempt from a fixed port is left alone: a second one beside it is
/// impossible, one instead of it forgets the answer that may be on its way.
const MIN_CONNECT_TIME: Duration = Duration::from_millis(250);

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnConnect {
    /// It is closed: that it came about is all there was to know.
    Close,
    /// It is kept; every attempt comes from this port, if any.
    Keep(Option<NonZeroU16>),
}

/// The services waited for.
pub struct Prober {
    unanswered: BTreeSet<Service>,
    reachable: BTreeMap<Service, Reachable>,
    results: BTreeMap<(Service, IpAddr), ProbeResult>,
    connecting: VecDeque<Connecting>,
    on_connect: OnConnect,
    connection: Option<OwnedFd>,
}

impl Prober {
    /// Waits for these TCP services.
    #[must_use]
    pub fn new(services: impl IntoIterator<Item = Service>) -> Self {
        Self::with(services, OnConnect::Close)
    }

    /// Waits for one TCP service and keeps the connection, which comes `from` this
    /// port, if any.
    #[must_use]
    pub fn keeping_connection(service: Service, from: Option<NonZeroU16>) -> Self {
        Self::with([service], OnConnect::Keep(from))
    }

    fn with(services: impl IntoIterator<Item = Service>, purpose: OnConnect) -> Self {
        Self {
            unanswered: services.into_iter().collect(),
            reachable: BTreeMap::new(),
            results: BTreeMap::new(),
            connecting: VecDeque::new(),
            on_connect: purpose,
            connection: None,
        }
    }

    /// The connection that was to be kept.
    #[must_use]
    pub fn into_connection(self) -> Option<OwnedFd> {
        self.connection
    }

    /// Whether all answered.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Where each service answered that did.
    #[must_use]
    pub const fn reachable(&self) -> &BTreeMap<Service, Reachable> {
        &self.reachable
    }

    /// What was met last where no service answered.
    #[must_use]
    pub const fn results(&self) -> &BTreeMap<(Service, IpAddr), ProbeResult> {
        &self.results
    }

    /// Opens a fresh socket to every service that has not answered, at every
    /// address. `now`: since the first packet.
    pub fn probe(&mut self, servers: &[SocketAddr], now: Duration) {
        for service in self.unanswered.clone() {
            for server in servers {
                let mut server = *server;
                server.set_port(service.port.get());
                self.results
                    .entry((service, server.ip()))
                    .or_insert(ProbeResult::NoAnswer);
                let from = match self.on_connect {
                    OnConnect::Keep(from) => from,
                    OnConnect::Close => None,
                };
                if from.is_some() && !self.drop_stale(server, now) {
                    continue;
                }
                match start_connect(server, from) {
                    Ok((socket, false)) => self.connecting.push_back(Connecting {
                        service,
                        server,
                        socket,
                        since: now,
                    }),
                    Ok((socket, true)) => self.on_connected(service, server, socket, now),
                    Err(error) => self.on_failed(service, server, error),
                }
            }
        }
        while self.connecting.len() > MAX_CONNECTING {
            self.connecting.pop_front();
        }
    }

    /// Ends the attempt at this server, if it had its time; whether there is none now.
    fn drop_stale(&mut self, server: SocketAddr, now: Duration) -> bool {
        let young = |waiting: &Connecting| now.saturating_sub(waiting.since) < MIN_CONNECT_TIME;
        self.connecting
            .retain(|waiting| waiting.server != server || young(waiting));
        self.connecting
            .iter()
            .all(|waiting| waiting.server != server)
    }

    /// Waits at most `most` for an answer. `now` reads the time since the first
    /// packet.
    pub fn wait(&mut self, max_wait: Duration, now: impl Fn() -> Duration) {
        let timeout = Timespec::try_from(max_wait).unwrap_or_default();
        let mut polled: Vec<_> = self
            .connecting
            .iter()
            .map(|waiting| PollFd::new(&waiting.socket, PollFlags::OUT))
            .collect();
        if poll(&mut polled, Some(&timeout)).is_err() {
            return;
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let now = now();
        let waiting = std::mem::take(&mut self.connecting);
        for (waiting, ready) in waiting.into_iter().zip(ready) {
            if !ready {
                self.connecting.push_back(waiting);
                continue;
            }
            let Connecting {
                service,
                server,
                socket,
                since: _,
            } = waiting;
            match sockopt::socket_error(&socket) {
                Ok(Ok(())) => self.on_connected(service, server, socket, now),
                Ok(Err(error)) | Err(error) => self.on_failed(service, server, error),
            }
        }
        let unanswered = &self.unanswered;
        self.connecting
            .retain(|waiting| unanswered.contains(&waiting.service));
    }

    fn on_connected(
        &mut self,
        service: Service,
        server: SocketAddr,
        socket: OwnedFd,
        now: Duration,
    ) {
        // On one machine a socket can meet itself, when the kernel picks the
        // probed port as its source: nobody answered.
        let local_address = getsockname(&socket)
            .ok()
            .and_then(|local_address| SocketAddr::try_from(local_address).ok());
        if local_address == Some(server) {
            return;
        }
        if self.unanswered.remove(&service) {
            let answered = Reachable {
                address: server.ip(),
                after: now,
            };
            self.reachable.insert(service, answered);
            if self.on_connect != OnConnect::Close {
                self.connection = Some(socket);
            }
        }
    }

    fn on_failed(&mut self, service: Service, server: SocketAddr, error: Errno) {
        let result = match error {
            Errno::CONNREFUSED | Errno::CONNRESET => ProbeResult::Refused,
            Errno::TIMEDOUT => ProbeResult::NoAnswer,
            // This machine's limits say nothing about the way.
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL => {
                return;
            }
            _ => ProbeResult::NoRoute,
        };
        self.results.insert((service, server.ip()), result);
    }
}

/// A socket on its way to the server, and whether it is there already.
fn start_connect(server: SocketAddr, from: Option<NonZeroU16>) -> Result<(OwnedFd, bool), Errno> {
    let socket = match from {
        Some(port) => bound_socket(server.is_ipv4(), port.get())?,
        None => tcp_socket(server.is_ipv4())?,
    };
    match connect(&socket, &server) {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS) => Ok((socket, false)),
        Err(error) => Err(error),
    }
}

fn tcp_socket(v4: bool) -> Result<OwnedFd, Errno> {
    let family = if v4 {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socket_with(family, SocketType::STREAM, flags, None)
}

/// A socket with this source port, 0: one that is free. Others made here may have
/// the same: one after the other they try the same way.
fn bound_socket(v4: bool, port: u16) -> Result<OwnedFd, Errno> {
    let socket = tcp_socket(v4)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    let any = if v4 {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        sockopt::set_ipv6_v6only(&socket, true)?;
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    bind(&socket, &SocketAddr::new(any, port))?;
    Ok(socket)
}

/// A source port that is this process's own as long as this lives.
pub struct ReservedPort {
    port: NonZeroU16,
    _sockets: Vec<OwnedFd>,
}

impl ReservedPort {
    /// Takes a port that is free in both families.
    #[must_use]
    pub fn reserve() -> Option<Self> {
        (0..8).find_map(|_| {
            let v4 = bound_socket(true, 0).ok()?;
            let port = SocketAddr::try_from(getsockname(&v4).ok()?).ok()?.port();
            let mut sockets = vec![v4];
            match bound_socket(false, port) {
                Ok(v6) => sockets.push(v6),
                // A machine without IPv6 needs none there.
                Err(Errno::AFNOSUPPORT) => {}
                Err(_) => return None,
            }
            Some(Self {
                port: NonZeroU16::new(port)?,
                _sockets: sockets,
            })
        })
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> NonZeroU16 {
        self.port
    }
}
