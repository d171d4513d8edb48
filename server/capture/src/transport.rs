//! Part of stage `frame` (pure): what an IP packet carries → ports and payload.
//!
//! `bytes` is always the IP payload, of the length that the IP header states.
//! docs/protocol.md §5.4 has the rules of each carrier.
#![deny(clippy::indexing_slicing, clippy::as_conversions)]

use pnet::packet::icmp::IcmpPacket;
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols as Next};
use pnet::packet::tcp::TcpPacket;
use pnet::packet::udp::UdpPacket;
use spad_model::{Carrier, FrameFault};

use super::frame::{MAX_PAYLOAD, MIN_PAYLOAD};

/// Bytes of a UDP header.
pub const UDP_HEADER: usize = 8;
/// Bytes of an echo request before its data, ICMP and ICMPv6.
pub(super) const ECHO_HEADER: usize = 8;
/// Bytes of the shortest TCP header.
pub(super) const MIN_TCP_HEADER: usize = 20;
/// Bytes of the longest TCP header.
pub(super) const MAX_TCP_HEADER: usize = 60;

/// Type and code of an echo request.
pub(super) const ECHO4: [u8; 2] = [8, 0];
/// Type and code of an ICMPv6 echo request.
pub(super) const ECHO6: [u8; 2] = [128, 0];

/// The ports, 0 where there is none, and exactly the bytes that are carried.
pub(super) struct TransportPayload<'a> {
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) payload: &'a [u8],
}

/// The carrier of this protocol number.
pub(super) fn carrier(protocol: IpNextHeaderProtocol) -> Option<Carrier> {
    match protocol {
        Next::Udp => Some(Carrier::Udp),
        Next::Tcp => Some(Carrier::Tcp),
        Next::Icmp | Next::Icmpv6 => Some(Carrier::Icmp),
        _ => None,
    }
}

/// Bytes that the carrier's header has at least.
pub(super) const fn min_header_len(carrier: Carrier) -> usize {
    match carrier {
        Carrier::Udp => UDP_HEADER,
        Carrier::Icmp => ECHO_HEADER,
        Carrier::Tcp => MIN_TCP_HEADER,
    }
}

pub(super) fn udp(bytes: &[u8]) -> Result<TransportPayload<'_>, FrameFault> {
    let header = UdpPacket::new(bytes).ok_or(FrameFault::Truncated)?;
    let length = usize::from(header.get_length());
    if length == 0 {
        return Err(FrameFault::ZeroLength);
    }
    // Refuses a length below the header's, or beyond the bytes.
    let payload = bytes.get(UDP_HEADER..length).ok_or(FrameFault::UdpLength)?;
    Ok(TransportPayload {
        source: header.get_source(),
        destination: header.get_destination(),
        payload: check_length(payload)?,
    })
}

/// `request` is the type and code of an echo request in this family.
pub(super) fn echo(bytes: &[u8], request: [u8; 2]) -> Result<TransportPayload<'_>, FrameFault> {
    let header = IcmpPacket::new(bytes).ok_or(FrameFault::Truncated)?;
    if [header.get_icmp_type().0, header.get_icmp_code().0] != request {
        return Err(FrameFault::IcmpType);
    }
    let payload = bytes.get(ECHO_HEADER..).ok_or(FrameFault::Truncated)?;
    Ok(TransportPayload {
        source: 0,
        destination: 0,
        payload: check_length(payload)?,
    })
}

/// Neither flags nor numbers are looked at: a segment needs no connection.
pub(super) fn tcp(bytes: &[u8]) -> Result<TransportPayload<'_>, FrameFault> {
    let header = TcpPacket::new(bytes).ok_or(FrameFault::Truncated)?;
    let length = usize::from(header.get_data_offset()) * 4;
    if length < MIN_TCP_HEADER {
        return Err(FrameFault::TcpHeader);
    }
    let payload = bytes.get(length..).ok_or(FrameFault::TcpHeader)?;
    Ok(TransportPayload {
        source: header.get_source(),
        destination: header.get_destination(),
        payload: check_length(payload)?,
    })
}

const fn check_length(payload: &[u8]) -> Result<&[u8], FrameFault> {
    if payload.len() < MIN_PAYLOAD {
        return Err(FrameFault::TooShort);
    }
    if payload.len() > MAX_PAYLOAD {
        return Err(FrameFault::TooLong);
    }
    Ok(payload)
}
