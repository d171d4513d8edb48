//! The keys that say what somebody may: in a client's file, and in a group.
//!
//! Pure. Says each of them once, so that a group can say whatever a client can.

use std::sync::Arc;
use std::time::Duration;

use spa_findings::redact::quote;
use spa_proto::Timestamp;
use spad_model::Network;

use super::hours::{HoursError, Week};
use super::server_file::TTL;
use super::toml_reader::{Table, Value, WithSpan};
use super::values;

/// What one file or group says; what it does not say, or says wrong, is none.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) allow: Option<Vec<WithSpan<String>>>,
    pub(super) sources: Option<Arc<[Network]>>,
    pub(super) hours: Option<Week>,
    pub(super) expires: Option<Timestamp>,
    pub(super) max_ttl: Option<Duration>,
    pub(super) max_grants: Option<u32>,
    pub(super) max_connections: Option<u32>,
    pub(super) require_address: Option<bool>,
    pub(super) commands: Option<Vec<WithSpan<String>>>,
    pub(super) note: Option<String>,
}

pub(super) fn read(table: &Table<'_>) -> Rules {
    Rules {
        allow: table.get("allow").map(|value| names(value, "ssh")),
        sources: sources(table),
        hours: table.get("hours").and_then(hours),
        expires: table.get("expires").and_then(values::instant),
        max_ttl: table
            .get("max_ttl")
            .and_then(|value| values::time(value, TTL))
            .map(|time| time.value),
        max_grants: table
            .get("max_grants")
            .and_then(|value| value.number(1..=1024)),
        max_connections: table
            .get("max_connections")
            .and_then(|value| value.number(1..=1024)),
        require_address: table
            .get("require_address")
            .and_then(|value| value.boolean()),
        commands: table.get("commands").map(|value| names(value, "backup")),
        note: table
            .get("note")
            .and_then(|value| value.text("Anna's laptop"))
            .map(str::to_owned),
    }
}

/// The names of a list, and where each stands.
pub(super) fn names(value: Value<'_>, example: &str) -> Vec<WithSpan<String>> {
    let names = value.texts(example).unwrap_or_default().into_iter();
    names
        .map(|name| WithSpan {
            value: name.value.to_owned(),
            span: name.span,
        })
        .collect()
}

fn sources(table: &Table<'_>) -> Option<Arc<[Network]>> {
    let value = table.get("sources")?;
    let items = value.list("[\"192.0.2.0/24\"]").unwrap_or_default();
    if items.is_empty() && value.raw().is_array() {
        let finding = value.error("an empty list of sources can be read both ways");
        value.report(finding.help("take `sources` out: then any source will do; to stop the client, write enabled = false"));
    }
    let networks: Vec<Network> = items.into_iter().filter_map(values::network).collect();
    (!networks.is_empty()).then(|| networks.into())
}

fn hours(value: Value<'_>) -> Option<Week> {
    const EXAMPLE: &str = "write, for example, \"mon-fri 08:00-18:00\"";
    let items = value.list("[\"mon-fri 08:00-18:00\"]")?;
    if items.is_empty() {
        let finding = value.error("an empty list of hours can be read both ways");
        value.report(finding.help(
            "take `hours` out: then it is any time; to stop the client, write enabled = false",
        ));
        return None;
    }
    let mut texts = Vec::new();
    for item in &items {
        let text = item.text("mon-fri 08:00-18:00")?;
        if let Err((_, error)) = Week::parse([text]) {
            let finding = item.error(format!("`{}`: {error}", quote(text)));
            item.report(match error {
                HoursError::Form => finding
                    .help(EXAMPLE)
                    .note("days come first, without them it is every day: \"22:00-06:00\""),
                HoursError::Day => {
                    finding.help("write \"mon-fri\", \"sat,sun\" or \"sun\" before the time")
                }
                HoursError::Time => {
                    finding.help("write two digits each, 00:00 to 24:00: \"08:00-18:00\"")
                }
                HoursError::Empty => finding.help("for a whole day write \"00:00-24:00\""),
            });
            return None;
        }
        texts.push(text);
    }
    Week::parse(texts).ok()
}
