//! Beside stage `frame` (pure): one captured frame that carries no packet → a knock.
//!
//! Asked only where doors are configured, and only about what is no packet of ours.
//! The rules of [`super::frame`] for headers hold here too; of what is carried only
//! ports and flags are read, so a datagram may be of any length, and cut.
#![deny(clippy::indexing_slicing, clippy::as_conversions)]

use std::net::IpAddr;
use std::num::NonZeroU16;

use pnet::packet::ethernet::EtherTypes;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;
use pnet::packet::tcp::TcpPacket;
use pnet::packet::udp::UdpPacket;
use spa_proto::Protocol;

use super::frame::{IPV6_HEADER, is_one_host};
use super::{Carrier, tags};
use crate::knocking::{Demands, Hit, Knock};

/// Reads one frame; none where it is no knock that is asked for.
pub(super) fn parse(
    ethertype: u16,
    interface: u32,
    bytes: &[u8],
    demands: &Demands,
) -> Option<Hit> {
    let (ethertype, bytes) = tags::skip(ethertype, bytes).ok()?;
    let (source, destination, carrier, carried) = if ethertype == EtherTypes::Ipv4.0 {
        ipv4(bytes)?
    } else if ethertype == EtherTypes::Ipv6.0 {
        ipv6(bytes)?
    } else {
        return None;
    };
    let (protocol, source_port, port, flags) = match carrier {
        Carrier::Udp => {
            let header = UdpPacket::new(carried)?;
            let (from, to) = (header.get_source(), header.get_destination());
            (Protocol::Udp, from, to, 0)
        }
        Carrier::Tcp => {
            let header = TcpPacket::new(carried)?;
            let (from, to) = (header.get_source(), header.get_destination());
            (Protocol::Tcp, from, to, header.get_flags())
        }
        Carrier::Icmp => return None,
    };
    let port = NonZeroU16::new(port)?;
    let hit = Hit {
        source,
        source_port,
        destination,
        knock: Knock { protocol, port },
        flags,
        interface,
    };
    (is_one_host(source) && demands.admits(&hit)).then_some(hit)
}

type Carried<'a> = (IpAddr, IpAddr, Carrier, &'a [u8]);

fn ipv4(bytes: &[u8]) -> Option<Carried<'_>> {
    let header = Ipv4Packet::new(bytes).filter(|header| header.get_version() == 4)?;
    let length = usize::from(header.get_header_length()) * 4;
    // More-fragments flag and offset.
    if length < Ipv4Packet::minimum_packet_size()
        || header.get_flags() & 1 != 0
        || header.get_fragment_offset() != 0
    {
        return None;
    }
    Some((
        header.get_source().into(),
        header.get_destination().into(),
        Carrier::of(header.get_next_level_protocol())?,
        bytes.get(length..)?,
    ))
}

fn ipv6(bytes: &[u8]) -> Option<Carried<'_>> {
    let header = Ipv6Packet::new(bytes).filter(|header| header.get_version() == 6)?;
    Some((
        header.get_source().into(),
        header.get_destination().into(),
        Carrier::of(header.get_next_header())?,
        bytes.get(IPV6_HEADER..)?,
    ))
}
