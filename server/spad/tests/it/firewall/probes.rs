//! What a stranger may send to find out whether a port is hidden or closed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::firewall::wire::{
    ACK, RST, SYN, checksum, datagram, packet, packet4, packet6, segment, with_checksum,
};

pub(crate) const FIN: u8 = 1;
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const BROADCAST_MAC: [u8; 6] = [0xff; 6];

/// The ports of the same kind: hidden, or closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) tcp: u16,
    pub(crate) udp: u16,
    pub(crate) sctp: u16,
}

/// Between whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoints {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
}

/// A frame's destination and its packet.
pub(crate) type Frame = ([u8; 6], Vec<u8>);

/// One probe: its name, and the frame to one of these ports from this one; none where the
/// family does not have it.
pub(crate) type Probe = (&'static str, fn(Endpoints, Ports, u16) -> Option<Frame>);

fn to_station(packet: Vec<u8>) -> Option<Frame> {
    Some((SERVER_MAC, packet))
}

fn flags(ends: Endpoints, ports: Ports, source: u16, flags: u8) -> Vec<u8> {
    crate::firewall::wire::tcp(ends.from, ends.to, (source, ports.tcp), flags)
}

fn datagram_to(ends: Endpoints, ports: Ports, source: u16) -> Vec<u8> {
    crate::firewall::wire::udp(ends.from, ends.to, (source, ports.udp))
}

/// From or to another address of the same family.
fn replace_addresses(
    ends: Endpoints,
    from: Option<(Ipv4Addr, &str)>,
    to: Option<(Ipv4Addr, &str)>,
) -> Endpoints {
    let pick = |own: IpAddr, other: Option<(Ipv4Addr, &str)>| match (own, other) {
        (own, None) => own,
        (IpAddr::V4(_), Some((four, _))) => four.into(),
        (IpAddr::V6(_), Some((_, six))) => six.parse::<Ipv6Addr>().unwrap().into(),
    };
    Endpoints {
        from: pick(ends.from, from),
        to: pick(ends.to, to),
    }
}

/// The IPv4 packet with these bytes of options, padded to whole words.
fn with_options(mut packet: Vec<u8>, options: &[u8]) -> Option<Vec<u8>> {
    if packet[0] >> 4 != 4 {
        return None;
    }
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    packet[0] += u8::try_from(options.len() / 4).unwrap();
    let length = u16::try_from(packet.len() + options.len()).unwrap();
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.splice(20..20, options);
    Some(with_ip_checksum(packet))
}

/// The IPv4 packet with its header's checksum made right.
fn with_ip_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    let head = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let check = checksum(&[&packet[..head]]);
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    packet
}

fn with_traffic_class(mut packet: Vec<u8>, class: u8) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        packet[1] = class;
        return with_ip_checksum(packet);
    }
    packet[0] |= class >> 4;
    packet[1] |= class << 4;
    packet
}

fn with_hops(mut packet: Vec<u8>, hops: u8) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        packet[8] = hops;
        return with_ip_checksum(packet);
    }
    packet[7] = hops;
    packet
}

/// A first segment behind this extension header of IPv6, whose first byte is left out.
fn with_extension_header(
    ends: Endpoints,
    ports: Ports,
    source: u16,
    header: u8,
    rest: &[u8],
) -> Option<Frame> {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (ends.from, ends.to) else {
        return None;
    };
    let mut payload = vec![6];
    payload.extend(rest);
    payload.extend(segment(ends.from, ends.to, (source, ports.tcp), SYN, 0));
    to_station(packet6(from, to, header, &payload))
}

/// A segment with these bytes of options.
fn tcp_options(ends: Endpoints, ports: Ports, source: u16, options: &[u8]) -> Vec<u8> {
    let mut inner = segment(ends.from, ends.to, (source, ports.tcp), SYN, 0);
    inner.extend(options);
    inner[12] = u8::try_from(inner.len() / 4).unwrap() << 4;
    packet(
        ends.from,
        ends.to,
        6,
        &with_checksum(ends.from, ends.to, 6, inner),
    )
}

/// SCTP with one INIT chunk.
fn sctp(ends: Endpoints, ports: Ports, source: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(ports.sctp.to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let check = crc32c(&bytes);
    bytes[8..12].copy_from_slice(&check.to_le_bytes());
    packet(ends.from, ends.to, 132, &bytes)
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

const BROADCAST: (Ipv4Addr, &str) = (Ipv4Addr::new(10, 9, 0, 255), "ff02::1");
const MULTICAST: (Ipv4Addr, &str) = (Ipv4Addr::new(224, 0, 0, 1), "ff0e::1");
const LOOPBACK: (Ipv4Addr, &str) = (Ipv4Addr::LOCALHOST, "::1");
const UNSPECIFIED: (Ipv4Addr, &str) = (Ipv4Addr::UNSPECIFIED, "::");

/// Makes probes of TCP with these flags.
macro_rules! segments {
    ($($name:literal $flags:expr),*) => {
        [$(($name, (|ends, ports, source| to_station(flags(ends, ports, source, $flags))) as _)),*]
    };
}

pub(crate) fn all() -> Vec<Probe> {
    let segments: [Probe; 12] = segments![
        "SYN" SYN, "SYN ACK" SYN | ACK, "ACK" ACK, "FIN" FIN, "FIN ACK" FIN | ACK, "no flag" 0,
        "FIN PSH URG" 0x29, "SYN ECE CWR" 0xc2, "SYN FIN" SYN | FIN, "RST" RST, "RST ACK" RST | ACK, "all flags" 0xff
    ];
    let others: [Probe; 39] = [
        ("UDP", |ends, ports, source| {
            to_station(datagram_to(ends, ports, source))
        }),
        ("SCTP", |ends, ports, source| {
            to_station(sctp(ends, ports, source))
        }),
        ("data in a first segment", |ends, ports, source| {
            to_station(packet(
                ends.from,
                ends.to,
                6,
                &segment(ends.from, ends.to, (source, ports.tcp), SYN, 40),
            ))
        }),
        ("data in a stray segment", |ends, ports, source| {
            to_station(packet(
                ends.from,
                ends.to,
                6,
                &segment(ends.from, ends.to, (source, ports.tcp), ACK, 400),
            ))
        }),
        ("empty UDP", |ends, ports, source| {
            to_station(packet(
                ends.from,
                ends.to,
                17,
                &datagram(ends.from, ends.to, (source, ports.udp), b""),
            ))
        }),
        ("long UDP", |ends, ports, source| {
            to_station(packet(
                ends.from,
                ends.to,
                17,
                &datagram(ends.from, ends.to, (source, ports.udp), &[7; 1400]),
            ))
        }),
        ("UDP without a checksum", |ends, ports, source| {
            let mut inner = datagram(ends.from, ends.to, (source, ports.udp), b"0123");
            inner[6..8].fill(0);
            to_station(packet(ends.from, ends.to, 17, &inner))
        }),
        ("UDP with a wrong checksum", |ends, ports, source| {
            let mut packet = datagram_to(ends, ports, source);
            *packet.last_mut().unwrap() ^= 1;
            to_station(packet)
        }),
        ("UDP whose length lies", |ends, ports, source| {
            let mut inner = datagram(ends.from, ends.to, (source, ports.udp), b"01234567");
            inner[5] = 60;
            to_station(packet(
                ends.from,
                ends.to,
                17,
                &with_checksum(ends.from, ends.to, 17, inner),
            ))
        }),
        ("bytes behind a datagram", |ends, ports, source| {
            let mut inner = datagram(ends.from, ends.to, (source, ports.udp), b"01");
            inner.extend(b"behind");
            to_station(packet(ends.from, ends.to, 17, &inner))
        }),
        ("TCP with a wrong checksum", |ends, ports, source| {
            let mut packet = flags(ends, ports, source, SYN);
            *packet.last_mut().unwrap() ^= 1;
            to_station(packet)
        }),
        ("TCP whose length lies", |ends, ports, source| {
            let mut inner = segment(ends.from, ends.to, (source, ports.tcp), SYN, 0);
            inner[12] = 15 << 4;
            to_station(packet(
                ends.from,
                ends.to,
                6,
                &with_checksum(ends.from, ends.to, 6, inner),
            ))
        }),
        ("TCP options of today", |ends, ports, source| {
            to_station(tcp_options(
                ends,
                ports,
                source,
                &[
                    2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
                ],
            ))
        }),
        ("TCP MD5", |ends, ports, source| {
            to_station(tcp_options(
                ends,
                ports,
                source,
                &[
                    19, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1, 1,
                ],
            ))
        }),
        ("TCP with a traffic class", |ends, ports, source| {
            to_station(with_traffic_class(flags(ends, ports, source, SYN), 0x28))
        }),
        ("UDP with a traffic class", |ends, ports, source| {
            to_station(with_traffic_class(datagram_to(ends, ports, source), 0x28))
        }),
        ("TCP at its last hop", |ends, ports, source| {
            to_station(with_hops(flags(ends, ports, source, SYN), 1))
        }),
        ("UDP at its last hop", |ends, ports, source| {
            to_station(with_hops(datagram_to(ends, ports, source), 1))
        }),
        ("TCP with a record route", |ends, ports, source| {
            to_station(with_options(
                flags(ends, ports, source, SYN),
                &[7, 7, 4, 0, 0, 0, 0],
            )?)
        }),
        ("UDP with a record route", |ends, ports, source| {
            to_station(with_options(
                datagram_to(ends, ports, source),
                &[7, 7, 4, 0, 0, 0, 0],
            )?)
        }),
        ("TCP with a router alert", |ends, ports, source| {
            to_station(with_options(
                flags(ends, ports, source, SYN),
                &[148, 4, 0, 0],
            )?)
        }),
        ("TCP in a frame to everybody", |ends, ports, source| {
            Some((BROADCAST_MAC, flags(ends, ports, source, SYN)))
        }),
        ("UDP in a frame to everybody", |ends, ports, source| {
            Some((BROADCAST_MAC, datagram_to(ends, ports, source)))
        }),
        ("TCP from a broadcast address", |ends, ports, source| {
            to_station(flags(
                replace_addresses(ends, Some(BROADCAST), None),
                ports,
                source,
                SYN,
            ))
        }),
        ("UDP from a broadcast address", |ends, ports, source| {
            to_station(datagram_to(
                replace_addresses(ends, Some(BROADCAST), None),
                ports,
                source,
            ))
        }),
        ("TCP from a multicast address", |ends, ports, source| {
            to_station(flags(
                replace_addresses(ends, Some(MULTICAST), None),
                ports,
                source,
                SYN,
            ))
        }),
        ("UDP from a multicast address", |ends, ports, source| {
            to_station(datagram_to(
                replace_addresses(ends, Some(MULTICAST), None),
                ports,
                source,
            ))
        }),
        ("TCP from nobody", |ends, ports, source| {
            to_station(flags(
                replace_addresses(ends, Some(UNSPECIFIED), None),
                ports,
                source,
                SYN,
            ))
        }),
        ("TCP from the loopback", |ends, ports, source| {
            to_station(flags(
                replace_addresses(ends, Some(LOOPBACK), None),
                ports,
                source,
                SYN,
            ))
        }),
        ("TCP from the host itself", |ends, ports, source| {
            let from = ends.to;
            to_station(flags(Endpoints { from, ..ends }, ports, source, SYN))
        }),
        ("TCP to the loopback", |ends, ports, source| {
            to_station(flags(
                replace_addresses(ends, None, Some(LOOPBACK)),
                ports,
                source,
                SYN,
            ))
        }),
        ("UDP to the loopback", |ends, ports, source| {
            to_station(datagram_to(
                replace_addresses(ends, None, Some(LOOPBACK)),
                ports,
                source,
            ))
        }),
        ("UDP to a broadcast address", |ends, ports, source| {
            Some((
                BROADCAST_MAC,
                datagram_to(
                    replace_addresses(ends, None, Some(BROADCAST)),
                    ports,
                    source,
                ),
            ))
        }),
        ("fragments", |ends, ports, source| {
            let (IpAddr::V4(from), IpAddr::V4(to)) = (ends.from, ends.to) else {
                // One fragment that is all of it, RFC 8200 section 4.5.
                return with_extension_header(ends, ports, source, 44, &[0, 0, 0, 0, 0, 0, 1]);
            };
            let inner = segment(ends.from, ends.to, (source, ports.tcp), SYN, 0);
            to_station(packet4(from, to, 6, &inner, 0))
        }),
        ("IPv6 options that may be skipped", |ends, ports, source| {
            with_extension_header(ends, ports, source, 60, &[0, 0x1e, 4, 0, 0, 0, 0])
        }),
        ("IPv6 options that discard", |ends, ports, source| {
            with_extension_header(ends, ports, source, 60, &[0, 0x5e, 4, 0, 0, 0, 0])
        }),
        ("IPv6 options that are a problem", |ends, ports, source| {
            with_extension_header(ends, ports, source, 60, &[0, 0x9e, 4, 0, 0, 0, 0])
        }),
        ("an IPv6 routing header of type 0", |ends, ports, source| {
            with_extension_header(ends, ports, source, 43, &[0, 0, 1, 0, 0, 0, 0])
        }),
        (
            "an IPv6 routing header that is done",
            |ends, ports, source| {
                with_extension_header(ends, ports, source, 43, &[0, 4, 0, 0, 0, 0, 0])
            },
        ),
    ];
    [segments.to_vec(), others.to_vec()].concat()
}
