//! Elements of the kernel's sets, and changes of them.
//!
//! Pure values, independent of how they reach the kernel.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use spa_proto::Service;

use crate::network::Network;

/// Maximum number of steps of a change: 16 services at 2 addresses are 32.
pub const MAX_STEPS: usize = 64;

/// Maximum time of a grant for one source port, because its client connects immediately.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The id of a change; its answer carries the same id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub u64);

/// Allowed prefix lengths of granted networks, IPv4.
pub const PREFIXES4: RangeInclusive<u8> = 16..=24;

/// Allowed prefix lengths of granted networks, IPv6.
pub const PREFIXES6: RangeInclusive<u8> = 32..=64;

/// One opening in the firewall: a peer and a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The source address that is let in, or the network's first address.
    pub address: IpAddr,
    /// The network's prefix length, in [`PREFIXES4`] or [`PREFIXES6`]; `None` for one address.
    /// Excludes a source port and `once`, which are for one address.
    pub prefix: Option<u8>,
    /// The hidden service that the peer may reach.
    pub service: Service,
    /// The only source port that is let in; `None` for any.
    pub source_port: Option<NonZeroU16>,
    /// Whether the first connection uses the element up. Excludes a source port.
    pub once: bool,
}

impl Element {
    /// Whether the kernel can hold the element and a message can encode it.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        if self.once && self.source_port.is_some() {
            return false;
        }
        let Some(prefix) = self.prefix else {
            return true;
        };
        let lengths = match self.address {
            IpAddr::V4(_) => PREFIXES4,
            IpAddr::V6(_) => PREFIXES6,
        };
        let first = Network::enclosing(self.address, prefix).map(|network| network.address);
        lengths.contains(&prefix)
            && first == Some(self.address)
            && !self.once
            && self.source_port.is_none()
    }

    /// Whether it is for one connection, by its source port or by `once`.
    #[must_use]
    pub fn is_for_connection(&self) -> bool {
        self.once || self.source_port.is_some()
    }

    /// Whether it lets this address in, ports aside.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        match self.prefix {
            None => self.address == address,
            Some(prefix) => {
                let network = Network::enclosing(address, prefix);
                network.is_some_and(|network| network.address == self.address)
            }
        }
    }

    /// The peer that is let in.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        Peer {
            address: self.address,
            prefix: self.prefix,
        }
    }
}

/// A peer: one address, or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The address, or the network's first address.
    pub address: IpAddr,
    /// The network's prefix length; `None` for one address.
    pub prefix: Option<u8>,
}

impl Peer {
    /// The peer as a network; one address has the full prefix length.
    #[must_use]
    pub fn network(&self) -> Network {
        let Self { address, prefix } = *self;
        let single = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(single);
        Network { address, prefix }
    }
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        let prefix = None;
        Self { address, prefix }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            None => self.address.fmt(f),
            Some(prefix) => write!(f, "{}/{prefix}", self.address),
        }
    }
}

/// One step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Lets the element in for `ttl` from now; an existing element gets the new time.
    Put {
        /// The element to let in.
        element: Element,
        /// The time from when the kernel applies it, in the kernel's milliseconds.
        ttl: Duration,
    },
    /// Removes the element; a missing one is no error.
    Remove {
        /// The element to remove.
        element: Element,
    },
}

impl Step {
    /// The step's element.
    #[must_use]
    pub const fn element(&self) -> &Element {
        match self {
            Self::Put { element, .. } | Self::Remove { element } => element,
        }
    }
}

/// Steps that the kernel applies together: all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The id that the answer repeats.
    pub id: ChangeId,
    /// At most [`MAX_STEPS`], applied in this order.
    pub steps: Vec<Step>,
}

/// An element in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelElement {
    /// The element.
    pub element: Element,
    /// The time until the kernel removes it.
    pub remaining: Duration,
}
