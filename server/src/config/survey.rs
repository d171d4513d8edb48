//! A client as far as its file can be understood, for lists of them.
//!
//! Pure. Works whatever state the files are in; nothing is judged by it, and
//! texts from files that may hold anything are made fit to be shown.

use spa_findings::redact::quote;
use spa_findings::{Severity, Source};
use spa_proto::Timestamp;

use super::checked::ClientKey;
use super::names::ClientName;
use super::{client_file, written};

/// What is known of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// The client.
    pub name: ClientName,
    /// Whether its file has a fault, which keeps the whole configuration from being used.
    pub faulty: bool,
    /// Its keys: the public ones whole, a shared one as those words.
    pub keys: Vec<String>,
    /// Whether a pre-shared key is mixed in.
    pub pre_shared_key: bool,
    /// What it may open, as written.
    pub allow: Vec<String>,
    /// Where it may be; empty means anywhere.
    pub sources: Vec<String>,
    /// From when on it is refused.
    pub expires: Option<Timestamp>,
    /// False for a disabled one.
    pub enabled: bool,
    /// Its longest grant, in seconds.
    pub max_ttl_s: Option<u64>,
    /// Whether it must state its address.
    pub require_address: Option<bool>,
    /// For people.
    pub note: Option<String>,
}

/// One client file that can be read.
#[must_use]
pub fn survey(name: &ClientName, source: &Source) -> Surveyed {
    let page = written::Page::new(source);
    let read = client_file::read(&page, name);
    let faulty = page
        .into_findings()
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    let mut surveyed = Surveyed {
        name: name.clone(),
        faulty: faulty || read.is_none(),
        keys: Vec::new(),
        pre_shared_key: false,
        allow: Vec::new(),
        sources: Vec::new(),
        expires: None,
        enabled: true,
        max_ttl_s: None,
        require_address: None,
        note: None,
    };
    let Some(client) = read else { return surveyed };
    surveyed
        .keys
        .extend(client.keys.iter().map(|key| match &key.value.key {
            ClientKey::Public(key) => key.to_string(),
            ClientKey::Shared => "shared key".to_owned(),
        }));
    surveyed.pre_shared_key = client.pre_shared_key;
    surveyed.allow.extend(
        client
            .rules
            .allow
            .iter()
            .flatten()
            .map(|name| quote(&name.value)),
    );
    surveyed.sources.extend(
        client
            .rules
            .sources
            .iter()
            .flat_map(|list| list.iter())
            .map(ToString::to_string),
    );
    surveyed.expires = client.rules.expires;
    surveyed.enabled = client.enabled;
    surveyed.max_ttl_s = client.rules.max_ttl.map(|time| time.as_secs());
    surveyed.require_address = client.rules.require_address;
    surveyed.note = client.rules.note.map(|note| quote(&note));
    surveyed
}
