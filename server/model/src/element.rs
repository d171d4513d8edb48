//! What the kernel is asked to hold: elements of sets, and changes of them.
//!
//! Pure values. Nothing here knows how the kernel is told.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use spa_proto::Service;

use crate::network::Network;

/// The most steps one change may have: 16 services at 2 addresses are 32.
pub const MAX_STEPS: usize = 64;

/// A grant for one source port lasts no longer: its client connects by itself, and at once.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The name of one change: its answer carries the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub u64);

/// How long the prefix of a network may be that is let in, IPv4.
pub const PREFIXES4: RangeInclusive<u8> = 16..=24;

/// How long the prefix of a network may be that is let in, IPv6.
pub const PREFIXES6: RangeInclusive<u8> = 32..=64;

/// One hole in the wall: who may reach what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The only source address that is let in; of a network, the first.
    pub address: IpAddr,
    /// The network's length, in [`PREFIXES4`] or [`PREFIXES6`]; none means the one address.
    /// Never together with a source port or `once`: these are for one address.
    pub prefix: Option<u8>,
    /// The hidden service that it may reach.
    pub service: Service,
    /// The only source port that is let in; none means any.
    pub source_port: Option<NonZeroU16>,
    /// True: the first connection uses the element up. Never together with a
    /// source port.
    pub once: bool,
}

impl Element {
    /// Whether it is one that the kernel can hold and a message can say.
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

    /// Whether it is for one connection, by its source port or because that uses it up.
    #[must_use]
    pub fn is_for_connection(&self) -> bool {
        self.once || self.source_port.is_some()
    }

    /// Whether it lets this address in, as far as that goes.
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

    /// Who is let in.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        Peer {
            address: self.address,
            prefix: self.prefix,
        }
    }
}

/// Who is let in: one address, or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The address, or the network's first.
    pub address: IpAddr,
    /// The network's length; none means the one address.
    pub prefix: Option<u8>,
}

impl Peer {
    /// As a network, of one address where it is one.
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
    /// Let the element in for `ttl` from now; one that is there already is renewed, longer or shorter.
    Put {
        /// What is let in.
        element: Element,
        /// For how long, from when the kernel takes it. The kernel counts milliseconds.
        ttl: Duration,
    },
    /// Let the element in no longer; one that is gone already is no error.
    Remove {
        /// What is let in no longer.
        element: Element,
    },
}

impl Step {
    /// The element that the step is about.
    #[must_use]
    pub const fn element(&self) -> &Element {
        match self {
            Self::Put { element, .. } | Self::Remove { element } => element,
        }
    }
}

/// Steps that the kernel takes together: all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Given back with the answer.
    pub id: ChangeId,
    /// At most [`MAX_STEPS`], done in this order.
    pub steps: Vec<Step>,
}

/// An element as the kernel holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelElement {
    /// Who may reach what.
    pub element: Element,
    /// How long the kernel will go on holding it.
    pub remaining: Duration,
}
