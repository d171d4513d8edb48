//! The words of the configuration that the command line takes too: names of
//! hosts and services, addresses, service definitions. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use spa_keys::Kind;
use spa_proto::{ParseServiceError, Service};

use super::HostName;

/// Longest name of a host or service, in bytes.
const LONGEST_NAME: usize = 64;

/// Why a word cannot stand where it does. The text says what can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// No name for a host.
    #[error(
        "a host's name has letters, digits, `.`, `_` and `-`, begins with a letter or digit and has at most {LONGEST_NAME} characters"
    )]
    HostName,
    /// No name for a service.
    #[error(
        "a service's name has small letters, digits, `_` and `-`, begins with a letter or digit and has at most {LONGEST_NAME} characters"
    )]
    ServiceName,
    /// Empty.
    #[error("the address is empty; give the server's name or IP address")]
    EmptyAddress,
    /// Address and port in one.
    #[error("this is an address with a port; give the address alone, and the port as the port")]
    AddressWithPort,
    /// A key, which must not be looked up by name.
    #[error(
        "this is a key, not an address; if it is a secret and others could see it, make a new one"
    )]
    Key,
    /// `[2001:db8::1]`.
    #[error("write an IPv6 address without brackets")]
    Brackets,
    /// A name with other letters.
    #[error("a name to look up is written in ASCII; use its xn-- form")]
    NotAscii,
    /// No name and no address.
    #[error("this is neither a name to look up nor an IP address")]
    InvalidName,
    /// No ports.
    #[error("a service needs at least one port, such as tcp/22")]
    NoPorts,
    /// A port that is none.
    #[error(transparent)]
    Port(#[from] ParseServiceError),
}

/// Whether this is a key of any kind, whole or damaged. Where a name belongs it
/// would be shown, or asked of a name service.
#[must_use]
pub fn is_key(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    let mut prefixes = Kind::ALL.into_iter().map(Kind::prefix);
    prefixes.any(|prefix| text.starts_with(prefix))
}

impl FromStr for HostName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let plain = text.chars().all(plain) && !is_key(text);
        if begins && text.len() <= LONGEST_NAME && plain {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::HostName)
        }
    }
}

/// Checks the name of a service.
///
/// # Errors
/// What a name may be.
pub fn service_name(text: &str) -> Result<(), ValueError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let plain = text.chars().all(plain) && !is_key(text);
    if begins && text.len() <= LONGEST_NAME && plain {
        Ok(())
    } else {
        Err(ValueError::ServiceName)
    }
}

/// Checks a server's address: a name to look up, or an IP address, IPv6 with
/// its zone where it needs one.
///
/// # Errors
/// What is wrong with it.
pub fn address(text: &str) -> Result<(), ValueError> {
    if text.is_empty() {
        return Err(ValueError::EmptyAddress);
    }
    if is_key(text) {
        return Err(ValueError::Key);
    }
    let without_zone = text.split_once('%').map_or(text, |(address, _)| address);
    if text.parse::<IpAddr>().is_ok() || without_zone.parse::<Ipv6Addr>().is_ok() {
        return Ok(());
    }
    if text.parse::<SocketAddr>().is_ok() {
        return Err(ValueError::AddressWithPort);
    }
    if text.starts_with('[') {
        return Err(ValueError::Brackets);
    }
    if !text.is_ascii() {
        return Err(ValueError::NotAscii);
    }
    if let Some((_, port)) = text.split_once(':') {
        let port = !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
        return Err(if port {
            ValueError::AddressWithPort
        } else {
            ValueError::InvalidName
        });
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.len() <= 253 && !text.starts_with('-') && text.chars().all(plain) {
        Ok(())
    } else {
        Err(ValueError::InvalidName)
    }
}

/// Reads ports separated by commas: `tcp/53,udp/53`.
///
/// # Errors
/// The first that is none.
pub fn ports(text: &str) -> Result<Vec<Service>, ValueError> {
    if text.is_empty() {
        return Err(ValueError::NoPorts);
    }
    text.split(',')
        .map(|port| port.parse().map_err(ValueError::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_mistaken_for_something_else_are_refused() {
        for bad in ["", "-4", "a:b", "a b", ".a", "a/b", "ä", &"a".repeat(65)] {
            assert_eq!(bad.parse::<HostName>(), Err(ValueError::HostName), "{bad}");
        }
        for good in ["gw", "GW-1", "gw.example.org", "9"] {
            assert!(good.parse::<HostName>().is_ok(), "{good}");
        }
        assert!(service_name("ssh").is_ok());
        for bad in ["SSH", "tcp/22", "", "_a"] {
            assert_eq!(service_name(bad), Err(ValueError::ServiceName));
        }
    }

    #[test]
    fn an_address_is_a_name_or_an_address_and_nothing_else() {
        for good in [
            "gw.example.org",
            "203.0.113.5",
            "2001:db8::5",
            "fe80::1%eth0",
        ] {
            assert_eq!(address(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", ValueError::EmptyAddress),
            ("203.0.113.5:62201", ValueError::AddressWithPort),
            ("gw.example.org:62201", ValueError::AddressWithPort),
            ("[2001:db8::5]:22", ValueError::AddressWithPort),
            ("[2001:db8::5]", ValueError::Brackets),
            ("gw.exämple.org", ValueError::NotAscii),
            ("udp://gw", ValueError::InvalidName),
            ("-gw", ValueError::InvalidName),
            ("SPA-Secret-AbCd", ValueError::Key),
            ("a b", ValueError::InvalidName),
        ] {
            assert_eq!(address(bad), Err(why), "{bad}");
        }
    }
}
