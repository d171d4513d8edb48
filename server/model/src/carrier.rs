//! The carriers of packets (pure): UDP and, if configured, ICMP echo requests and TCP.

use std::fmt;

use crate::knock::KnockFilter;
use crate::ports::Ports;

/// The carrier of a packet. docs/protocol.md §5.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A UDP datagram.
    Udp,
    /// An ICMP or ICMPv6 echo request.
    Icmp,
    /// A TCP segment, with or without a connection.
    Tcp,
}

/// Where to look for packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CarrierSet {
    /// UDP ports.
    pub udp: Ports,
    /// Whether ICMP echo requests count.
    pub icmp: bool,
    /// TCP ports.
    pub tcp: Ports,
    /// What the doors of `[[knock]]` listen to in addition.
    pub knocks: KnockFilter,
}

impl CarrierSet {
    /// A set of these UDP ports alone.
    #[must_use]
    pub fn udp(ports: Ports) -> Self {
        Self {
            udp: ports,
            ..Self::default()
        }
    }
}

/// Formats as `udp, icmp, tcp:443`, without the UDP ports: those have a line of their own.
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
