//! A client as far as its file can be understood, for lists of them.
//!
//! Pure, but that it reads `spad.toml` for the groups. Works whatever state the files are in; nothing is judged by it, and
//! texts from files that may hold anything are made fit to be shown.

use std::path::Path;

use jiff::tz::TimeZone;
use spa_findings::redact::quote;
use spa_findings::{Severity, Source};
use spa_proto::Timestamp;
use spad_model::ClientName;

use super::groups::{self, EffectiveRules, Groups};
use super::toml_reader::{self, WithSpan};
use super::types::{AcceptedKey, ClientKey};
use super::{client_file, files, server_file};

/// What is known of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSummary {
    /// The client.
    pub name: ClientName,
    /// Whether its file has a fault, which keeps the whole configuration from being used.
    pub faulty: bool,
    /// Its keys: the public ones whole, a shared one as those words.
    pub keys: Vec<String>,
    /// From when on each of them is refused.
    pub keys_until: Vec<Option<Timestamp>>,
    /// Whether a pre-shared key is mixed in.
    pub pre_shared_key: bool,
    /// The groups that it names.
    pub groups: Vec<String>,
    /// What it or one of its groups may open, as written.
    pub allow: Vec<String>,
    /// The commands that it may have run, as written.
    pub commands: Vec<String>,
    /// The length of the IPv4 networks that are let in for it.
    pub ipv4_prefix: Option<u8>,
    /// The same of IPv6.
    pub ipv6_prefix: Option<u8>,
    /// Where it may be: in each of these lists; empty means anywhere.
    pub sources: Vec<Vec<String>>,
    /// When it may open: within each of these; empty means always.
    pub hours: Vec<String>,
    /// From when on it is refused.
    pub expires: Option<Timestamp>,
    /// False for a disabled one.
    pub enabled: bool,
    /// Its longest grant, in seconds.
    pub max_ttl_s: Option<u64>,
    /// How many windows it may hold open.
    pub max_grants: Option<u32>,
    /// The same of connections.
    pub max_connections: Option<u32>,
    /// Whether it must state its address.
    pub require_address: Option<bool>,
    /// For people.
    pub note: Option<String>,
}

/// Reads client files one after the other, with the groups of `spad.toml`.
#[derive(Default)]
pub struct ClientSummaries {
    groups: Groups,
    zone: Option<TimeZone>,
}

impl ClientSummaries {
    /// With the groups of this directory's `spad.toml`; with none where that cannot be read.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        let Ok(Ok(source)) = files::server(directory) else {
            return Self::default();
        };
        let reader = toml_reader::FileReader::new(&source);
        match server_file::read(&reader, &|_| Ok(String::new())) {
            Some(server) => Self {
                groups: server.groups,
                zone: Some(server.time_zone),
            },
            None => Self::default(),
        }
    }

    /// One client file that can be read: what holds for the client.
    #[must_use]
    pub fn summarise(&self, name: &ClientName, source: &Source) -> ClientSummary {
        let reader = toml_reader::FileReader::new(source);
        let read = client_file::read(&reader, name);
        let unknown = read
            .as_ref()
            .map(|client| groups::unknown(client, &self.groups));
        let findings = reader.into_findings().into_iter();
        let faulty = findings
            .chain(unknown.into_iter().flatten())
            .any(|finding| finding.severity == Severity::Error);
        let Some(client) = read else {
            return ClientSummary::faulty(name);
        };
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        let all = EffectiveRules::new(&client, &self.groups, &zone);
        let texts = |names: &[WithSpan<String>]| -> Vec<String> {
            names.iter().map(|name| quote(&name.value)).collect()
        };
        let sources = all.sources.iter();
        let note = client.rules.note.as_deref();
        ClientSummary {
            name: name.clone(),
            faulty,
            keys: client
                .keys
                .iter()
                .map(|key| describe_key(&key.value))
                .collect(),
            keys_until: client.keys.iter().map(|key| key.value.until).collect(),
            pre_shared_key: client.pre_shared_key,
            groups: texts(&client.groups),
            allow: texts(&all.allow),
            commands: texts(&all.commands),
            ipv4_prefix: client.ipv4_prefix,
            ipv6_prefix: client.ipv6_prefix,
            sources: sources
                .map(|list| list.iter().map(ToString::to_string).collect())
                .collect(),
            hours: all.hours.iter().map(|hours| quote(&hours.text())).collect(),
            expires: all.expires,
            enabled: client.enabled,
            max_ttl_s: all.max_ttl.map(|time| time.as_secs()),
            max_grants: all.max_grants,
            max_connections: all.max_connections,
            require_address: all.require_address,
            note: note.map(quote),
        }
    }
}

impl ClientSummary {
    /// Of a file that says nothing.
    fn faulty(name: &ClientName) -> Self {
        Self {
            name: name.clone(),
            faulty: true,
            keys: Vec::new(),
            keys_until: Vec::new(),
            pre_shared_key: false,
            groups: Vec::new(),
            allow: Vec::new(),
            commands: Vec::new(),
            ipv4_prefix: None,
            ipv6_prefix: None,
            sources: Vec::new(),
            hours: Vec::new(),
            expires: None,
            enabled: true,
            max_ttl_s: None,
            max_grants: None,
            max_connections: None,
            require_address: None,
            note: None,
        }
    }
}

fn describe_key(key: &AcceptedKey) -> String {
    match &key.key {
        ClientKey::Public(key) => key.to_string(),
        ClientKey::Shared => "shared key".to_owned(),
    }
}
