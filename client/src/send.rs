//! [IO] One packet to each of a server's addresses, each with a nonce and time
//! of its own. Never waits for an answer: there is none.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use spa_proto::Addresses;

use crate::carrier::Carrier;
use crate::clock;
use crate::packet::{self, PacketBuilder, RequestKind};
use crate::stated_addresses::LocalAddresses;
use crate::transport::send_datagram;

/// What the packets of one run have in common.
pub struct SendContext<'a> {
    /// The keys.
    pub builder: &'a PacketBuilder,
    /// Where to.
    pub servers: &'a [SocketAddr],
    /// What is asked for.
    pub kind: &'a RequestKind,
    /// Whether the server refuses packets that state no address.
    pub requires_address: bool,
    /// The command line's addresses; none: this machine's own, where global.
    pub addresses: Addresses,
    /// What carries them.
    pub via: Carrier,
}

/// One packet on its way, or why it is not.
#[derive(Debug)]
pub struct Sent {
    /// Where to.
    pub server: SocketAddr,
    /// What it states.
    pub stated: Addresses,
    /// Its length in bytes.
    pub result: Result<usize, SendError>,
}

/// Why a packet was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No way there.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No packet could be made.
    #[error(transparent)]
    Seal(#[from] spa_proto::SealError),
    /// The server would refuse it, and this machine has nothing to state.
    #[error(
        "its server demands that a packet states its address, and this machine has no global one toward it; say `--for ADDR`"
    )]
    NoGlobalAddress,
    /// No randomness.
    #[error(transparent)]
    Key(#[from] spa_keys::KeyError),
}

impl SendContext<'_> {
    /// Sends a fresh packet to every address.
    #[must_use]
    pub fn send(&self) -> Vec<Sent> {
        self.routes()
            .into_iter()
            .map(|(server, stated, socket)| Sent {
                server,
                stated,
                result: socket.and_then(|socket| {
                    let request = self.kind.with_addresses(stated);
                    let datagram =
                        self.builder
                            .datagram(&request, clock::wall(), &packet::randomness()?)?;
                    send_datagram(self.via, &socket, server, &datagram)?;
                    Ok(datagram.len())
                }),
            })
            .collect()
    }

    /// What would be sent; sends nothing.
    #[must_use]
    pub fn dry_run(&self) -> Vec<Sent> {
        self.routes()
            .into_iter()
            .map(|(server, stated, socket)| Sent {
                server,
                stated,
                result: socket.map(|_| 0),
            })
            .collect()
    }

    /// A socket to each address and what its packet states. The sockets are new
    /// each time: an earlier packet's ICMP error cannot fail this one, the way
    /// may have changed, and no source port links two packets.
    fn routes(&self) -> Vec<(SocketAddr, Addresses, Result<UdpSocket, SendError>)> {
        let mut local = LocalAddresses::default();
        let mut routes = Vec::new();
        for server in self.servers {
            let route = route(*server);
            if let Ok((_, source)) = &route {
                local.insert(*source);
            }
            routes.push((*server, route));
        }
        routes
            .into_iter()
            .map(|(server, route)| match route {
                Ok((socket, _)) if !self.kind.states_addresses() => {
                    (server, Addresses::NONE, Ok(socket))
                }
                Ok((socket, source)) if self.addresses.is_empty() => {
                    let stated = local.for_source(source);
                    if self.requires_address && stated.is_empty() {
                        (server, stated, Err(SendError::NoGlobalAddress))
                    } else {
                        (server, stated, Ok(socket))
                    }
                }
                Ok((socket, _)) => (server, self.addresses, Ok(socket)),
                Err(error) => (server, self.addresses, Err(error.into())),
            })
            .collect()
    }
}

/// A socket connected to the server, and the address it is connected from.
pub(crate) fn route(server: SocketAddr) -> io::Result<(UdpSocket, IpAddr)> {
    let any = match server {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    let source = socket.local_addr()?.ip();
    Ok((socket, source))
}
