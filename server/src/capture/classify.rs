//! One frame → a packet, a knock, or why it is neither. Pure.

use super::{Carrier, CarrierSet, Datagram, FrameFault, Received, frame, knock};

/// Reads one frame: a packet, or else a knock that a door waits for, never both.
///
/// # Errors
/// Why it is no packet of ours.
pub fn classify<'a>(
    carriers: &CarrierSet,
    ethertype: u16,
    interface: u32,
    bytes: &'a [u8],
) -> Result<Received<'a>, FrameFault> {
    let datagram = frame::parse(ethertype, interface, bytes);
    match datagram.and_then(|datagram| check_destination(carriers, datagram)) {
        Ok(datagram) => Ok(Received::Datagram(datagram)),
        Err(fault) if carriers.knocks.is_empty() => Err(fault),
        Err(fault) => {
            let observed = knock::parse(ethertype, interface, bytes, &carriers.knocks);
            observed.map(Received::Knock).ok_or(fault)
        }
    }
}

/// Accepts what was sent to where packets are looked for. The kernel's filter did so
/// already; what never came through it is checked here alone.
///
/// # Errors
/// [`FrameFault::OtherDestination`].
pub fn check_destination<'a>(
    carriers: &CarrierSet,
    datagram: Datagram<'a>,
) -> Result<Datagram<'a>, FrameFault> {
    let port = datagram.destination().port();
    let accepted = match datagram.carrier() {
        Carrier::Udp => carriers.udp.contains(port),
        Carrier::Icmp => carriers.icmp,
        Carrier::Tcp => carriers.tcp.contains(port),
    };
    accepted
        .then_some(datagram)
        .ok_or(FrameFault::OtherDestination)
}
