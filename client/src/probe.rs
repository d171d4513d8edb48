//! [IO] Did it open? Connects without blocking, on fresh sockets, and closes
//! each as soon as it is connected. Sends no byte and reads none.
//!
//! A service sees a connection that ends at once, and may log it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, connect, getsockname, socket_with, sockopt,
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
}

/// The services waited for.
pub struct Watch {
    unanswered: BTreeSet<Service>,
    answered: BTreeMap<Service, Answered>,
    met: BTreeMap<(Service, IpAddr), Met>,
    waiting: VecDeque<Waiting>,
}

impl Watch {
    /// Waits for these TCP services.
    #[must_use]
    pub fn new(services: impl IntoIterator<Item = Service>) -> Self {
        Self {
            unanswered: services.into_iter().collect(),
            answered: BTreeMap::new(),
            met: BTreeMap::new(),
            waiting: VecDeque::new(),
        }
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
                match start(server) {
                    Ok((socket, false)) => self.waiting.push_back(Waiting {
                        service,
                        server,
                        socket,
                    }),
                    Ok((socket, true)) => self.connected(service, server, &socket, now),
                    Err(error) => self.failed(service, server, error),
                }
            }
        }
        while self.waiting.len() > MOST_WAITING {
            self.waiting.pop_front();
        }
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
            let Waiting {
                service,
                server,
                socket,
            } = waiting;
            if !ready {
                self.waiting.push_back(Waiting {
                    service,
                    server,
                    socket,
                });
                continue;
            }
            match sockopt::socket_error(&socket) {
                Ok(Ok(())) => self.connected(service, server, &socket, now),
                Ok(Err(error)) | Err(error) => self.failed(service, server, error),
            }
        }
        let unanswered = &self.unanswered;
        self.waiting
            .retain(|waiting| unanswered.contains(&waiting.service));
    }

    fn connected(&mut self, service: Service, server: SocketAddr, socket: &OwnedFd, now: Duration) {
        // On one machine a socket can meet itself, when the kernel picks the
        // probed port as its source: nobody answered.
        let own = getsockname(socket)
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
fn start(server: SocketAddr) -> Result<(OwnedFd, bool), Errno> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &server) {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS) => Ok((socket, false)),
        Err(error) => Err(error),
    }
}
