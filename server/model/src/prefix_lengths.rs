//! The prefix lengths of networks that clients may be granted. Each length costs one look-up
//! for every first packet to a hidden port, so only needed ones are included.
//!
//! Pure. The writer checks changes against the lengths in the table's rules: an element
//! of another length would be in the kernel without effect.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Prefix lengths by family, ascending, as the client files name them. Administrators may
/// grant no others, so a compromised engine cannot either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixLengths {
    /// Prefix lengths of IPv4 networks.
    pub ipv4: BTreeSet<u8>,
    /// Prefix lengths of IPv6 networks.
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
