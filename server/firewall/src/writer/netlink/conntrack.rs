//! Connections that connection tracking knows: listed, and ended.
//!
//! Takes who reaches which port; gives what was found. The attributes are those of
//! `nfnetlink_conntrack.h`; no bytes of the kernel's panic.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU16;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use rustix::io::Errno;
use spa_proto::{Protocol, Service};
use spad_model::Element;

use super::attributes::put;
use super::parse::attribute;
use super::{Netlink, build};

/// The subsystem, and what it is asked for.
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

const NESTED: u16 = 0x8000;

/// The bit of the status that says that both ends have spoken.
const SEEN_REPLY: u32 = 2;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const ID: u16 = 12;
const ZONE: u16 = 18;

/// A connection, as it is found and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::writer) struct Connection {
    family: u8,
    /// What names it to the kernel: kind and value of each attribute.
    key: Vec<(u16, Vec<u8>)>,
    original: Tuple,
    reply: Tuple,
    status: u32,
}

/// One direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tuple {
    from: IpAddr,
    to: IpAddr,
    protocol: Protocol,
    source: u16,
    destination: u16,
}

impl Connection {
    /// The other end's address and port, where this host's end is this port: by the way
    /// the packets came, after a destination NAT, or in the other direction, as the
    /// kernel has it that saw an answer first.
    pub(in crate::writer) fn peer(&self, service: Service) -> Option<(IpAddr, NonZeroU16)> {
        if self.original.protocol != service.protocol {
            return None;
        }
        let port = service.port.get();
        let (address, peer) = if self.original.destination == port || self.reply.source == port {
            (self.original.from, self.original.source)
        } else if self.original.source == port {
            (self.original.to, self.original.destination)
        } else {
            return None;
        };
        Some((address, NonZeroU16::new(peer)?))
    }

    /// The port of an inner host that a gateway leads this service's connection to, where
    /// it is another.
    pub(in crate::writer) fn inner(&self, service: Service) -> Option<Service> {
        let port = NonZeroU16::new(self.reply.source)?;
        let forwarded = self.original.destination == service.port.get() && port != service.port;
        let protocol = service.protocol;
        forwarded.then_some(Service { protocol, port })
    }
}

impl Connection {
    /// Whether both ends have spoken.
    pub(in crate::writer) const fn is_answered(&self) -> bool {
        self.status & SEEN_REPLY != 0
    }

    /// The connection as the rules name it, where it is one of a port of these; as the inner
    /// host's port too, where it is led there.
    pub(in crate::writer) fn elements(&self, ports: &BTreeSet<Service>) -> Vec<Element> {
        let peers = ports
            .iter()
            .filter_map(|port| Some((*port, self.peer(*port)?)));
        let elements = peers.flat_map(|(service, (address, source_port))| {
            let inner = self.inner(service);
            let services = [Some(service), inner].into_iter().flatten();
            services.map(move |service| Element {
                address,
                service,
                source_port: Some(source_port),
                once: false,
                prefix: None,
            })
        });
        elements.collect()
    }
}

impl Netlink {
    /// Every connection of both families that has ports.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::writer) fn connections(&mut self) -> Result<Vec<Connection>, Errno> {
        let mut all = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let family = u8::try_from(family).unwrap_or(0);
            let request = |sequence| message(GET, NLM_F_DUMP, sequence, family, &[]);
            self.request(request, |message| {
                all.extend(connection(family, message.payload()));
            })?;
        }
        Ok(all)
    }

    /// Lets connection tracking forget this one; true where it knew it still.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::writer) fn kill(&mut self, connection: &Connection) -> Result<bool, Errno> {
        let request = |sequence| {
            message(
                DELETE,
                NLM_F_ACK,
                sequence,
                connection.family,
                &connection.key,
            )
        };
        match self.request(request, |_| {}) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A message with these attributes.
fn message(
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    attributes: &[(u16, Vec<u8>)],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    build::message(&mut bytes, kind, flags, sequence, (family, 0), |bytes| {
        for (kind, value) in attributes {
            put(bytes, *kind, value);
        }
    });
    bytes
}

/// The connection that the kernel describes here; none where it has no ports.
fn connection(family: u8, payload: &[u8]) -> Option<Connection> {
    let attributes = payload.get(4..)?;
    let original = attribute(attributes, TUPLE_ORIGINAL)?;
    let reply = attribute(attributes, TUPLE_REPLY)?;
    let mut name = vec![(TUPLE_ORIGINAL | NESTED, original.to_vec())];
    for kind in [ID, ZONE] {
        let value = attribute(attributes, kind);
        name.extend(value.map(|value| (kind, value.to_vec())));
    }
    Some(Connection {
        family,
        key: name,
        original: tuple(original)?,
        reply: tuple(reply)?,
        status: attribute(attributes, STATUS)
            .and_then(|status| Some(u32::from_be_bytes(status.try_into().ok()?)))
            .unwrap_or(0),
    })
}

fn tuple(attributes: &[u8]) -> Option<Tuple> {
    const ADDRESSES: u16 = 1;
    const PROTOCOL: u16 = 2;
    let addresses = attribute(attributes, ADDRESSES)?;
    let four = |kind| <[u8; 4]>::try_from(attribute(addresses, kind)?).ok();
    let six = |kind| <[u8; 16]>::try_from(attribute(addresses, kind)?).ok();
    let (from, to): (IpAddr, IpAddr) = match (four(1), four(2)) {
        (Some(from), Some(to)) => (from.into(), to.into()),
        _ => (six(3)?.into(), six(4)?.into()),
    };
    let protocol = attribute(attributes, PROTOCOL)?;
    let port = |kind| {
        let port = <[u8; 2]>::try_from(attribute(protocol, kind)?).ok()?;
        Some(u16::from_be_bytes(port))
    };
    let [number] = <[u8; 1]>::try_from(attribute(protocol, 1)?).ok()?;
    Some(Tuple {
        from,
        to,
        protocol: Protocol::from_number(number)?,
        source: port(2)?,
        destination: port(3)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn test_tuple(from: u8, to: u8, source: u16, destination: u16) -> Tuple {
        Tuple {
            from: [192, 0, 2, from].into(),
            to: [192, 0, 2, to].into(),
            protocol: Protocol::Tcp,
            source,
            destination,
        }
    }

    #[test]
    fn the_peer_is_found_whichever_end_the_kernel_saw_first() {
        let ssh: Service = "tcp/22".parse().unwrap();
        let found = |original, reply| {
            let (family, name) = (2, Vec::new());
            let connection = Connection {
                family,
                key: name,
                original,
                reply,
                status: 0,
            };
            let peer = connection.peer(ssh);
            peer.map(|(address, port)| (address.to_string(), port.get()))
        };
        let client = Some(("192.0.2.2".to_owned(), 4000));
        assert_eq!(
            found(test_tuple(2, 1, 4000, 22), test_tuple(1, 2, 22, 4000)),
            client
        );
        assert_eq!(
            found(test_tuple(1, 2, 22, 4000), test_tuple(2, 1, 4000, 22)),
            client
        );
        let outer: Service = "tcp/2222".parse().unwrap();
        let (original, reply) = (test_tuple(2, 1, 4000, 2222), test_tuple(5, 2, 22, 4000));
        let (family, name) = (2, Vec::new());
        let led = Connection {
            family,
            key: name,
            original,
            reply,
            status: 0,
        };
        assert_eq!(led.inner(outer), Some(ssh));
        assert_eq!(led.inner(ssh), None);
        let moved = found(test_tuple(2, 1, 4000, 2222), test_tuple(1, 2, 22, 4000));
        assert_eq!(moved, client, "another port that leads to it");
        assert_eq!(
            found(test_tuple(2, 1, 4000, 23), test_tuple(1, 2, 23, 4000)),
            None
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = connection(2, &bytes);
        }
    }
}
