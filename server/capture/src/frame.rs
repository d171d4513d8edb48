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

use std::net::SocketAddr;

use spad_model::{Carrier, Datagram, FrameFault};

pub use super::ip::IPV6_HEADER;
use super::ip::{IpPacket, is_unicast_host};
pub use super::transport::UDP_HEADER;
use super::transport::{self, ECHO4, ECHO6};

/// Shortest payload that is looked at, in bytes. docs/protocol.md §5.
pub const MIN_PAYLOAD: usize = 160;
/// Longest payload that is looked at, in bytes. docs/protocol.md §5.
pub const MAX_PAYLOAD: usize = 512;

/// Reads one frame. `ethertype` in host byte order; `bytes` from the network
/// header on, which is the VLAN tag where one was left in the data.
///
/// # Errors
/// The first [`FrameFault`].
pub fn parse(ethertype: u16, interface: u32, bytes: &[u8]) -> Result<Datagram<'_>, FrameFault> {
    datagram(&IpPacket::parse(ethertype, bytes)?, interface)
}

/// Reads what an IP packet carries.
pub(super) fn datagram<'a>(
    packet: &IpPacket<'a>,
    interface: u32,
) -> Result<Datagram<'a>, FrameFault> {
    let segment = packet.segment?;
    let carried = match packet.carrier {
        Carrier::Udp => transport::udp(segment)?,
        Carrier::Tcp => transport::tcp(segment)?,
        Carrier::Icmp if packet.source.is_ipv4() => transport::echo(segment, ECHO4)?,
        Carrier::Icmp => transport::echo(segment, ECHO6)?,
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
