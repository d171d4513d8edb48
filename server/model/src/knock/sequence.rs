//! A sequence of knocks and its text form: `8881,7777:udp,9991`. Pure.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use spa_proto::Protocol;

/// Maximum number of knocks in a sequence.
pub const MAX_KNOCKS: usize = 32;

/// One knock: a first TCP segment to a port, or a UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Knock {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port.
    pub port: NonZeroU16,
}

/// Two to [`MAX_KNOCKS`] knocks; no two in a row are equal, and not all are neighbours in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sequence(Vec<Knock>);

/// Why a text is not a sequence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSequenceError {
    /// This knock is malformed.
    #[error(
        "`{0}` is no knock; write a port from 1 to 65535, with :udp behind it for UDP: 7000,8000:udp"
    )]
    InvalidKnock(String),
    /// Fewer than two knocks.
    #[error("one knock is no sequence: any scan would make it; write at least two")]
    TooShort,
    /// More than [`MAX_KNOCKS`] knocks.
    #[error("a sequence has at most {MAX_KNOCKS} knocks")]
    TooLong,
    /// The same knock twice in a row: the network may duplicate any packet.
    #[error(
        "the knock {0} stands twice in a row: a packet that the network repeats would count for both; put another between them"
    )]
    RepeatedKnock(Knock),
    /// A scan of neighbouring ports in order makes exactly these knocks.
    #[error(
        "the knocks stand in a row, {0} and its neighbours: a scan makes them in this order; choose ports that lie apart"
    )]
    ConsecutivePorts(Knock),
}

impl Sequence {
    /// Makes a sequence of these knocks.
    ///
    /// # Errors
    /// See [`ParseSequenceError`].
    pub fn new(knocks: Vec<Knock>) -> Result<Self, ParseSequenceError> {
        if knocks.len() < 2 {
            return Err(ParseSequenceError::TooShort);
        }
        if knocks.len() > MAX_KNOCKS {
            return Err(ParseSequenceError::TooLong);
        }
        let pairs = knocks.iter().zip(knocks.iter().skip(1));
        if let Some((one, _)) = pairs.clone().find(|(one, next)| one == next) {
            return Err(ParseSequenceError::RepeatedKnock(*one));
        }
        let follows = |one: &Knock, next: &Knock| {
            one.protocol == next.protocol && one.port.checked_add(1) == Some(next.port)
        };
        let up = pairs.clone().all(|(one, next)| follows(one, next));
        let down = pairs.clone().all(|(one, next)| follows(next, one));
        match knocks.first() {
            Some(first) if up || down => Err(ParseSequenceError::ConsecutivePorts(*first)),
            _ => Ok(Self(knocks)),
        }
    }

    /// The knocks in order.
    #[must_use]
    pub fn knocks(&self) -> &[Knock] {
        &self.0
    }

    /// Whether an ascending or descending port scan makes all of these knocks in order, with
    /// any others in between.
    #[must_use]
    pub fn is_scan_order(&self) -> bool {
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        let one_protocol = pairs.clone().all(|(a, b)| a.protocol == b.protocol);
        let up = pairs.clone().all(|(a, b)| a.port < b.port);
        let down = pairs.clone().all(|(a, b)| a.port > b.port);
        one_protocol && (up || down)
    }

    /// Whether it contains a UDP datagram.
    #[must_use]
    pub fn has_udp(&self) -> bool {
        self.uses_protocol(Protocol::Udp)
    }

    /// Whether it contains a knock of this protocol.
    #[must_use]
    pub fn uses_protocol(&self, protocol: Protocol) -> bool {
        self.0.iter().any(|knock| knock.protocol == protocol)
    }
}

impl FromStr for Sequence {
    type Err = ParseSequenceError;

    fn from_str(text: &str) -> Result<Self, ParseSequenceError> {
        let knocks = text.split(',').map(|knock| knock.trim().parse());
        Self::new(knocks.collect::<Result<_, _>>()?)
    }
}

impl FromStr for Knock {
    type Err = ParseSequenceError;

    fn from_str(text: &str) -> Result<Self, ParseSequenceError> {
        let invalid = || ParseSequenceError::InvalidKnock(spa_findings::redact::quote(text));
        let (port, protocol) = text.split_once(':').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(invalid()),
        };
        // `parse` would also accept `+7000` and `07000`.
        if port.starts_with(['+', '0']) {
            return Err(invalid());
        }
        let port = port.parse().map_err(|_| invalid())?;
        Ok(Self { protocol, port })
    }
}

impl fmt::Display for Knock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Udp => write!(f, "{}:udp", self.port),
            _ => write!(f, "{}", self.port),
        }
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, knock) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{knock}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_written_as_it_is_read() {
        for text in ["8881,7777,9991", "7000,8000:udp,7000", "1,65535"] {
            assert_eq!(text.parse::<Sequence>().unwrap().to_string(), text);
        }
        let spaced: Sequence = "8881:tcp, 7777:udp".parse().unwrap();
        assert_eq!(spaced.to_string(), "8881,7777:udp");
    }

    #[test]
    fn a_scan_comes_by_ports_in_order_and_not_by_others() {
        let scanned = |text: &str| text.parse::<Sequence>().unwrap().is_scan_order();
        assert!(scanned("7000,8000,9000") && scanned("9000:udp,1:udp"));
        assert!(!scanned("7000,9000,8000") && !scanned("9000,7000,8000"));
        assert!(!scanned("7000,8000:udp,9000"));
    }

    #[test]
    fn what_is_no_sequence_is_refused_with_its_reason() {
        let refused = |text: &str| text.parse::<Sequence>().unwrap_err();
        for wrong in [
            "",
            "a,b",
            "0,1",
            "+7,8",
            "07,8",
            "65536,1",
            "7000:sctp,1",
            "7000,,1",
            "7:TCP,8",
        ] {
            assert!(
                matches!(refused(wrong), ParseSequenceError::InvalidKnock(_)),
                "{wrong}"
            );
        }
        assert_eq!(refused("7000"), ParseSequenceError::TooShort);
        let many = vec!["1,2"; MAX_KNOCKS / 2].join(",");
        assert!(many.parse::<Sequence>().is_ok());
        assert_eq!(refused(&format!("{many},1")), ParseSequenceError::TooLong);
        let twice: Knock = "7000".parse().unwrap();
        assert_eq!(
            refused("8000,7000,7000"),
            ParseSequenceError::RepeatedKnock(twice)
        );
        for row in ["7000,7001,7002", "65535,65534", "1:udp,2:udp"] {
            assert!(
                matches!(refused(row), ParseSequenceError::ConsecutivePorts(_)),
                "{row}"
            );
        }
        for apart in ["7000,7001,7000", "7000,7002", "7000,7001,7003", "1,2:udp"] {
            assert!(apart.parse::<Sequence>().is_ok(), "{apart}");
        }
        assert!("7000,7000:udp".parse::<Sequence>().is_ok(), "two protocols");
    }
}
