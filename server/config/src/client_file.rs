//! One file of `clients.d/`: as written → checked, but for what other files have a say in.
//!
//! Pure. A key of another kind is named as such and never shown.

use std::ops::RangeInclusive;

use spa_findings::{Finding, Source};
use spa_keys::{ClientPublic, KeyError};
use spad_model::{ClientName, Network, PREFIXES4, PREFIXES6};

use super::client_rules::{self, Rules};
use super::reference::Section;
use super::toml_reader::{FileReader, Table, Value, WithSpan, parse};
use super::types::{AcceptedKey, ClientKey};
use super::values;

/// The most keys of one client: its present one, and others while keys are changed.
const MAX_KEYS: usize = 8;

/// A client file, checked by itself; what was wrong is missing in it.
pub(super) struct ClientFile<'s> {
    pub(super) source: &'s Source,
    pub(super) name: ClientName,
    pub(super) keys: Vec<WithSpan<AcceptedKey>>,
    pub(super) pre_shared_key: bool,
    pub(super) groups: Vec<WithSpan<String>>,
    pub(super) rules: Rules,
    pub(super) ipv4_prefix: Option<u8>,
    pub(super) ipv6_prefix: Option<u8>,
    pub(super) enabled: bool,
}

/// Reads the file; `None` if its syntax is broken.
pub(super) fn read<'s>(reader: &FileReader<'s>, name: &ClientName) -> Option<ClientFile<'s>> {
    let tree = parse(reader)?;
    let table = reader.root(&tree, Section::Client);
    let (keys, pre_shared_key) = keys(reader, &table);
    let groups_value = table.get("groups");
    let groups = groups_value.map(|value| client_rules::names(value, "staff"));
    let rules = client_rules::read(&table);
    if rules.allow.is_none() && groups.is_none() {
        let finding = Finding::error(reader.source.path(), "a client needs what it may open");
        reader.report(finding.help("write allow = [\"ssh\"], or groups = [\"NAME\"] of spad.toml"));
    }
    let sources = rules.sources.iter().flat_map(|list| list.iter());
    let (fours, sixes): (Vec<Network>, Vec<Network>) =
        sources.partition(|network| network.address.is_ipv4());
    let client = ClientFile {
        source: reader.source,
        name: name.clone(),
        keys,
        pre_shared_key,
        groups: groups.unwrap_or_default(),
        rules,
        ipv4_prefix: prefix(&table, "ipv4_prefix", PREFIXES4, &fours),
        ipv6_prefix: prefix(&table, "ipv6_prefix", PREFIXES6, &sixes),
        enabled: table
            .get("enabled")
            .is_none_or(|value| value.boolean().unwrap_or(false)),
    };
    table.report_unknown_keys();
    Some(client)
}

/// The length of the networks that are let in, of one family; with the sources of that family,
/// one of which must be as wide.
fn prefix(
    table: &Table<'_>,
    key: &'static str,
    lengths: RangeInclusive<u8>,
    sources: &[Network],
) -> Option<u8> {
    let value = table.get(key)?;
    let bounds = u32::from(*lengths.start())..=u32::from(*lengths.end());
    let prefix = u8::try_from(value.number(bounds)?).ok()?;
    if !sources.is_empty() && sources.iter().all(|source| source.prefix > prefix) {
        let prefixes = sources.iter().map(|source| source.prefix);
        let widest = prefixes.min().unwrap_or(prefix);
        let finding = value.error(format!("no network of `sources` is as wide as /{prefix}"));
        let help = if lengths.contains(&widest) {
            format!("write {key} = {widest}, or a wider network in `sources`")
        } else {
            format!("take `{key}` out, or write a wider network in `sources`")
        };
        value.report(finding.help(help).note(
            "every address of the network must lie in one of the sources, so each knock would be refused",
        ));
    }
    Some(prefix)
}

/// The keys, and whether a pre-shared key is mixed in.
fn keys(reader: &FileReader<'_>, table: &Table<'_>) -> (Vec<WithSpan<AcceptedKey>>, bool) {
    let key = table.get("key");
    let shared_value = table.get("shared_key");
    let shared = shared_value.is_some_and(|value| value.boolean().unwrap_or(false));
    let pre_shared_value = table.get("pre_shared_key");
    let pre_shared = pre_shared_value.is_some_and(|value| value.boolean().unwrap_or(false));
    let mut keys = Vec::new();
    match key {
        Some(value) if value.raw().is_array() => {
            let items = value.list("[\"spa-pub-…\"]").unwrap_or_default();
            if items.is_empty() {
                value.report(
                    value
                        .error("a client needs a key")
                        .help("write the line that `spa key show` prints"),
                );
            }
            if items.len() > MAX_KEYS {
                value.report(
                    value
                        .error(format!("a client has at most {MAX_KEYS} keys"))
                        .help("take the oldest out"),
                );
            }
            keys.extend(items.into_iter().filter_map(accepted_key));
        }
        Some(value) => keys.extend(accepted_key(value)),
        None => {}
    }
    if let (true, Some(value)) = (shared, shared_value) {
        if key.is_some() {
            let finding = value.error("a client has either its own key or a shared key");
            value.report(finding.help("take `shared_key` out, or `key`"));
        }
        if let (true, Some(pre_shared)) = (pre_shared, pre_shared_value) {
            let finding =
                pre_shared.error("a client with a shared key has no pre-shared key besides");
            pre_shared.report(
                finding
                    .help("take `pre_shared_key` out")
                    .note("the shared key is one already"),
            );
        }
        keys.push(value.with_span(ClientKey::Shared.into()));
    } else if key.is_none() && shared_value.is_none_or(|value| value.raw().as_bool() == Some(false))
    {
        let finding = Finding::error(reader.source.path(), "a client needs a key");
        reader.report(
            finding
                .help("write key = \"…\" with the line that `spa key show` prints on the client"),
        );
    }
    (keys, pre_shared)
}

/// A key, or a table of one with its end: `{ key = "spa-pub-…", until = … }`.
fn accepted_key(value: Value<'_>) -> Option<WithSpan<AcceptedKey>> {
    if !value.is_table() {
        let key = public_key(value)?;
        return Some(value.with_span(key.into()));
    }
    let table = value.table("a key".to_owned(), Section::ClientKey)?;
    let key = table.get("key");
    let until = table.get("until").and_then(values::instant);
    table.report_unknown_keys();
    let Some(key) = key else {
        let finding = value.error("the key itself is missing");
        value.report(finding.help("write { key = \"spa-pub-…\", until = 2027-01-31T18:00:00Z }"));
        return None;
    };
    let accepted = AcceptedKey {
        key: public_key(key)?,
        until,
    };
    Some(key.with_span(accepted))
}

fn public_key(value: Value<'_>) -> Option<ClientKey> {
    let text = value.text("spa-pub-…")?;
    let error = match text.parse::<ClientPublic>() {
        Ok(key) => return Some(ClientKey::Public(key)),
        Err(error) => error,
    };
    const SHOW: &str =
        "write the line that `spa key show` prints on the client; it begins with spa-pub-";
    let finding = match error {
        KeyError::OtherKind { found, .. } if found.is_secret() => value
            .error("this is a secret key, and a public one belongs here")
            .note("whoever could read this file may know it now: make a new one"),
        KeyError::OtherKind { found, .. } => value.error(format!(
            "this is {found}, and a client's public key belongs here"
        )),
        KeyError::UnknownPrefix { .. } => value.error("this is not a key"),
        KeyError::Length { .. } | KeyError::Character | KeyError::Checksum => {
            value.error("this key is damaged").note(error.to_string())
        }
        other => value.error(other.to_string()),
    };
    value.report(finding.help(SHOW));
    None
}
