//! Tests only: packets made with pnet's builders, from the network header on.
//! Also included by `server/spad/tests/it/capture`.

use std::net::{IpAddr, SocketAddr};

use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::ip::IpNextHeaderProtocols::{Icmp, Icmpv6, Tcp, Udp};
use pnet::packet::ipv4::MutableIpv4Packet;
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::udp::MutableUdpPacket;

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
pub(crate) const CUSTOMER_TAG: u16 = 0x8100;
pub(crate) const SERVICE_TAG: u16 = 0x88a8;

/// A sound UDP packet and its frame type; `options` (a multiple of 4 bytes, at
/// most 40) go into an IPv4 header only.
pub(crate) fn packet(
    source: SocketAddr,
    destination: SocketAddr,
    options: &[u8],
    payload: &[u8],
) -> (u16, Vec<u8>) {
    let udp = udp(source.port(), destination.port(), payload);
    with_ip_header(source.ip(), destination.ip(), options, Udp, &udp)
}

/// The same in a TCP segment, whose header has this many bytes of options, a multiple of 4.
pub(crate) fn segment(
    source: SocketAddr,
    destination: SocketAddr,
    options: usize,
    payload: &[u8],
) -> (u16, Vec<u8>) {
    let mut bytes = vec![0; 20 + options];
    bytes[0..2].copy_from_slice(&source.port().to_be_bytes());
    bytes[2..4].copy_from_slice(&destination.port().to_be_bytes());
    bytes[12] = u8::try_from(5 + options / 4).unwrap() << 4;
    bytes[13] = 0x18;
    bytes.extend_from_slice(payload);
    with_ip_header(source.ip(), destination.ip(), &[], Tcp, &bytes)
}

/// The same in an echo request.
pub(crate) fn echo_request(
    source: IpAddr,
    destination: IpAddr,
    options: &[u8],
    payload: &[u8],
) -> (u16, Vec<u8>) {
    let (kind, protocol) = if source.is_ipv4() {
        (8, Icmp)
    } else {
        (128, Icmpv6)
    };
    let bytes = [&[kind, 0, 0, 0, 1, 2, 3, 4], payload].concat();
    with_ip_header(source, destination, options, protocol, &bytes)
}

fn with_ip_header(
    source: IpAddr,
    destination: IpAddr,
    options: &[u8],
    protocol: IpNextHeaderProtocol,
    inner: &[u8],
) -> (u16, Vec<u8>) {
    let length = u16::try_from(inner.len()).unwrap();
    match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = 20 + options.len();
            let mut bytes = vec![0; header + inner.len()];
            bytes[20..header].copy_from_slice(options);
            bytes[header..].copy_from_slice(inner);
            let mut ip = MutableIpv4Packet::new(&mut bytes).unwrap();
            ip.set_version(4);
            ip.set_header_length(u8::try_from(header / 4).unwrap());
            ip.set_total_length(u16::try_from(header).unwrap() + length);
            ip.set_ttl(64);
            ip.set_next_level_protocol(protocol);
            ip.set_source(from);
            ip.set_destination(to);
            ip.set_checksum(pnet::packet::ipv4::checksum(&ip.to_immutable()));
            (IPV4, bytes)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut bytes = vec![0; 40];
            bytes.extend_from_slice(inner);
            let mut ip = MutableIpv6Packet::new(&mut bytes).unwrap();
            ip.set_version(6);
            ip.set_payload_length(length);
            ip.set_next_header(protocol);
            ip.set_hop_limit(64);
            ip.set_source(from);
            ip.set_destination(to);
            (IPV6, bytes)
        }
        _ => unreachable!("both addresses of one family"),
    }
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes.extend_from_slice(payload);
    let length = u16::try_from(bytes.len()).unwrap();
    let mut udp = MutableUdpPacket::new(&mut bytes).unwrap();
    udp.set_source(source);
    udp.set_destination(destination);
    udp.set_length(length);
    bytes
}

/// The same packet behind one more tag of this type, VLAN 100.
pub(crate) fn tagged(tag: u16, (ethertype, bytes): (u16, Vec<u8>)) -> (u16, Vec<u8>) {
    let mut with = vec![0, 100];
    with.extend_from_slice(&ethertype.to_be_bytes());
    with.extend_from_slice(&bytes);
    (tag, with)
}
