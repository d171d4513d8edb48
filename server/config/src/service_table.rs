//! `[services]`: names, ports and times of what clients may ask for.
//!
//! Pure. Says which two services claim one port, and which time is above its maximum.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use spa_findings::redact::quote;
use spa_findings::{EditDistance, Finding, Source, nearest};
use spa_proto::Service;
use spad_model::ServiceName;

use super::gateway;
use super::inner_host::InnerHost;
use super::reference::Section;
use super::server_file::TTL;
use super::toml_reader::{Table, Value, WithSpan};
use super::types::{GrantLimits, ServiceDefinition};
use super::values::{self, humanise};

/// The most ports that a packet can name, so that a service can be asked for at all.
const MAX_PORTS: usize = 16;

pub(super) fn read(
    table: Option<Table<'_>>,
    grants: &GrantLimits,
) -> BTreeMap<ServiceName, ServiceDefinition> {
    let mut services = BTreeMap::new();
    let mut claimed: BTreeMap<Service, (usize, String)> = BTreeMap::new();
    let Some(table) = table else { return services };
    // In the order of the file, so that the later one of two is the one to blame.
    let mut entries: Vec<_> = table.named_entries().collect();
    entries.sort_by_key(|(name, _)| name.span.start);
    for (key, value) in entries {
        let name = values::parse_name(key.value, |message| {
            value.reader.source.error(key.span.clone(), message)
        });
        let (ports, ttl, max_ttl, to) = definition(value, grants);
        for port in &ports {
            if let Some((line, other)) = claimed.get(&port.value) {
                let finding = value.reader.source.error(
                    port.span.clone(),
                    format!("two services claim {}", port.value),
                );
                value.report(
                    finding
                        .help("let one service have the port, and allow that one where both were allowed")
                        .note(format!("`{other}` has it in line {line}; a packet names a port, so their times could not be told apart")),
                );
            } else {
                let line = value.reader.source.location(port.span.clone()).line;
                claimed.insert(port.value, (line, key.value.to_owned()));
            }
        }
        let mut ports: Vec<Service> = ports.into_iter().map(|port| port.value).collect();
        ports.sort_unstable();
        ports.dedup();
        match name {
            Ok(name) => {
                services.insert(
                    name,
                    ServiceDefinition {
                        ports,
                        ttl,
                        max_ttl,
                        to,
                    },
                );
            }
            Err(finding) => value.report(finding),
        }
    }
    services
}

type ParsedService = (
    Vec<WithSpan<Service>>,
    Option<Duration>,
    Option<Duration>,
    Option<InnerHost>,
);

/// One service: "tcp/22", or a table with more.
fn definition(value: Value<'_>, grants: &GrantLimits) -> ParsedService {
    if !value.is_table() {
        if value.raw().is_array() {
            let help = format!("write {} = {{ ports = [\"tcp/22\"] }}", quote(value.key));
            value.report(value.error("a list of ports stands in a table").help(help));
            return (Vec::new(), None, None, None);
        }
        return (
            values::service(value).into_iter().collect(),
            None,
            None,
            None,
        );
    }
    let name = format!("the service `{}`", quote(value.key));
    let Some(table) = value.table(name, Section::Service) else {
        return (Vec::new(), None, None, None);
    };
    let ports = match table.get("ports") {
        Some(ports) => port_list(ports),
        None => {
            let finding = value.error("a service needs its ports");
            value.report(finding.help("write ports = [\"tcp/22\"]"));
            Vec::new()
        }
    };
    let ttl_value = table.get("ttl");
    let ttl = ttl_value.and_then(|value| values::time(value, TTL));
    let max_ttl_value = table.get("max_ttl");
    let max_ttl = max_ttl_value.and_then(|value| values::time(value, TTL));
    if let (Some(value), Some(ttl)) = (ttl_value, &ttl) {
        match (&max_ttl, max_ttl_value) {
            (Some(most), _) => check_default_ttl(
                value,
                ttl.value,
                most.value,
                "its `max_ttl`",
                "raise `max_ttl`",
            ),
            (None, None) => {
                let help = format!(
                    "give the service max_ttl = \"{}\"",
                    humanise(ttl.value.as_secs())
                );
                check_default_ttl(
                    value,
                    ttl.value,
                    grants.max_ttl,
                    "`[grants] max_ttl`",
                    &help,
                );
            }
            // The maximum is wrong and reported already.
            (None, Some(_)) => {}
        }
    }
    let to = gateway::read(table.get("to"), table.get("masquerade"), ports.len());
    table.report_unknown_keys();
    (
        ports,
        ttl.map(|ttl| ttl.value),
        max_ttl.map(|ttl| ttl.value),
        to,
    )
}

fn port_list(value: Value<'_>) -> Vec<WithSpan<Service>> {
    let Some(items) = value.list("[\"tcp/22\"]") else {
        return Vec::new();
    };
    if items.is_empty() {
        value.report(
            value
                .error("a service without a port")
                .help("write ports = [\"tcp/22\"]"),
        );
    }
    if items.len() > MAX_PORTS {
        let finding = value.error(format!("a service has at most {MAX_PORTS} ports"));
        value.report(
            finding
                .help("make two services of it")
                .note("a packet can name no more"),
        );
    }
    items.into_iter().filter_map(values::service).collect()
}

/// A finding where `ttl` is above its maximum.
pub(super) fn check_default_ttl(
    value: Value<'_>,
    ttl: Duration,
    most: Duration,
    name: &str,
    raise: &str,
) {
    if ttl > most {
        let (is, most) = (humanise(ttl.as_secs()), humanise(most.as_secs()));
        let finding = value.error(format!(
            "the default time {is} is above {name}, which is {most}"
        ));
        value.report(finding.help(format!("lower `ttl` to \"{most}\", or {raise}")));
    }
}

/// A service that `[services]` does not have.
pub(super) fn unknown(
    source: &Source,
    names: &BTreeMap<String, Range<usize>>,
    name: &WithSpan<String>,
) -> Option<Finding> {
    if names.contains_key(&name.value) {
        return None;
    }
    let finding = source.error(
        name.span.clone(),
        format!("there is no service `{}`", quote(&name.value)),
    );
    let known = || names.keys().map(String::as_str);
    Some(
        match nearest(&name.value, known(), EditDistance::OptimalStringAlignment) {
            Some(meant) => finding.help(format!("did you mean `{}`?", quote(meant))),
            None if names.is_empty() => {
                finding.help("write it under [services] in spad.toml: ssh = \"tcp/22\"")
            }
            None => {
                let known: Vec<String> = known().take(20).map(quote).collect();
                finding.help(format!("[services] in spad.toml has: {}", known.join(", ")))
            }
        },
    )
}
