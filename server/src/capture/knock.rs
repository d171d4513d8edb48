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

use super::frame::{IPV6_HEADER, is_unicast_host};
use super::{Carrier, transport, vlan};
use crate::knock::{Knock, KnockFilter, ObservedKnock};

/// Reads one frame; none where it is no knock that is asked for.
pub(super) fn parse(
    ethertype: u16,
    interface: u32,
    bytes: &[u8],
    filter: &KnockFilter,
) -> Option<ObservedKnock> {
    let (ethertype, bytes) = vlan::strip_tags(ethertype, bytes).ok()?;
    let (source, destination, carrier, segment) = if ethertype == EtherTypes::Ipv4.0 {
        ipv4(bytes)?
    } else if ethertype == EtherTypes::Ipv6.0 {
        ipv6(bytes)?
    } else {
        return None;
    };
    let (protocol, source_port, port, flags) = match carrier {
        Carrier::Udp => {
            let header = UdpPacket::new(segment)?;
            let (from, to) = (header.get_source(), header.get_destination());
            (Protocol::Udp, from, to, 0)
        }
        Carrier::Tcp => {
            let header = TcpPacket::new(segment)?;
            let (from, to) = (header.get_source(), header.get_destination());
            (Protocol::Tcp, from, to, header.get_flags())
        }
        Carrier::Icmp => return None,
    };
    let port = NonZeroU16::new(port)?;
    let observed = ObservedKnock {
        source,
        source_port,
        destination,
        knock: Knock { protocol, port },
        flags,
        interface,
    };
    (is_unicast_host(source) && filter.matches(&observed)).then_some(observed)
}

type KnockFields<'a> = (IpAddr, IpAddr, Carrier, &'a [u8]);

fn ipv4(bytes: &[u8]) -> Option<KnockFields<'_>> {
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
        transport::carrier(header.get_next_level_protocol())?,
        bytes.get(length..)?,
    ))
}

fn ipv6(bytes: &[u8]) -> Option<KnockFields<'_>> {
    let header = Ipv6Packet::new(bytes).filter(|header| header.get_version() == 6)?;
    Some((
        header.get_source().into(),
        header.get_destination().into(),
        transport::carrier(header.get_next_header())?,
        bytes.get(IPV6_HEADER..)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Ports;

    /// A segment that could be a knock wherever its header is taken to begin.
    fn segment() -> Vec<u8> {
        let header = [0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 6, 0, 0];
        let ends = [192, 0, 2, 7, 192, 0, 2, 1];
        [&header[..], &ends, &[2; 40]].concat()
    }

    fn is_knock(ethertype: u16, bytes: &[u8]) -> bool {
        let filter = KnockFilter {
            tcp: Ports::any(),
            ..KnockFilter::default()
        };
        parse(ethertype, 2, bytes, &filter).is_some()
    }

    #[test]
    fn what_is_no_whole_first_segment_of_one_host_is_no_knock() {
        let with = |place: usize, byte: u8| {
            let mut bytes = segment();
            let _old = bytes.splice(place..=place, [byte]).count();
            is_knock(0x0800, &bytes)
        };
        assert!(with(0, 0x45) && with(0, 0x46));
        for (place, byte) in [(0, 0x44), (0, 0x65), (9, 1), (12, 224)] {
            assert!(!with(place, byte), "{place} {byte}");
        }
        for (place, byte) in [(6, 0x20), (6, 0x01), (7, 0x01)] {
            assert!(!with(place, byte), "a fragment: {place} {byte}");
        }
        let six = |first: u8, next: u8| {
            let header = [first, 0, 0, 0, 0, 20, next, 64];
            is_knock(0x86dd, &[&header[..], &[0x20; 32], &[2; 20]].concat())
        };
        assert!(six(0x60, 6));
        assert!(
            !six(0x40, 6) && !six(0x60, 44) && !six(0x60, 0),
            "no extension header"
        );
    }
}
