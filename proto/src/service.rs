//! The services a grant is asked for. docs/protocol.md §6.5. Pure.

use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU16;
use core::str::FromStr;

use crate::limits::MAX_SERVICES;

/// A transport protocol. Ordered by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// 6.
    Tcp,
    /// 17.
    Udp,
    /// 132.
    Sctp,
}

impl Protocol {
    /// Every protocol, in ascending order of number.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol with this IP protocol number, if it is one of the three.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }

    /// `tcp`, `udp` or `sctp`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A protocol and a port, such as `tcp/22`. Ordered by protocol number, then port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port at the server.
    pub port: NonZeroU16,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.port)
    }
}

/// Why a text is no service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ParseServiceError {
    /// Not of the form `tcp/22`.
    #[error("a service is written protocol/port, such as tcp/22 or udp/51820")]
    Form,
    /// Another protocol.
    #[error("the protocol must be tcp, udp or sctp, in small letters")]
    Protocol,
    /// Not a port.
    #[error("the port must be a number from 1 to 65535")]
    Port,
}

impl FromStr for Service {
    type Err = ParseServiceError;

    fn from_str(text: &str) -> Result<Self, ParseServiceError> {
        let (protocol, port) = text.split_once('/').ok_or(ParseServiceError::Form)?;
        let protocol = Protocol::ALL
            .into_iter()
            .find(|known| known.as_str() == protocol)
            .ok_or(ParseServiceError::Protocol)?;
        // `parse` would also take `+22` and `022`; one spelling for each service.
        if port.starts_with(['+', '0']) {
            return Err(ParseServiceError::Port);
        }
        let port = port.parse().map_err(|_| ParseServiceError::Port)?;
        Ok(Self { protocol, port })
    }
}

/// More than 16 services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("a packet holds at most {MAX_SERVICES} services; send several packets")]
pub struct TooManyServices;

/// At most 16 services, ascending, each once. None means the policy's default
/// services in an open, all of this client's in a close.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Services(Vec<Service>);

impl Services {
    /// No service named.
    pub const NONE: Self = Self(Vec::new());

    /// The services given, sorted, each once.
    ///
    /// # Errors
    /// More than 16 different ones.
    #[expect(
        clippy::should_implement_trait,
        reason = "it can fail, which FromIterator cannot"
    )]
    pub fn from_iter(services: impl IntoIterator<Item = Service>) -> Result<Self, TooManyServices> {
        let mut sorted = Vec::new();
        for service in services {
            if let Err(place) = sorted.binary_search(&service) {
                if sorted.len() == MAX_SERVICES {
                    return Err(TooManyServices);
                }
                sorted.insert(place, service);
            }
        }
        Ok(Self(sorted))
    }

    /// For the decoder, which has checked number and order.
    pub(crate) const fn checked(services: Vec<Service>) -> Self {
        Self(services)
    }

    /// The services, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[Service] {
        &self.0
    }

    /// Whether none is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
