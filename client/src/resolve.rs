//! [IO] A host's name → every address it has.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroU16;

/// The most addresses of one host that are knocked. Each gets two packets in the
/// first second, and a server takes ten a second of one client.
pub const MAX_ADDRESSES: usize = 5;

/// The families to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Both.
    #[default]
    Any,
    /// `-4`.
    V4,
    /// `-6`.
    V6,
}

impl Family {
    const fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name service said so.
    #[error(
        "`{address}` cannot be looked up ({error}); check the address and this machine's name service"
    )]
    Lookup {
        /// What was looked up.
        address: String,
        /// What it said.
        error: std::io::Error,
    },
    /// Only addresses of the other family.
    #[error("`{address}` has no address of the family asked for; leave -4 or -6 out")]
    Family {
        /// What was looked up.
        address: String,
    },
}

/// Every address of the name, each once, in the name service's order; at most
/// [`MAX_ADDRESSES`].
///
/// # Errors
/// A name that has none.
pub fn resolve(
    address: &str,
    port: NonZeroU16,
    family: Family,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let found = (address, port.get())
        .to_socket_addrs()
        .map_err(|error| ResolveError::Lookup {
            address: address.into(),
            error,
        })?;
    let mut servers: Vec<SocketAddr> = Vec::new();
    for server in found {
        if family.allows(server.ip()) && !servers.contains(&server) && servers.len() < MAX_ADDRESSES
        {
            servers.push(server);
        }
    }
    if servers.is_empty() {
        return Err(ResolveError::Family {
            address: address.into(),
        });
    }
    Ok(servers)
}
