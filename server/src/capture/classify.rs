//! What carries packets (pure): UDP, and where configured ICMP echo requests and TCP.

use std::fmt;

use super::{Datagram, FrameFault, Received, frame, knock};
use crate::knock::KnockFilter;
use crate::ports::Ports;

/// What carried a packet here. docs/protocol.md §5.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A UDP datagram.
    Udp,
    /// An ICMP or ICMPv6 echo request.
    Icmp,
    /// A TCP segment, of a connection or none.
    Tcp,
}

/// Where packets are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CarrierSet {
    /// UDP to these ports.
    pub udp: Ports,
    /// Echo requests.
    pub icmp: bool,
    /// TCP segments to these ports.
    pub tcp: Ports,
    /// What else is heard, for doors of `[[knock]]`.
    pub knocks: KnockFilter,
}

impl CarrierSet {
    /// UDP to these ports and nothing else.
    #[must_use]
    pub fn udp(ports: Ports) -> Self {
        Self {
            udp: ports,
            ..Self::default()
        }
    }

    /// Reads one frame: a packet, or else a knock that a door asks for, never both.
    ///
    /// # Errors
    /// Why it is no packet of ours.
    pub fn classify<'a>(
        &self,
        ethertype: u16,
        interface: u32,
        bytes: &'a [u8],
    ) -> Result<Received<'a>, FrameFault> {
        let datagram = frame::parse(ethertype, interface, bytes);
        match datagram.and_then(|datagram| self.check_destination(datagram)) {
            Ok(datagram) => Ok(Received::Datagram(datagram)),
            Err(fault) if self.knocks.is_empty() => Err(fault),
            Err(fault) => {
                let knock = knock::parse(ethertype, interface, bytes, &self.knocks);
                knock.map(Received::Knock).ok_or(fault)
            }
        }
    }

    /// Lets pass what came where packets are looked for. The kernel's filter did so
    /// already; what never came through it is judged here alone.
    ///
    /// # Errors
    /// [`FrameFault::OtherDestination`].
    pub fn check_destination<'a>(
        &self,
        datagram: Datagram<'a>,
    ) -> Result<Datagram<'a>, FrameFault> {
        let port = datagram.destination().port();
        let is_configured = match datagram.carrier() {
            Carrier::Udp => self.udp.contains(port),
            Carrier::Icmp => self.icmp,
            Carrier::Tcp => self.tcp.contains(port),
        };
        is_configured
            .then_some(datagram)
            .ok_or(FrameFault::OtherDestination)
    }
}

/// `udp, icmp, tcp:443`, without UDP's ports: they have a line of their own.
impl fmt::Display for CarrierSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let udp = (!self.udp.is_empty()).then(|| "udp".to_owned());
        let icmp = self.icmp.then(|| "icmp".to_owned());
        let tcp = (!self.tcp.is_empty()).then(|| format!("tcp:{}", self.tcp));
        let all: Vec<String> = udp.into_iter().chain(icmp).chain(tcp).collect();
        f.write_str(&all.join(", "))
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
        })
    }
}
