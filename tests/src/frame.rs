//! Frames made by hand: what no socket would send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pnet::packet::MutablePacket;
use pnet::packet::ethernet::{EtherType, EtherTypes, MutableEthernetPacket};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::{self, Ipv4Flags, MutableIpv4Packet};
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags};
use pnet::packet::udp::{self, MutableUdpPacket};
use pnet::util::MacAddr;

use crate::lab::{CLIENT_MAC, SERVER_MAC};

/// Both ends of what a frame carries.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints {
    /// Source address; the family of both must be the same.
    pub from: IpAddr,
    /// Destination address.
    pub to: IpAddr,
    /// Source port.
    pub from_port: u16,
    /// Destination port.
    pub to_port: u16,
}

impl Endpoints {
    /// From one address and port to another.
    #[must_use]
    pub fn new(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>) -> Self {
        let (from, to) = (from.into(), to.into());
        Self {
            from: from.ip(),
            to: to.ip(),
            from_port: from.port(),
            to_port: to.port(),
        }
    }
}

/// A UDP datagram without its IP header, checksum and all.
#[must_use]
pub fn udp(endpoints: Endpoints, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload.len()];
    let mut packet = MutableUdpPacket::new(&mut bytes).expect("room");
    packet.set_source(endpoints.from_port);
    packet.set_destination(endpoints.to_port);
    packet.set_length(length(8 + payload.len()));
    packet.set_payload(payload);
    let sum = match (endpoints.from, endpoints.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            udp::ipv4_checksum(&packet.to_immutable(), &from, &to)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            udp::ipv6_checksum(&packet.to_immutable(), &from, &to)
        }
        _ => panic!("two families in one datagram"),
    };
    packet.set_checksum(sum);
    bytes
}

/// A TCP segment without data.
#[must_use]
pub fn tcp(endpoints: Endpoints, flags: u8) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    let mut packet = MutableTcpPacket::new(&mut bytes).expect("room");
    packet.set_source(endpoints.from_port);
    packet.set_destination(endpoints.to_port);
    packet.set_sequence(0x1234_5678);
    packet.set_data_offset(5);
    packet.set_flags(flags);
    packet.set_window(64_000);
    let sum = match (endpoints.from, endpoints.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            tcp::ipv4_checksum(&packet.to_immutable(), &from, &to)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            tcp::ipv6_checksum(&packet.to_immutable(), &from, &to)
        }
        _ => panic!("two families in one segment"),
    };
    packet.set_checksum(sum);
    bytes
}

/// The first segment of a connection.
#[must_use]
pub fn syn(endpoints: Endpoints) -> Vec<u8> {
    tcp(endpoints, TcpFlags::SYN)
}

/// An IPv4 packet of `protocol`; `offset` in units of 8 bytes, `more` fragments follow.
#[must_use]
pub fn ipv4(
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    payload: &[u8],
    offset: u16,
    more: bool,
) -> Vec<u8> {
    let mut bytes = vec![0; 20 + payload.len()];
    let mut packet = MutableIpv4Packet::new(&mut bytes).expect("room");
    packet.set_version(4);
    packet.set_header_length(5);
    packet.set_total_length(length(20 + payload.len()));
    packet.set_identification(0x5bad);
    packet.set_flags(if more { Ipv4Flags::MoreFragments } else { 0 });
    packet.set_fragment_offset(offset);
    packet.set_ttl(64);
    packet.set_next_level_protocol(IpNextHeaderProtocol(protocol));
    packet.set_source(from);
    packet.set_destination(to);
    packet.set_payload(payload);
    let sum = ipv4::checksum(&packet.to_immutable());
    packet.set_checksum(sum);
    bytes
}

/// An IPv6 packet whose first header after its own is `next`.
#[must_use]
pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 40 + payload.len()];
    let mut packet = MutableIpv6Packet::new(&mut bytes).expect("room");
    packet.set_version(6);
    packet.set_payload_length(length(payload.len()));
    packet.set_next_header(IpNextHeaderProtocol(next));
    packet.set_hop_limit(64);
    packet.set_source(from);
    packet.set_destination(to);
    packet.set_payload(payload);
    bytes
}

/// An IPv6 extension header of 8 bytes that holds padding only, before `next`.
#[must_use]
pub fn padding_header(next: u8, rest: &[u8]) -> Vec<u8> {
    // RFC 8200, 4.2: PadN of four bytes.
    let mut bytes = vec![next, 0, 1, 4, 0, 0, 0, 0];
    bytes.extend_from_slice(rest);
    bytes
}

/// An IPv6 fragment header before a part of `next`; `offset` in units of 8 bytes.
#[must_use]
pub fn fragment_header(next: u8, offset: u16, more: bool, part: &[u8]) -> Vec<u8> {
    let mut bytes = vec![next, 0];
    bytes.extend_from_slice(&((offset << 3) | u16::from(more)).to_be_bytes());
    bytes.extend_from_slice(&0x5bad_5badu32.to_be_bytes());
    bytes.extend_from_slice(part);
    bytes
}

/// A frame from the client's card to the server's.
#[must_use]
pub fn ethernet(kind: EtherType, payload: &[u8]) -> Vec<u8> {
    ethernet_to(SERVER_MAC, kind, payload)
}

/// A frame from the client's card.
#[must_use]
pub fn ethernet_to(to: MacAddr, kind: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14 + payload.len()];
    let mut packet = MutableEthernetPacket::new(&mut bytes).expect("room");
    packet.set_source(CLIENT_MAC);
    packet.set_destination(to);
    packet.set_ethertype(kind);
    packet.payload_mut().copy_from_slice(payload);
    bytes
}

/// The frame inside one or more VLAN tags, the last given innermost.
#[must_use]
pub fn tagged(frame: &[u8], tags: &[(EtherType, u16)]) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    let mut bytes = addresses.to_vec();
    for (kind, id) in tags {
        bytes.extend_from_slice(&kind.0.to_be_bytes());
        bytes.extend_from_slice(&id.to_be_bytes());
    }
    bytes.extend_from_slice(rest);
    bytes
}

/// A whole frame with one datagram, from the client's card to the server's.
#[must_use]
pub fn datagram(endpoints: Endpoints, payload: &[u8]) -> Vec<u8> {
    let udp = udp(endpoints, payload);
    ip_frame(endpoints, IpNextHeaderProtocols::Udp.0, &udp)
}

/// A whole frame with this IP payload.
#[must_use]
pub fn ip_frame(endpoints: Endpoints, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (endpoints.from, endpoints.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet(
            EtherTypes::Ipv4,
            &ipv4(from, to, protocol, payload, 0, false),
        ),
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            ethernet(EtherTypes::Ipv6, &ipv6(from, to, protocol, payload))
        }
        _ => panic!("two families in one packet"),
    }
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("a length that fits")
}
