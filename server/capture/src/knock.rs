//! Alongside stage `frame` (pure): an IP packet that carries no packet of ours → a knock.
//!
//! Asked only where doors are configured. The rules of [`super::frame`] for the IP header
//! hold here too. Of the segment only ports and flags are read, so a datagram may be of
//! any length, and cut.
#![deny(clippy::indexing_slicing, clippy::as_conversions)]

use std::num::NonZeroU16;

use pnet::packet::tcp::TcpPacket;
use pnet::packet::udp::UdpPacket;
use spa_proto::Protocol;
use spad_model::Carrier;
use spad_model::knock::{Knock, KnockFilter, ObservedKnock};

use super::ip::{IpPacket, is_unicast_host};

/// Reads a knock; `None` where no door asks for it.
pub(super) fn observed(
    packet: &IpPacket<'_>,
    interface: u32,
    filter: &KnockFilter,
) -> Option<ObservedKnock> {
    let (protocol, source_port, port, flags) = match packet.carrier {
        Carrier::Udp => {
            let header = UdpPacket::new(packet.captured)?;
            let (from, to) = (header.get_source(), header.get_destination());
            (Protocol::Udp, from, to, 0)
        }
        Carrier::Tcp => {
            let header = TcpPacket::new(packet.captured)?;
            let (from, to) = (header.get_source(), header.get_destination());
            (Protocol::Tcp, from, to, header.get_flags())
        }
        Carrier::Icmp => return None,
    };
    let port = NonZeroU16::new(port)?;
    let observed = ObservedKnock {
        source: packet.source,
        source_port,
        destination: packet.destination,
        knock: Knock { protocol, port },
        flags,
        interface,
    };
    (is_unicast_host(packet.source) && filter.matches(&observed)).then_some(observed)
}

#[cfg(test)]
mod tests {
    use spad_model::Ports;

    use super::*;

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
        let packet = IpPacket::parse(ethertype, bytes);
        packet.is_ok_and(|packet| observed(&packet, 2, &filter).is_some())
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
