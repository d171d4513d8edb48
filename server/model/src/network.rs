//! A network, `192.0.2.0/24` or `2001:db8::/32`; a single address is a network of one.
//!
//! Pure. Rejects host names and bits set behind the prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IP network; `address` has no bit set behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// The first address.
    pub address: IpAddr,
    /// Prefix length in bits: 0 to 32, or 0 to 128.
    pub prefix: u8,
}

/// Why a text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The part before the slash is not an address.
    #[error("this is not an IP address or network")]
    Address,
    /// The part after the slash is not a number, or exceeds the family's bits.
    #[error("the prefix length is not a number that fits the address")]
    Prefix,
    /// Bits are set behind the prefix; contains the network that was probably meant.
    #[error("the address has bits set behind the prefix")]
    HostBits(Network),
    /// An IPv4 address written as IPv6, `::ffff:192.0.2.1`: no packet ever matches it.
    #[error("an IPv4 address written as IPv6 never matches")]
    Mapped,
}

impl Network {
    /// The network of this prefix length that contains `address`; `None` if it is too long.
    #[must_use]
    pub fn enclosing(address: IpAddr, prefix: u8) -> Option<Self> {
        let address = masked(address, prefix)?;
        Some(Self { address, prefix })
    }

    /// Whether this network contains all of `other`.
    #[must_use]
    pub fn contains_network(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }

    /// Whether this network contains `address`. One of the other family is never contained.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address, self.prefix) == Some(self.address)
    }
}

/// Clears the bits of `address` behind `prefix`; `None` if `prefix` is too long.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let behind = 32_u32.checked_sub(prefix)?;
            let mask = u32::MAX.checked_shl(behind).unwrap_or(0);
            Some(Ipv4Addr::from_bits(address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let behind = 128_u32.checked_sub(prefix)?;
            let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
            Some(Ipv6Addr::from_bits(address.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err(NetworkError::Mapped);
        }
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| NetworkError::Prefix)?
            }
            Some(_) => return Err(NetworkError::Prefix),
            None if address.is_ipv4() => 32,
            None => 128,
        };
        let first = masked(address, prefix).ok_or(NetworkError::Prefix)?;
        let network = Self {
            address: first,
            prefix,
        };
        if first == address {
            Ok(network)
        } else {
            Err(NetworkError::HostBits(network))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_own_addresses_and_no_others() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.8", false),
            ("2001:db8::1", "2001:db8::1", true),
        ];
        for (network, address, inside) in cases {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                inside,
                "{network} {address}"
            );
        }
    }

    #[test]
    fn what_is_no_network_says_why() {
        let error = |text: &str| text.parse::<Network>().unwrap_err();
        assert_eq!(error("gw.example.org"), NetworkError::Address);
        assert_eq!(error(""), NetworkError::Address);
        assert_eq!(error("192.0.2.0/"), NetworkError::Prefix);
        assert_eq!(error("192.0.2.0/33"), NetworkError::Prefix);
        assert_eq!(error("192.0.2.0/+8"), NetworkError::Prefix);
        assert_eq!(error("::/129"), NetworkError::Prefix);
        assert_eq!(
            error("192.0.2.7/24"),
            NetworkError::HostBits("192.0.2.0/24".parse().unwrap())
        );
        assert_eq!(error("::ffff:192.0.2.1"), NetworkError::Mapped);
    }
}
