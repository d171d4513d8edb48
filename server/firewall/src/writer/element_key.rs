//! Elements as the kernel's sets spell them.
//!
//! Pure: element to set and key bytes, and back. Each field of a key takes a
//! multiple of four bytes, padded with zeros, network byte order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use spa_proto::{Protocol, Service};
use spad_model::Element;

use crate::table::{SetName, prefix_mark};

/// The set that an element belongs into.
pub(super) const fn set_for_element(element: &Element) -> SetName {
    match (element.address, element.once, element.source_port) {
        (IpAddr::V4(_), _, Some(_)) => SetName::GrantsPort4,
        (IpAddr::V6(_), _, Some(_)) => SetName::GrantsPort6,
        (IpAddr::V4(_), true, None) => SetName::GrantsOnce4,
        (IpAddr::V6(_), true, None) => SetName::GrantsOnce6,
        (IpAddr::V4(_), false, None) if element.prefix.is_some() => SetName::GrantsNet4,
        (IpAddr::V6(_), false, None) if element.prefix.is_some() => SetName::GrantsNet6,
        (IpAddr::V4(_), false, None) => SetName::Grants4,
        (IpAddr::V6(_), false, None) => SetName::Grants6,
    }
}

/// The key of an element in its set.
pub(super) fn from_element(element: &Element) -> Vec<u8> {
    let mut key = Vec::with_capacity(28);
    match (element.address, element.prefix) {
        // An IPv4 network's length stands in its host bits, an IPv6 one's in a field of its
        // own: networks of different lengths never meet.
        (IpAddr::V4(address), prefix) => {
            let bits = address.to_bits() | u32::from(prefix.unwrap_or(0));
            key.extend(bits.to_be_bytes());
        }
        (IpAddr::V6(address), None) => key.extend(address.octets()),
        (IpAddr::V6(address), Some(prefix)) => {
            key.extend(address.octets());
            put_number(&mut key, prefix_mark::mark(prefix));
        }
    }
    if let Some(port) = element.source_port {
        put_port(&mut key, port);
    }
    key.extend(from_service(element.service));
    key
}

/// The key of a port in the sets of ports.
pub(super) fn from_service(service: Service) -> Vec<u8> {
    let mut key = vec![service.protocol.number(), 0, 0, 0];
    put_port(&mut key, service.port);
    key
}

/// The key of an inner host's port in the sets of those.
pub(super) fn from_inner((address, port): (IpAddr, Service)) -> Vec<u8> {
    let mut key = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    key.extend(from_service(port));
    key
}

fn put_port(key: &mut Vec<u8>, port: NonZeroU16) {
    put_number(key, port.get());
}

fn put_number(key: &mut Vec<u8>, number: u16) {
    key.extend(number.to_be_bytes());
    key.extend([0, 0]);
}

/// The port with this key.
pub(super) fn to_service(key: &[u8]) -> Option<Service> {
    let (protocol, rest) = key.split_first_chunk::<4>()?;
    let (port, rest) = take_port(rest)?;
    let [number, 0, 0, 0] = *protocol else {
        return None;
    };
    let protocol = Protocol::from_number(number)?;
    rest.is_empty().then_some(Service { protocol, port })
}

/// The element with this key in this set.
pub(super) fn to_element(set: SetName, key: &[u8]) -> Option<Element> {
    let (four, flow, once) = match set {
        SetName::Grants4 | SetName::GrantsNet4 => (true, false, false),
        SetName::Grants6 | SetName::GrantsNet6 => (false, false, false),
        SetName::GrantsOnce4 => (true, false, true),
        SetName::GrantsOnce6 => (false, false, true),
        SetName::GrantsPort4 | SetName::Existing4 => (true, true, false),
        SetName::GrantsPort6 | SetName::Existing6 => (false, true, false),
        _ => return None,
    };
    let (address, rest): (IpAddr, &[u8]) = if four {
        let (octets, rest) = key.split_first_chunk::<4>()?;
        (Ipv4Addr::from(*octets).into(), rest)
    } else {
        let (octets, rest) = key.split_first_chunk::<16>()?;
        (Ipv6Addr::from(*octets).into(), rest)
    };
    let (address, prefix, rest) = match (set, address) {
        (SetName::GrantsNet4, IpAddr::V4(address)) => {
            let [a, b, c, prefix] = address.octets();
            (Ipv4Addr::new(a, b, c, 0).into(), Some(prefix), rest)
        }
        (SetName::GrantsNet6, address) => {
            let (mark, rest) = take_number(rest)?;
            (address, Some(prefix_mark::length(mark)?), rest)
        }
        (_, address) => (address, None, rest),
    };
    let (source_port, rest) = if flow {
        let (port, rest) = take_port(rest)?;
        (Some(port), rest)
    } else {
        (None, rest)
    };
    let element = Element {
        address,
        service: to_service(rest)?,
        source_port,
        once,
        prefix,
    };
    element.is_valid().then_some(element)
}

fn take_port(key: &[u8]) -> Option<(NonZeroU16, &[u8])> {
    let (port, rest) = take_number(key)?;
    Some((NonZeroU16::new(port)?, rest))
}

fn take_number(key: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = key.split_first_chunk::<4>()?;
    let [high, low, 0, 0] = *number else {
        return None;
    };
    Some((u16::from_be_bytes([high, low]), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spad_model::Network;

    use super::*;

    proptest! {
        #[test]
        fn every_element_is_found_again_by_its_set_and_key(
            four: bool,
            bits: u128,
            protocol in prop::sample::select(Protocol::ALL.to_vec()),
            port in 1..=u16::MAX,
            source in 0..=u16::MAX,
            once: bool,
            length in 0..=64_u8,
        ) {
            let address = if four {
                IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
            } else {
                IpAddr::V6(Ipv6Addr::from_bits(bits))
            };
            let source_port = NonZeroU16::new(source).filter(|_| !once);
            let service = Service { protocol, port: NonZeroU16::new(port).unwrap() };
            let alone = Element { address, service, source_port, once, prefix: None };
            let network = Network::enclosing(address, length);
            let network = network.map(|one| Element { address: one.address, prefix: Some(length), ..alone });
            let element = network.filter(Element::is_valid).unwrap_or(alone);
            let key = from_element(&element);
            prop_assert_eq!(key.len() % 4, 0);
            prop_assert_eq!(to_element(set_for_element(&element), &key), Some(element));
        }

        #[test]
        fn odd_keys_are_nobodys(key in prop::collection::vec(any::<u8>(), 0..40)) {
            for set in SetName::ALL {
                if let Some(element) = to_element(set, &key) {
                    prop_assert_eq!(from_element(&element), key.clone());
                }
            }
        }
    }
}
