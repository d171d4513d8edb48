//! The lengths of networks that may be let in: each costs one look-up for every first
//! packet to a hidden port, so only those that somebody may be granted.
//!
//! Pure. The writer holds changes against the lengths of the table's rules: an element
//! of another one would stand in the kernel and let nobody in.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// What the administrator may grant by hand, whatever the clients may have.
const BY_HAND4: [u8; 2] = [16, 24];
const BY_HAND6: [u8; 3] = [48, 56, 64];

/// Lengths by family, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Of IPv4 networks.
    pub four: BTreeSet<u8>,
    /// Of IPv6 networks.
    pub six: BTreeSet<u8>,
}

impl Default for Lengths {
    /// Those that the administrator may grant by hand.
    fn default() -> Self {
        Self {
            four: BY_HAND4.into(),
            six: BY_HAND6.into(),
        }
    }
}

impl Lengths {
    /// The lengths of this address's family.
    #[must_use]
    pub const fn like(&self, address: IpAddr) -> &BTreeSet<u8> {
        match address {
            IpAddr::V4(_) => &self.four,
            IpAddr::V6(_) => &self.six,
        }
    }
}
