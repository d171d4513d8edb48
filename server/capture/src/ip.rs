//! Part of stage `frame` (pure): a frame's bytes → the fields of its IP header, read once.
//!
//! A packet and a knock are both read from what stands here. They differ in the length
//! that counts: a packet has the length that its header states, and a knock is as good
//! where the capture cut it short, because only its ports and flags are read.
#![deny(clippy::indexing_slicing, clippy::as_conversions)]

use std::net::IpAddr;

use pnet::packet::ethernet::EtherTypes;
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols as Next};
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet};
use pnet::packet::ipv6::Ipv6Packet;
use spad_model::{Carrier, FrameFault};

use super::transport::{carrier, min_header_len};
use super::vlan;

/// Bytes of an IPv6 header.
pub const IPV6_HEADER: usize = 40;

/// What is kept of an IP header.
pub(super) struct IpPacket<'a> {
    pub(super) carrier: Carrier,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// The bytes behind the header, of the length that it states.
    pub(super) segment: Result<&'a [u8], FrameFault>,
    /// All captured bytes behind the header.
    pub(super) captured: &'a [u8],
}

impl<'a> IpPacket<'a> {
    /// Reads the headers of one frame up to its IP header.
    ///
    /// # Errors
    /// The first [`FrameFault`] for which it can be neither a packet nor a knock.
    pub(super) fn parse(ethertype: u16, bytes: &'a [u8]) -> Result<Self, FrameFault> {
        let (ethertype, bytes) = vlan::strip_tags(ethertype, bytes)?;
        if ethertype == EtherTypes::Ipv4.0 {
            ipv4(bytes)
        } else if ethertype == EtherTypes::Ipv6.0 {
            ipv6(bytes)
        } else {
            Err(FrameFault::EtherType)
        }
    }
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
    let captured = bytes.get(header_length..).ok_or(FrameFault::Truncated)?;
    // A length of zero is the first fault, and still no obstacle to a knock.
    let total_length = match usize::from(header.get_total_length()) {
        0 => Err(FrameFault::ZeroLength),
        length => Ok(length),
    };
    let more = header.get_flags() & Ipv4Flags::MoreFragments != 0;
    if more || header.get_fragment_offset() != 0 {
        return Err(total_length.err().unwrap_or(FrameFault::Fragment));
    }
    // ICMPv6 has no meaning in IPv4.
    let protocol = Some(header.get_next_level_protocol()).filter(|one| *one != Next::Icmpv6);
    let Some(carrier) = protocol.and_then(carrier) else {
        return Err(total_length.err().unwrap_or(FrameFault::Protocol));
    };
    let segment = total_length.and_then(|length| {
        if length < header_length + min_header_len(carrier) {
            return Err(FrameFault::IpLength);
        }
        bytes
            .get(header_length..length)
            .ok_or(FrameFault::Truncated)
    });
    Ok(IpPacket {
        carrier,
        source: IpAddr::V4(header.get_source()),
        destination: IpAddr::V4(header.get_destination()),
        segment,
        captured,
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
    let carrier = protocol.and_then(carrier).ok_or(FrameFault::Protocol)?;
    let captured = bytes.get(IPV6_HEADER..).ok_or(FrameFault::Truncated)?;
    let length = usize::from(header.get_payload_length());
    let segment = if length == 0 {
        Err(FrameFault::Jumbo)
    } else if length < min_header_len(carrier) {
        Err(FrameFault::IpLength)
    } else {
        captured.get(..length).ok_or(FrameFault::Truncated)
    };
    Ok(IpPacket {
        carrier,
        source: IpAddr::V6(header.get_source()),
        destination: IpAddr::V6(header.get_destination()),
        segment,
        captured,
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

/// Whether this is the address of a single host.
pub(super) fn is_unicast_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => {
            !(v6.is_unspecified() || v6.is_multicast() || v6.to_ipv4_mapped().is_some())
        }
    }
}
