//! Which addresses a packet states. Pure. docs/protocol.md, "Addresses".
//!
//! Stated addresses alone receive the grant, so a packet states its sender's
//! own address only where that is one the server will see: behind network
//! address translation it is not, and the packet's source decides instead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use spa_proto::{Addresses, UnusableAddress, usable_address};

/// Whether nothing between here and a server is expected to change this address.
#[must_use]
pub fn is_global(address: IpAddr) -> bool {
    usable_address(address)
        && match address {
            IpAddr::V4(address) => is_global_v4(address),
            IpAddr::V6(address) => is_global_v6(address),
        }
}

const fn is_global_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network; networks for reserved and future use.
        [0 | 240..=255, ..] => false,
        // Addresses shared behind a carrier's translation (RFC 6598).
        [100, 64..=127, ..] => false,
        // Protocol assignments, 464XLAT among them (RFC 7335).
        [192, 0, 0, _] => false,
        // Benchmarks (RFC 2544).
        [198, 18..=19, ..] => false,
        _ => !address.is_private(),
    }
}

/// 2000::/3, all that is assigned as global unicast, without tunnels that have
/// an end elsewhere (Teredo).
const fn is_global_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x2001, 0, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// This machine's own addresses toward a server, one a family at most, as the
/// kernel chose them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalAddresses {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl LocalAddresses {
    /// Notes an address if it is global; of each family, the first counts.
    pub fn insert(&mut self, address: IpAddr) {
        if !is_global(address) {
            return;
        }
        match address {
            IpAddr::V4(address) => _ = self.v4.get_or_insert(address),
            IpAddr::V6(address) => _ = self.v6.get_or_insert(address),
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(self) -> Addresses {
        Addresses::new(self.v4, self.v6).unwrap_or_default()
    }

    /// What a packet that leaves from `source` states: its own address, and the
    /// other family's where it is known.
    ///
    /// Nothing where its own address is not global. Stating the other family's
    /// alone would keep the server from granting to this packet's source, and
    /// then nobody would be granted anything in this family.
    #[must_use]
    pub fn for_source(self, source: IpAddr) -> Addresses {
        if !is_global(source) {
            return Addresses::NONE;
        }
        let (v4, v6) = match source {
            IpAddr::V4(address) => (Some(address), self.v6),
            IpAddr::V6(address) => (self.v4, Some(address)),
        };
        Addresses::new(v4, v6).unwrap_or_default()
    }
}

/// The addresses of these sources, where every one is global: then this machine is
/// seen under its own addresses, and its own ports.
#[must_use]
pub fn unchanged(sources: &[IpAddr]) -> Option<Addresses> {
    let mut local = LocalAddresses::default();
    sources.iter().for_each(|source| local.insert(*source));
    let stated = local.all();
    let all_stated = sources
        .iter()
        .all(|source| stated.iter().any(|known| known == *source));
    (all_stated && !stated.is_empty()).then_some(stated)
}

/// Why addresses of the command line cannot be stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatedError {
    /// One of them.
    #[error(transparent)]
    Unusable(#[from] UnusableAddress),
    /// Two of one family.
    #[error("a packet states at most one IPv4 and one IPv6 address; run spa once for each")]
    TwoOfOneFamily,
}

/// The addresses of the command line (`--for`).
///
/// # Errors
/// An address that cannot be granted anything, or two of one family.
pub fn one_per_family(addresses: &[IpAddr]) -> Result<Addresses, StatedError> {
    let (mut v4, mut v6) = (None, None);
    for address in addresses {
        let before = match address {
            IpAddr::V4(address) => v4.replace(*address).is_some(),
            IpAddr::V6(address) => v6.replace(*address).is_some(),
        };
        if before {
            return Err(StatedError::TwoOfOneFamily);
        }
    }
    Ok(Addresses::new(v4, v6)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn local_addresses(addresses: &[&str]) -> LocalAddresses {
        let mut local = LocalAddresses::default();
        addresses
            .iter()
            .for_each(|address| local.insert(ip(address)));
        local
    }

    fn stated(local: LocalAddresses, source: &str) -> Vec<IpAddr> {
        local.for_source(ip(source)).iter().collect()
    }

    #[test]
    fn addresses_that_others_see_differently_are_not_stated() {
        for address in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.1",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.0.1",
            "169.254.1.1",
            "127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "192.0.0.2",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:203.0.113.5",
            "64:ff9b::1",
            "2001:0:1::1",
            "fec0::1",
            "4000::1",
        ] {
            assert!(!is_global(ip(address)), "{address}");
            assert!(
                stated(local_addresses(&[address]), address).is_empty(),
                "{address}"
            );
        }
    }

    #[test]
    fn addresses_of_the_internet_are_stated() {
        for address in [
            "203.0.113.5",
            "100.63.0.1",
            "172.32.0.1",
            "8.8.8.8",
            "2001:db8::5",
            "2a00::1",
        ] {
            assert_eq!(stated(local_addresses(&[address]), address), [ip(address)]);
        }
    }

    #[test]
    fn a_packet_states_both_families_when_both_are_known() {
        let both = local_addresses(&["203.0.113.5", "2001:db8::5"]);
        let expected = [ip("203.0.113.5"), ip("2001:db8::5")];
        assert_eq!(stated(both, "203.0.113.5"), expected);
        assert_eq!(stated(both, "2001:db8::5"), expected);
    }

    #[test]
    fn a_global_ipv6_address_does_not_take_the_grant_from_an_ipv4_address_behind_nat() {
        let local = local_addresses(&["192.168.1.7", "2001:db8::5"]);
        assert!(stated(local, "192.168.1.7").is_empty());
        assert_eq!(stated(local, "2001:db8::5"), [ip("2001:db8::5")]);
    }

    #[test]
    fn one_source_behind_nat_or_two_of_a_family_and_no_port_is_known() {
        let sources = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect::<Vec<_>>();
        let unchanged = |texts: &[&str]| {
            let stated = unchanged(&sources(texts))?;
            Some(stated.iter().collect::<Vec<_>>())
        };
        let both = ["203.0.113.5", "2001:db8::5"];
        assert_eq!(unchanged(&both), Some(sources(&both)));
        assert_eq!(unchanged(&["192.168.1.7", "2001:db8::5"]), None);
        assert_eq!(unchanged(&["203.0.113.5", "203.0.113.6"]), None);
        assert_eq!(unchanged(&[]), None);
    }

    #[test]
    fn two_addresses_of_one_family_are_refused() {
        let two = [ip("203.0.113.5"), ip("203.0.113.6")];
        assert_eq!(one_per_family(&two), Err(StatedError::TwoOfOneFamily));
        assert!(matches!(
            one_per_family(&[ip("127.0.0.1")]),
            Err(StatedError::Unusable(_))
        ));
        let both = one_per_family(&[ip("2001:db8::5"), ip("10.0.0.1")]).unwrap();
        assert_eq!(both.iter().count(), 2);
    }
}
