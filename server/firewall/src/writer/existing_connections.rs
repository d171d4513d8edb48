//! [IO] Connections that were there before their port was hidden.
//!
//! On a host that had no connection tracking, the next segment of an
//! established connection looks like a stray one: hiding ssh would cut the very
//! session in which the administrator says so. And one that connection tracking does know
//! has no label of ours. So those that the kernel lists at that moment, its TCP sockets
//! and the connections that it tracks, are let in by name, in the transaction that hides
//! the port. The parser is pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use spa_proto::{Protocol, Service};
use spad_model::Element;

use super::element_key;
use super::netlink::{Action, Netlink, Operation, Timeout};
use crate::table::{SetName, idle_timeout};

/// The most connections that are let in so.
const MAX_CONNECTIONS: usize = 10_000;

/// The established connections that these ports have now.
pub(super) fn connections(netlink: &mut Netlink, ports: &BTreeSet<Service>) -> BTreeSet<Element> {
    if ports.is_empty() {
        return BTreeSet::new();
    }
    let files = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let texts = files.map(|file| std::fs::read_to_string(file).unwrap_or_default());
    let mut connections: BTreeSet<Element> = texts
        .iter()
        .flat_map(|text| text.lines().filter_map(parse_established))
        .filter(|connection| ports.contains(&connection.service))
        .collect();
    // Without connection tracking there is nothing to list.
    let tracked = netlink.connections().unwrap_or_default();
    let answered = tracked.iter().filter(|one| one.is_answered());
    connections.extend(answered.flat_map(|one| one.elements(ports)));
    connections.into_iter().take(MAX_CONNECTIONS).collect()
}

/// The same as elements of the sets that let them go on.
pub(super) fn elements(
    netlink: &mut Netlink,
    ports: &BTreeSet<Service>,
) -> (BTreeSet<Element>, Vec<Operation>) {
    let connections = connections(netlink, ports);
    let operation = |one: &Element| Operation {
        set: match one.address.is_ipv4() {
            true => SetName::Existing4,
            false => SetName::Existing6,
        },
        key: element_key::from_element(one),
        action: Action::Add(Timeout::For(idle_timeout(one.service.protocol))),
    };
    let operations = connections.iter().map(operation).collect();
    (connections, operations)
}

/// Reads a line of `/proc/net/tcp` or `tcp6`; none for other states and the title.
fn parse_established(line: &str) -> Option<Element> {
    const ESTABLISHED: &str = "01";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (fields.next()?, fields.next()?);
    if fields.next()? != ESTABLISHED {
        return None;
    }
    let (_, port) = parse_endpoint(local)?;
    let (address, remote_port) = parse_endpoint(remote)?;
    let service = Service {
        protocol: Protocol::Tcp,
        port,
    };
    Some(Element {
        address,
        service,
        source_port: Some(remote_port),
        once: false,
        prefix: None,
    })
}

/// Reads `ADDRESS:PORT`: the address as words in the machine's byte order, the port as a number.
fn parse_endpoint(text: &str) -> Option<(IpAddr, NonZeroU16)> {
    let (address, port) = text.split_once(':')?;
    let port = NonZeroU16::new(u16::from_str_radix(port, 16).ok()?)?;
    let mut octets = Vec::with_capacity(16);
    for word in address.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    let address = if let Ok(four) = <[u8; 4]>::try_from(octets.as_slice()) {
        IpAddr::V4(Ipv4Addr::from(four))
    } else {
        let sixteen = <[u8; 16]>::try_from(octets.as_slice()).ok()?;
        // A socket for both families shows IPv4 so; the packets are IPv4.
        Ipv6Addr::from(sixteen).to_canonical()
    };
    Some((address, port))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn an_established_connection_is_read_and_a_listening_socket_is_not() {
        let four = "   1: 0202A8C0:0016 0102A8C0:9C40 01 00000000:00000000 00:0 0 0 0 1 1";
        let read = parse_established(four).unwrap();
        assert_eq!(read.address, "192.168.2.1".parse::<IpAddr>().unwrap());
        assert_eq!(
            (
                read.source_port.unwrap().get(),
                read.service.to_string().as_str()
            ),
            (40_000, "tcp/22")
        );
        let listening = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:0 0 0 0 1 1";
        assert_eq!(parse_established(listening), None);
        let mapped = "   2: 0000000000000000FFFF00000202A8C0:0016 0000000000000000FFFF00000102A8C0:9C40 01 0";
        assert_eq!(parse_established(mapped), Some(read));
        let six = "   2: B80D0120000000000000000002000000:0016 B80D0120000000000000000001000000:0001 01 0";
        let read = parse_established(six).unwrap();
        assert_eq!(read.address, "2001:db8::1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_line_of_another_shape_is_passed_over() {
        for line in [
            "",
            "sl local_address rem_address st",
            "1: 1:2",
            "1: xx:0016 yy:1 01",
            "1: 00:16 é€:1 01",
        ] {
            assert_eq!(parse_established(line), None, "{line}");
        }
    }
}
