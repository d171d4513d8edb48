//! Stage `frame` (pure): one captured frame → one datagram, or the reason why not.
//!
//! Takes what a packet socket of type SOCK_DGRAM gives: the frame type of its
//! link, the interface, and the bytes from the network header on. Never
//! allocates, panics, or reads beyond a length that it has not compared with
//! the bytes at hand. pnet's views give the fields; no length or payload of
//! theirs is used, for they follow the lengths that the packet states.
//!
//! The rules:
//! - Up to two VLAN tags (802.1Q, 802.1ad) left in the data are skipped. The
//!   tag that the kernel took off stands outside the data and does not matter.
//! - IPv4 options are skipped. Checksums, IP and UDP, are not looked at: behind
//!   a virtual link they are often not yet computed, and the packet is
//!   authenticated by better means.
//! - A fragment is refused, IPv4 and IPv6; nothing is ever put together again.
//! - UDP, an ICMP echo request or TCP carries the packet; in IPv6 directly: any extension header is refused.
//! - The UDP length, otherwise the IP length decides the payload. It lies within
//!   the frame; bytes after it, such as Ethernet padding, are ignored.
//! - The payload has 160 to 512 bytes (docs/protocol.md §5).
//! - The source is one host's address. Whether it may be granted anything
//!   (loopback, link-local) is for the policy to say.
#![deny(clippy::indexing_slicing, clippy::as_conversions)]

use std::net::{IpAddr, SocketAddr};

use pnet::packet::ethernet::EtherTypes;
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols as Next};
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet};
use pnet::packet::ipv6::Ipv6Packet;

pub use super::transport::UDP_HEADER;
use super::transport::{self, ECHO4, ECHO6};
use super::{Carrier, Datagram, FrameFault, vlan};

/// Shortest payload that is looked at, in bytes. docs/protocol.md §5.
pub const MIN_PAYLOAD: usize = 160;
/// Longest payload that is looked at, in bytes. docs/protocol.md §5.
pub const MAX_PAYLOAD: usize = 512;
/// Bytes of an IPv6 header.
pub const IPV6_HEADER: usize = 40;

/// Reads one frame. `ethertype` in host byte order; `bytes` from the network
/// header on, which is the VLAN tag where one was left in the data.
///
/// # Errors
/// The first [`FrameFault`].
pub fn parse(ethertype: u16, interface: u32, bytes: &[u8]) -> Result<Datagram<'_>, FrameFault> {
    let (ethertype, bytes) = vlan::strip_tags(ethertype, bytes)?;
    let packet = if ethertype == EtherTypes::Ipv4.0 {
        ipv4(bytes)?
    } else if ethertype == EtherTypes::Ipv6.0 {
        ipv6(bytes)?
    } else {
        return Err(FrameFault::EtherType);
    };
    let carried = match packet.carrier {
        Carrier::Udp => transport::udp(packet.payload)?,
        Carrier::Tcp => transport::tcp(packet.payload)?,
        Carrier::Icmp if packet.source.is_ipv4() => transport::echo(packet.payload, ECHO4)?,
        Carrier::Icmp => transport::echo(packet.payload, ECHO6)?,
    };
    if !is_unicast_host(packet.source) {
        return Err(FrameFault::Source);
    }
    let datagram = Datagram::new(
        packet.carrier,
        SocketAddr::new(packet.source, carried.source),
        SocketAddr::new(packet.destination, carried.destination),
        interface,
        carried.payload,
    );
    // Never missing: what is carried has been measured by now.
    datagram.ok_or(FrameFault::TooLong)
}

/// What is kept of an IP header; `payload` has the length that the header states.
struct IpPacket<'a> {
    carrier: Carrier,
    source: IpAddr,
    destination: IpAddr,
    payload: &'a [u8],
}

fn ipv4(bytes: &[u8]) -> Result<IpPacket<'_>, FrameFault> {
    // `new` refuses what is shorter than a header without options.
    let header = Ipv4Packet::new(bytes).ok_or(FrameFault::Truncated)?;
    if header.get_version() != 4 {
        return Err(FrameFault::IpVersion);
    }
    let header_length = usize::from(header.get_header_length()) * 4;
    if header_length < Ipv4Packet::minimum_packet_size() {
        return Err(FrameFault::IpHeader);
    }
    if bytes.len() < header_length {
        return Err(FrameFault::Truncated);
    }
    let total_length = usize::from(header.get_total_length());
    if total_length == 0 {
        return Err(FrameFault::ZeroLength);
    }
    let more = header.get_flags() & Ipv4Flags::MoreFragments != 0;
    if more || header.get_fragment_offset() != 0 {
        return Err(FrameFault::Fragment);
    }
    // ICMPv6 has no meaning in IPv4.
    let protocol = Some(header.get_next_level_protocol()).filter(|one| *one != Next::Icmpv6);
    let carrier = protocol
        .and_then(transport::carrier)
        .ok_or(FrameFault::Protocol)?;
    if total_length < header_length + transport::min_header_len(carrier) {
        return Err(FrameFault::IpLength);
    }
    Ok(IpPacket {
        carrier,
        source: IpAddr::V4(header.get_source()),
        destination: IpAddr::V4(header.get_destination()),
        payload: bytes
            .get(header_length..total_length)
            .ok_or(FrameFault::Truncated)?,
    })
}

fn ipv6(bytes: &[u8]) -> Result<IpPacket<'_>, FrameFault> {
    // `new` refuses what is shorter than a header.
    let header = Ipv6Packet::new(bytes).ok_or(FrameFault::Truncated)?;
    if header.get_version() != 6 {
        return Err(FrameFault::IpVersion);
    }
    let next = header.get_next_header();
    if next == Next::Ipv6Frag {
        return Err(FrameFault::Fragment);
    }
    if is_extension(next) {
        return Err(FrameFault::ExtensionHeader);
    }
    // Nor ICMP in IPv6.
    let protocol = Some(next).filter(|one| *one != Next::Icmp);
    let carrier = protocol
        .and_then(transport::carrier)
        .ok_or(FrameFault::Protocol)?;
    let length = usize::from(header.get_payload_length());
    if length == 0 {
        return Err(FrameFault::Jumbo);
    }
    if length < transport::min_header_len(carrier) {
        return Err(FrameFault::IpLength);
    }
    Ok(IpPacket {
        carrier,
        source: IpAddr::V6(header.get_source()),
        destination: IpAddr::V6(header.get_destination()),
        payload: bytes
            .get(IPV6_HEADER..IPV6_HEADER + length)
            .ok_or(FrameFault::Truncated)?,
    })
}

/// IPv6 extension headers of the IANA registry, the fragment header apart.
fn is_extension(next: IpNextHeaderProtocol) -> bool {
    // 139 HIP, 140 Shim6, 253 and 254 experiments: without a name in pnet's list, or with an odd one.
    matches!(next.0, 139 | 140 | 253 | 254)
        || [
            Next::Hopopt,
            Next::Ipv6Route,
            Next::Esp,
            Next::Ah,
            Next::Ipv6NoNxt,
            Next::Ipv6Opts,
            Next::MobilityHeader,
        ]
        .contains(&next)
}

pub(super) fn is_unicast_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => {
            !(v6.is_unspecified() || v6.is_multicast() || v6.to_ipv4_mapped().is_some())
        }
    }
}
