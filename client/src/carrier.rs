//! What carries a packet to the server (pure): UDP, or where the server looks for it
//! there too, an ICMP echo request or a TCP connection.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// What carries a packet. docs/protocol.md §5.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// A UDP datagram to the host's port.
    #[default]
    Udp,
    /// The data of an ICMP or ICMPv6 echo request.
    Icmp,
    /// The first data of a TCP connection to this port.
    Tcp(NonZeroU16),
}

/// A text that names no carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write udp, icmp or tcp:PORT, such as tcp:443")]
pub struct ParseCarrierError;

impl FromStr for Carrier {
    type Err = ParseCarrierError;

    fn from_str(text: &str) -> Result<Self, ParseCarrierError> {
        match text {
            "udp" => Ok(Self::Udp),
            "icmp" => Ok(Self::Icmp),
            other => {
                let port = other.strip_prefix("tcp:").ok_or(ParseCarrierError)?;
                port.parse().map(Self::Tcp).map_err(|_| ParseCarrierError)
            }
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp => f.write_str("udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Tcp(port) => write!(f, "tcp:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carrier_is_written_as_it_is_read_and_nothing_else_is_one() {
        for text in ["udp", "icmp", "tcp:443", "tcp:65535"] {
            let carrier: Carrier = text.parse().unwrap();
            assert_eq!(carrier.to_string(), text);
        }
        for text in [
            "",
            "tcp",
            "tcp:0",
            "tcp:65536",
            "tcp/443",
            "UDP",
            "icmp6",
            "udp:53",
        ] {
            assert_eq!(text.parse::<Carrier>(), Err(ParseCarrierError), "{text}");
        }
    }
}
