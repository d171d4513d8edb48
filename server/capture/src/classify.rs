//! Part of stage `frame` (pure): one captured frame → a packet, or a knock at a door.

use spad_model::{Carrier, CarrierSet, Datagram, FrameFault, Received};

use super::ip::IpPacket;
use super::{frame, knock};

/// Reads one frame: a packet, or else a knock that a door asks for, never both.
///
/// # Errors
/// The first [`FrameFault`] of what is neither.
pub fn classify<'a>(
    carriers: &CarrierSet,
    ethertype: u16,
    interface: u32,
    bytes: &'a [u8],
) -> Result<Received<'a>, FrameFault> {
    // What has no IP header that can be read is no knock either.
    let packet = IpPacket::parse(ethertype, bytes)?;
    let datagram = frame::datagram(&packet, interface);
    match datagram.and_then(|datagram| check_destination(carriers, datagram)) {
        Ok(datagram) => Ok(Received::Datagram(datagram)),
        Err(fault) if carriers.knocks.is_empty() => Err(fault),
        Err(fault) => {
            let knock = knock::observed(&packet, interface, &carriers.knocks);
            knock.map(Received::Knock).ok_or(fault)
        }
    }
}

/// Accepts a datagram that came where packets are looked for. The kernel's filter checks
/// the same; a frame that did not pass through that filter is checked here alone.
///
/// # Errors
/// [`FrameFault::OtherDestination`].
pub fn check_destination<'a>(
    carriers: &CarrierSet,
    datagram: Datagram<'a>,
) -> Result<Datagram<'a>, FrameFault> {
    let port = datagram.destination().port();
    let is_configured = match datagram.carrier() {
        Carrier::Udp => carriers.udp.contains(port),
        Carrier::Icmp => carriers.icmp,
        Carrier::Tcp => carriers.tcp.contains(port),
    };
    is_configured
        .then_some(datagram)
        .ok_or(FrameFault::OtherDestination)
}
