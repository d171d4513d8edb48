//! The addresses a grant is asked for. docs/protocol.md §6.4. Pure.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address from which nobody connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error(
    "{0} cannot be granted anything: it is unspecified, loopback, multicast, broadcast, link-local, IPv4-mapped or of NAT64; state the address you connect from"
)]
pub struct UnusableAddress(pub IpAddr);

/// Whether a grant can be for this address: not unspecified, loopback,
/// multicast, broadcast, link-local, IPv4-mapped or of NAT64 (64:ff9b::/96).
/// docs/protocol.md §6.4.
#[must_use]
pub const fn usable_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || address.is_broadcast()
                || address.is_link_local())
        }
        IpAddr::V6(address) => {
            let nat64 = matches!(address.segments(), [0x64, 0xff9b, 0, 0, 0, 0, _, _]);
            !(address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || address.is_unicast_link_local()
                || address.to_ipv4_mapped().is_some()
                || nat64)
        }
    }
}

/// At most one IPv4 and one IPv6 address, each usable. None means the address
/// the packet came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Addresses {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// No address: the one the packet came from.
    pub const NONE: Self = Self { v4: None, v6: None };

    /// The addresses given.
    ///
    /// # Errors
    /// The first that is not usable, by [`usable_address`].
    pub fn new(v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Result<Self, UnusableAddress> {
        let addresses = Self { v4, v6 };
        match addresses.iter().find(|address| !usable_address(*address)) {
            Some(address) => Err(UnusableAddress(address)),
            None => Ok(addresses),
        }
    }

    /// The IPv4 address.
    #[must_use]
    pub const fn v4(&self) -> Option<Ipv4Addr> {
        self.v4
    }

    /// The IPv6 address.
    #[must_use]
    pub const fn v6(&self) -> Option<Ipv6Addr> {
        self.v6
    }

    /// Whether none is stated.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    /// The addresses, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let v4 = self.v4.map(IpAddr::V4);
        v4.into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

impl From<Addresses> for alloc::vec::Vec<IpAddr> {
    fn from(addresses: Addresses) -> Self {
        addresses.iter().collect()
    }
}
