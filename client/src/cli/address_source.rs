//! The addresses of the command line, `--for`: written out, or to be learned from a
//! STUN server.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;

use spa_proto::Addresses;

use super::output::{Failure, Output};
use crate::config::validate::{self, ValueError};
use crate::resolve::Family;
use crate::stated_addresses::{self, StatedError};
use crate::stun::{self, StunServer};
use crate::target::Target;

/// One `--for`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AddressSource {
    /// This address.
    Address(IpAddr),
    /// As this server sees this machine.
    Stun(StunServer),
}

/// Why a text is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseAddressSourceError {
    #[error("this is neither an IP address nor stun:HOST[:PORT]")]
    Unrecognised,
    #[error("a STUN server's port is a number from 1 to 65535")]
    Port,
    #[error(transparent)]
    Host(#[from] ValueError),
}

impl FromStr for AddressSource {
    type Err = ParseAddressSourceError;

    fn from_str(text: &str) -> Result<Self, ParseAddressSourceError> {
        let Some(server) = text.strip_prefix("stun:") else {
            let address = text
                .parse()
                .map_err(|_| ParseAddressSourceError::Unrecognised)?;
            return Ok(Self::Address(address));
        };
        let (host, port) = match server
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            Some((host, "")) => (host, None),
            Some((host, port)) => (
                host,
                Some(
                    port.strip_prefix(':')
                        .ok_or(ParseAddressSourceError::Port)?,
                ),
            ),
            None if server.parse::<Ipv6Addr>().is_ok() => (server, None),
            None => match server.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (server, None),
            },
        };
        validate::address(host)?;
        let port = match port {
            Some(port) => port
                .parse::<NonZeroU16>()
                .map_err(|_| ParseAddressSourceError::Port)?,
            None => stun::DEFAULT_PORT,
        };
        Ok(Self::Stun(StunServer {
            host: host.to_owned(),
            port,
        }))
    }
}

impl fmt::Display for AddressSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Stun(server) => write!(f, "stun:{server}"),
        }
    }
}

/// The addresses that are written out.
pub(super) fn literal_addresses(words: &[AddressSource]) -> Result<Addresses, Failure> {
    let addresses: Vec<_> = words
        .iter()
        .filter_map(|word| match word {
            AddressSource::Address(address) => Some(*address),
            AddressSource::Stun(_) => None,
        })
        .collect();
    stated_addresses::one_per_family(&addresses).map_err(Failure::usage)
}

/// The same for a command that sends nothing, and so cannot ask a server.
pub(super) fn literal_addresses_only(
    words: &[AddressSource],
    why: &str,
) -> Result<Addresses, Failure> {
    if words
        .iter()
        .any(|word| matches!(word, AddressSource::Stun(_)))
    {
        return Err(Failure::usage(format!(
            "{why} sends nothing, and stun: would ask a server; say `--for ADDR`"
        )));
    }
    literal_addresses(words)
}

/// What packets to these hosts state: addresses that are written out come first,
/// STUN tells those of the families that are left.
pub(super) fn resolve_addresses<'a>(
    words: &[AddressSource],
    targets: impl IntoIterator<Item = &'a Target<'a>>,
    family: Family,
    output: &Output,
) -> Result<Addresses, Failure> {
    let written = literal_addresses(words)?;
    let mut servers = words.iter().filter_map(|word| match word {
        AddressSource::Stun(server) => Some(server),
        AddressSource::Address(_) => None,
    });
    let Some(server) = servers.next() else {
        return Ok(written);
    };
    if servers.next().is_some() {
        return Err(Failure::usage(
            "name one STUN server; it is asked in both families",
        ));
    }
    if let Some(target) = targets
        .into_iter()
        .find(|target| target.host.require_address)
    {
        return Err(Failure::local(format!(
            "{}: its server demands an address that this machine itself states (`require_address`), and one learned by STUN is none: whoever is on the way can answer in the STUN server's place; say `--for ADDR`",
            target.name
        )));
    }
    let resolved = stun::query(server, family).map_err(Failure::route)?;
    for address in resolved.iter() {
        output.detail(&format!("stun:{server}: this machine is seen as {address}"));
    }
    let pick = |is_v4: bool| {
        let mut first = written.iter().chain(resolved.iter());
        first.find(|address| address.is_ipv4() == is_v4)
    };
    let picked: Vec<_> = [pick(true), pick(false)].into_iter().flatten().collect();
    stated_addresses::one_per_family(&picked).map_err(|error: StatedError| Failure::route(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stun_server_is_a_name_or_an_address_with_or_without_a_port() {
        for (text, host, port) in [
            ("stun:stun.example.org", "stun.example.org", 3478),
            ("stun:stun.example.org:19302", "stun.example.org", 19302),
            ("stun:192.0.2.1:5", "192.0.2.1", 5),
            ("stun:2001:db8::1", "2001:db8::1", 3478),
            ("stun:[2001:db8::1]", "2001:db8::1", 3478),
            ("stun:[2001:db8::1]:5", "2001:db8::1", 5),
        ] {
            let Ok(AddressSource::Stun(server)) = text.parse() else {
                panic!("{text}");
            };
            assert_eq!((server.host.as_str(), server.port.get()), (host, port));
            let again = AddressSource::Stun(server.clone()).to_string().parse();
            assert_eq!(again, Ok(AddressSource::Stun(server)), "{text}");
        }
    }

    #[test]
    fn what_is_neither_an_address_nor_a_server_is_refused() {
        for (text, why) in [
            ("here", ParseAddressSourceError::Unrecognised),
            ("192.0.2.1:5", ParseAddressSourceError::Unrecognised),
            ("stun:host:0", ParseAddressSourceError::Port),
            ("stun:host:", ParseAddressSourceError::Port),
            ("stun:[2001:db8::1]5", ParseAddressSourceError::Port),
            (
                "stun:",
                ParseAddressSourceError::Host(ValueError::EmptyAddress),
            ),
            (
                "stun:spa-secret-AbCd",
                ParseAddressSourceError::Host(ValueError::Key),
            ),
        ] {
            assert_eq!(text.parse::<AddressSource>(), Err(why), "{text}");
        }
    }
}
