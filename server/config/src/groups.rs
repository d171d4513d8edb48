//! `[groups.NAME]`: what several clients have in common, and what comes of it with a client's own.
//!
//! Pure. What they allow is put together; of limits the tightest holds, and each list
//! of sources or hours must be satisfied. So a group can give a service, and take
//! nothing of what another forbids.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use spa_findings::redact::quote;
use spa_findings::{EditDistance, Finding, Source, nearest};
use spa_proto::Timestamp;
use spad_model::{Network, ServiceName};

use super::client_file::ClientFile;
use super::client_rules::{self, Rules};
use super::hours::Hours;
use super::reference::Section;
use super::toml_reader::{Table, WithSpan};
use super::values;

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) rules: Rules,
    hours: Option<Arc<Hours>>,
    span: Range<usize>,
}

/// The groups by name, also those with a fault.
pub(super) type Groups = BTreeMap<String, Group>;

pub(super) fn read(table: Option<Table<'_>>, zone: &TimeZone) -> Groups {
    let entries = table.iter().flat_map(Table::named_entries);
    let mut groups = Groups::new();
    for (name, value) in entries {
        let right = values::parse_name::<ServiceName>(name.value, |message| {
            value.reader.source.error(name.span.clone(), message)
        });
        if let Err(finding) = right {
            value.report(finding);
        }
        if !value.is_table() {
            let shown = quote(name.value);
            let finding = value.error(format!("the group `{shown}` must be a table"));
            value.report(finding.help(format!("write [groups.{shown}], and its keys below")));
            continue;
        }
        let Some(table) = value.table(format!("the group `{}`", quote(name.value)), Section::Rules)
        else {
            continue;
        };
        let rules = client_rules::read(&table);
        table.report_unknown_keys();
        let hours = rules.hours.clone();
        let group = Group {
            rules,
            hours: hours.map(|week| Arc::new(Hours::new(week, zone.clone()))),
            span: name.span,
        };
        groups.insert(name.value.to_owned(), group);
    }
    groups
}

/// What holds for a client, its groups included.
#[derive(Debug, Default)]
pub(super) struct EffectiveRules {
    /// Names of services, each once.
    pub(super) allow: Vec<WithSpan<String>>,
    /// Names of commands, each once.
    pub(super) commands: Vec<WithSpan<String>>,
    pub(super) sources: Vec<Arc<[Network]>>,
    pub(super) hours: Vec<Arc<Hours>>,
    pub(super) expires: Option<Timestamp>,
    pub(super) max_ttl: Option<Duration>,
    pub(super) max_grants: Option<u32>,
    pub(super) max_connections: Option<u32>,
    pub(super) require_address: Option<bool>,
}

impl EffectiveRules {
    /// Of a client and the groups that it names, as far as they exist.
    pub(super) fn new(client: &ClientFile<'_>, groups: &Groups, zone: &TimeZone) -> Self {
        let mut all = Self::default();
        let hours = client.rules.hours.clone();
        all.tighten(
            &client.rules,
            hours.map(|week| Arc::new(Hours::new(week, zone.clone()))),
        );
        let group_names: BTreeSet<&str> = client
            .groups
            .iter()
            .map(|name| name.value.as_str())
            .collect();
        for group in group_names.into_iter().filter_map(|name| groups.get(name)) {
            all.tighten(&group.rules, group.hours.clone());
        }
        all
    }

    fn tighten(&mut self, rules: &Rules, hours: Option<Arc<Hours>>) {
        add(&mut self.allow, rules.allow.as_deref());
        add(&mut self.commands, rules.commands.as_deref());
        self.sources.extend(rules.sources.clone());
        self.hours.extend(hours);
        self.expires = tightest(self.expires, rules.expires);
        self.max_ttl = tightest(self.max_ttl, rules.max_ttl);
        self.max_grants = tightest(self.max_grants, rules.max_grants);
        self.max_connections = tightest(self.max_connections, rules.max_connections);
        // True wins; a false only lifts what `[packets]` says.
        self.require_address = self.require_address.max(rules.require_address);
    }
}

/// Adds the names that are not there yet.
fn add(all: &mut Vec<WithSpan<String>>, names: Option<&[WithSpan<String>]>) {
    for name in names.unwrap_or_default() {
        if all.iter().all(|known| known.value != name.value) {
            all.push(name.clone());
        }
    }
}

fn tightest<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Groups that a client names and that there are not, or names twice.
pub(super) fn unknown(client: &ClientFile<'_>, groups: &Groups) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for name in &client.groups {
        if !seen.insert(name.value.as_str()) {
            let finding = client
                .source
                .warning(name.span.clone(), "this group stands here twice");
            found.push(finding.help("take one out"));
        }
        if groups.contains_key(&name.value) {
            continue;
        }
        let shown = quote(&name.value);
        let finding = client
            .source
            .error(name.span.clone(), format!("there is no group `{shown}`"));
        let known = || groups.keys().map(String::as_str);
        found.push(
            match nearest(&name.value, known(), EditDistance::OptimalStringAlignment) {
                Some(meant) => finding.help(format!("did you mean `{}`?", quote(meant))),
                None if groups.is_empty() => {
                    finding.help("make it in spad.toml: [groups.NAME], and its keys below")
                }
                None => {
                    let known: Vec<String> = known().take(20).map(quote).collect();
                    finding.help(format!("spad.toml has the groups: {}", known.join(", ")))
                }
            },
        );
    }
    found
}

/// Groups that no client names.
pub(super) fn unused(source: &Source, groups: &Groups, used: &BTreeSet<String>) -> Vec<Finding> {
    let unused = groups.iter().filter(|(name, _)| !used.contains(*name));
    let finding = |(name, group): (&String, &Group)| {
        let shown = quote(name);
        let message = format!("no client is in the group `{shown}`");
        source.warning(group.span.clone(), message).help(format!(
            "write groups = [\"{shown}\"] in a client's file, or take the group out"
        ))
    };
    unused.map(finding).collect()
}

#[cfg(test)]
mod tests;
