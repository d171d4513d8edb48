//! The lengths of networks that may be let in: each costs one look-up for every first
//! packet to a hidden port, so only those that somebody may be granted.
//!
//! Pure. The writer holds changes against the lengths of the table's rules: an element
//! of another one would stand in the kernel and let nobody in.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Lengths by family, ascending: those that some client's file names. The administrator
/// lets in no others by hand, so that an engine that was taken cannot either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixLengths {
    /// Of IPv4 networks.
    pub ipv4: BTreeSet<u8>,
    /// Of IPv6 networks.
    pub ipv6: BTreeSet<u8>,
}

impl PrefixLengths {
    /// The lengths of this address's family.
    #[must_use]
    pub const fn for_family(&self, address: IpAddr) -> &BTreeSet<u8> {
        match address {
            IpAddr::V4(_) => &self.ipv4,
            IpAddr::V6(_) => &self.ipv6,
        }
    }
}
