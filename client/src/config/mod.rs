//! `config.toml`: the hosts this machine opens. Valid by construction: what
//! stands in a [`Config`] was checked, or there is none.

pub mod edit;
pub mod file;
mod parse;
pub mod validate;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;

use crate::carrier::Carrier;
use spa_keys::ServerPublic;
use spa_proto::Service;

pub use parse::{HOST_KEYS, parse};

/// All hosts, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[hosts.NAME]`.
    pub hosts: BTreeMap<HostName, Host>,
}

/// A host's name on this machine: letters, digits, `.`, `_` and `-`, beginning
/// with a letter or digit, at most 64.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(pub(crate) String);

impl HostName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name to look up, or an address.
    pub address: String,
    /// Where its server looks for packets (UDP).
    pub port: NonZeroU16,
    /// What carries packets to it, where the command line says nothing else.
    pub via: Carrier,
    /// The server's public key.
    pub key: ServerPublic,
    /// What is asked for where the command line names no service; empty: the
    /// server's policy decides.
    pub default: Vec<Service>,
    /// Names for services, each with its ports.
    pub services: BTreeMap<String, Vec<Service>>,
    /// With what packets to it are sealed.
    pub credential: Credential,
    /// Whether its server demands that packets state an address. Then none is sent
    /// that does not, nor one learned by STUN: it is not this machine that states it.
    pub require_address: bool,
}

/// With what packets to a host are sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// This machine's key pair.
    Identity {
        /// A pre-shared key mixed in.
        pre_shared_key_file: Option<PathBuf>,
    },
    /// A key that the server holds as well.
    SharedKey {
        /// Where it is.
        file: PathBuf,
    },
}

impl Host {
    /// Every port its services name, each once, ascending.
    #[must_use]
    pub fn known_ports(&self) -> Vec<Service> {
        let mut ports: Vec<_> = self.services.values().flatten().copied().collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}
