//! What carries packets (pure): UDP, and where configured ICMP echo requests and TCP.

use std::fmt;

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
