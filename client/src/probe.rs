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
const MOST_WAITING: usize = 256;

/// What the last attempt at an address met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Met {
    /// Nothing yet: the way swallows packets, or is long.
    Silence,
    /// A reset: closed, or no service there.
    Refusal,
    /// An ICMP error or none of this machine's routes.
    NoRoute,
}

/// Where and when a service answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The address.
    pub address: IpAddr,
    /// After the first packet.
    pub after: Duration,
}

struct Waiting {
    service: Service,
    server: SocketAddr,
    socket: OwnedFd,
    since: Duration,
}

/// How long an attempt from a fixed port is left alone: a second one beside it is
/// impossible, one instead of it forgets the answer that may be on its way.
const LEFT_ALONE: Duration = Duration::from_millis(250);

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It is closed: that it came about is all there was to know.
    Close,
    /// It is kept; every attempt comes from this port, if any.
    Keep(Option<NonZeroU16>),
}

/// The services waited for.
pub struct Watch {
    unanswered: BTreeSet<Service>,
    answered: BTreeMap<Service, Answered>,
    met: BTreeMap<(Service, IpAddr), Met>,
    waiting: VecDeque<Waiting>,
    purpose: Use,
    kept: Option<OwnedFd>,
}

impl Watch {
    /// Waits for these TCP services.
    #[must_use]
    pub fn new(services: impl IntoIterator<Item = Service>) -> Self {
        Self::with(services, Use::Close)
    }

    /// Waits for one TCP service and keeps the connection, which comes `from` this
    /// port, if any.
    #[must_use]
    pub fn keeping(service: Service, from: Option<NonZeroU16>) -> Self {
        Self::with([service], Use::Keep(from))
    }

    fn with(services: impl IntoIterator<Item = Service>, purpose: Use) -> Self {
        Self {
            unanswered: services.into_iter().collect(),
            answered: BTreeMap::new(),
            met: BTreeMap::new(),
            waiting: VecDeque::new(),
            purpose,
            kept: None,
        }
    }

    /// The connection that was to be kept.
    #[must_use]
    pub fn into_kept(self) -> Option<OwnedFd> {
        self.kept
    }

    /// Whether all answered.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Where each service answered that did.
    #[must_use]
    pub const fn answered(&self) -> &BTreeMap<Service, Answered> {
        &self.answered
    }

    /// What was met last where no service answered.
    #[must_use]
    pub const fn met(&self) -> &BTreeMap<(Service, IpAddr), Met> {
        &self.met
    }

    /// Opens a fresh socket to every service that has not answered, at every
    /// address. `now`: since the first packet.
    pub fn probe(&mut self, servers: &[SocketAddr], now: Duration) {
        for service in self.unanswered.clone() {
            for server in servers {
                let mut server = *server;
                server.set_port(service.port.get());
                self.met
                    .entry((service, server.ip()))
                    .or_insert(Met::Silence);
                let from = match self.purpose {
                    Use::Keep(from) => from,
                    Use::Close => None,
                };
                if from.is_some() && !self.make_room(server, now) {
                    continue;
                }
                match start(server, from) {
                    Ok((socket, false)) => self.waiting.push_back(Waiting {
                        service,
                        server,
                        socket,
                        since: now,
                    }),
                    Ok((socket, true)) => self.connected(service, server, socket, now),
                    Err(error) => self.failed(service, server, error),
                }
            }
        }
        while self.waiting.len() > MOST_WAITING {
            self.waiting.pop_front();
        }
    }

    /// Ends the attempt at this server, if it had its time; whether there is none now.
    fn make_room(&mut self, server: SocketAddr, now: Duration) -> bool {
        let young = |waiting: &Waiting| now.saturating_sub(waiting.since) < LEFT_ALONE;
        self.waiting
            .retain(|waiting| waiting.server != server || young(waiting));
        self.waiting.iter().all(|waiting| waiting.server != server)
    }

    /// Waits at most `most` for an answer. `now` reads the time since the first
    /// packet.
    pub fn wait(&mut self, most: Duration, now: impl Fn() -> Duration) {
        let timeout = Timespec::try_from(most).unwrap_or_default();
        let mut polled: Vec<_> = self
            .waiting
            .iter()
            .map(|waiting| PollFd::new(&waiting.socket, PollFlags::OUT))
            .collect();
        if poll(&mut polled, Some(&timeout)).is_err() {
            return;
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let now = now();
        let waiting = std::mem::take(&mut self.waiting);
        for (waiting, ready) in waiting.into_iter().zip(ready) {
            if !ready {
                self.waiting.push_back(waiting);
                continue;
            }
            let Waiting {
                service,
                server,
                socket,
                since: _,
            } = waiting;
            match sockopt::socket_error(&socket) {
                Ok(Ok(())) => self.connected(service, server, socket, now),
                Ok(Err(error)) | Err(error) => self.failed(service, server, error),
            }
        }
        let unanswered = &self.unanswered;
        self.waiting
            .retain(|waiting| unanswered.contains(&waiting.service));
    }

    fn connected(&mut self, service: Service, server: SocketAddr, socket: OwnedFd, now: Duration) {
        // On one machine a socket can meet itself, when the kernel picks the
        // probed port as its source: nobody answered.
        let own = getsockname(&socket)
            .ok()
            .and_then(|own| SocketAddr::try_from(own).ok());
        if own == Some(server) {
            return;
        }
        if self.unanswered.remove(&service) {
            let answered = Answered {
                address: server.ip(),
                after: now,
            };
            self.answered.insert(service, answered);
            if self.purpose != Use::Close {
                self.kept = Some(socket);
            }
        }
    }

    fn failed(&mut self, service: Service, server: SocketAddr, error: Errno) {
        let met = match error {
            Errno::CONNREFUSED | Errno::CONNRESET => Met::Refusal,
            Errno::TIMEDOUT => Met::Silence,
            // This machine's limits say nothing about the way.
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL => {
                return;
            }
            _ => Met::NoRoute,
        };
        self.met.insert((service, server.ip()), met);
    }
}

/// A socket on its way to the server, and whether it is there already.
fn start(server: SocketAddr, from: Option<NonZeroU16>) -> Result<(OwnedFd, bool), Errno> {
    let socket = match from {
        Some(port) => bound(server.is_ipv4(), port.get())?,
        None => tcp(server.is_ipv4())?,
    };
    match connect(&socket, &server) {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS) => Ok((socket, false)),
        Err(error) => Err(error),
    }
}

fn tcp(v4: bool) -> Result<OwnedFd, Errno> {
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
fn bound(v4: bool, port: u16) -> Result<OwnedFd, Errno> {
    let socket = tcp(v4)?;
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
pub struct Reserved {
    port: NonZeroU16,
    _sockets: Vec<OwnedFd>,
}

impl Reserved {
    /// Takes a port that is free in both families.
    #[must_use]
    pub fn take() -> Option<Self> {
        (0..8).find_map(|_| {
            let v4 = bound(true, 0).ok()?;
            let port = SocketAddr::try_from(getsockname(&v4).ok()?).ok()?.port();
            let mut sockets = vec![v4];
            match bound(false, port) {
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
