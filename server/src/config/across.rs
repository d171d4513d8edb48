//! What one file cannot know: services that clients name, keys held twice, doors nobody may open.
//!
//! Pure. Takes the files checked by themselves, gives findings.

use std::collections::{BTreeSet, HashMap};

use spa_findings::redact::quote;
use spa_findings::{Finding, Severity, Slips, Source, nearest};
use spa_proto::{Protocol, Timestamp};

use super::checked::{ClientKey, ListenPort};
use super::client_file::ClientFile;
use super::names::ServiceName;
use super::server_file::ServerFile;
use super::written::Spotted;

/// When the configuration is read, as far as that changes what is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// At start, and when a client is withdrawn: a hidden service that nobody
    /// may open is a warning, for the machine must come up, and go down, anyway.
    Start,
    /// On check, reload and when a client is added: it is an error.
    Change,
}

/// Everything between the files. Without an occasion, because a client file could
/// not be read, nothing is said about who may open what.
pub(super) fn check(
    source: &Source,
    server: &ServerFile,
    clients: &[ClientFile<'_>],
    occasion: Option<Occasion>,
    now: Timestamp,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for name in &server.hide {
        found.extend(unknown(source, server, name));
        if !seen.insert(name.value.as_str()) {
            found.push(
                source
                    .warning(name.span.clone(), "this service stands here twice")
                    .help("take one out"),
            );
        }
        found.extend(knock_port_hidden(source, server, name));
        found.extend(
            occasion.and_then(|occasion| lock_out(source, server, clients, name, occasion, now)),
        );
    }
    for client in clients {
        found.extend(
            client
                .allow
                .iter()
                .filter_map(|name| unknown(client.source, server, name)),
        );
        found.extend(too_many(server, client));
    }
    found
}

/// A service that `[services]` does not have.
fn unknown(source: &Source, server: &ServerFile, name: &Spotted<String>) -> Option<Finding> {
    if server.names.contains_key(&name.value) {
        return None;
    }
    let finding = source.error(
        name.span.clone(),
        format!("there is no service `{}`", quote(&name.value)),
    );
    let known = || server.names.keys().map(String::as_str);
    Some(
        match nearest(&name.value, known(), Slips::LettersAndOrder) {
            Some(meant) => finding.help(format!("did you mean `{}`?", quote(meant))),
            None if server.names.is_empty() => {
                finding.help("write it under [services] in spad.toml: ssh = \"tcp/22\"")
            }
            None => {
                let known: Vec<String> = known().take(20).map(quote).collect();
                finding.help(format!("[services] in spad.toml has: {}", known.join(", ")))
            }
        },
    )
}

/// Knocks would never be told from the service's own packets, and strangers would be answered.
fn knock_port_hidden(
    source: &Source,
    server: &ServerFile,
    name: &Spotted<String>,
) -> Option<Finding> {
    let ListenPort::One(port) = server.listen.port else {
        return None;
    };
    let service = server.services.get(name.value.as_str())?;
    let same = service
        .ports
        .iter()
        .any(|hidden| hidden.protocol == Protocol::Udp && hidden.port == port);
    if !same {
        return None;
    }
    let span = server
        .listen_port
        .clone()
        .unwrap_or_else(|| name.span.clone());
    let finding = source.error(
        span,
        format!(
            "the knock port {port} is also a port of the hidden service `{}`",
            quote(&name.value)
        ),
    );
    Some(
        finding
            .help("choose another port for [listen]")
            .note("packets for the service would be taken for knocks"),
    )
}

/// A hidden service that nobody may open.
fn lock_out(
    source: &Source,
    server: &ServerFile,
    clients: &[ClientFile<'_>],
    name: &Spotted<String>,
    occasion: Occasion,
    now: Timestamp,
) -> Option<Finding> {
    if !server.names.contains_key(&name.value) {
        return None;
    }
    let mut allowed = clients
        .iter()
        .filter(|client| client.allow.iter().any(|allow| allow.value == name.value));
    let active = |client: &ClientFile<'_>| {
        client.enabled && client.expires.is_none_or(|expires| now < expires)
    };
    if allowed.clone().any(active) {
        return None;
    }
    let severity = match occasion {
        Occasion::Start => Severity::Warning,
        Occasion::Change => Severity::Error,
    };
    let shown = quote(&name.value);
    let finding = source.error(
        name.span.clone(),
        format!("nobody may open the hidden service `{shown}`"),
    );
    let finding = match allowed.next() {
        Some(client) if client.enabled => finding
            .help(format!(
                "give `{}` a later `expires`, or add another client",
                client.name
            ))
            .note(format!("`{}` was allowed to, and is expired", client.name)),
        Some(client) => finding
            .help(format!("spad client enable {}", client.name))
            .note(format!("`{}` was allowed to, and is disabled", client.name)),
        None => finding
            .help(format!(
                "add a client first: spad client add NAME --key spa-pub-… --allow {shown}"
            ))
            .note("if it is the way you reach this machine, you are locked out"),
    };
    Some(finding.with(severity))
}

/// A client whose plain knock asks for more than it gets.
fn too_many(server: &ServerFile, client: &ClientFile<'_>) -> Option<Finding> {
    let names: BTreeSet<&str> = client
        .allow
        .iter()
        .map(|name| name.value.as_str())
        .collect();
    let services = names.iter().filter_map(|name| server.services.get(*name));
    let ports: usize = services.map(|service| service.ports.len()).sum();
    let most = usize::try_from(server.grants.max_per_client).unwrap_or(usize::MAX);
    let first = client.allow.first()?;
    let last = client.allow.last()?;
    let limit = if ports > 16 {
        "a packet can name 16".to_owned()
    } else if ports > most {
        format!("`[grants] max_per_client` is {most}")
    } else {
        return None;
    };
    let message = format!("this client may open {ports} ports, and {limit}");
    let finding = client
        .source
        .warning(first.span.start..last.span.end, message);
    Some(
        finding.help(
            "a knock that names no service will be refused; name services in it, or allow fewer",
        ),
    )
}

/// Two clients, or one twice, with one key. Shared keys are told apart by their files.
pub(super) fn keys_held_twice(clients: &[ClientFile<'_>]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut holders: HashMap<[u8; 32], (&ClientFile<'_>, &Spotted<ClientKey>)> = HashMap::new();
    for client in clients {
        for key in &client.keys {
            let ClientKey::Public(public) = &key.value else {
                continue;
            };
            let Some((other, place)) = holders.insert(*public.as_bytes(), (client, key)) else {
                continue;
            };
            let there = Finding::error(other.source.path(), "")
                .at(other.source.place(place.span.clone()))
                .location();
            let message = if other.name == client.name {
                "this key stands here twice".to_owned()
            } else {
                format!(
                    "the clients `{}` and `{}` have one key",
                    other.name, client.name
                )
            };
            let finding = client
                .source
                .error(key.span.clone(), message)
                .help("give each client a key of its own");
            found.push(finding.note(format!("the other place is {there}")));
        }
    }
    found
}

/// Which services of a list exist: those that the checked configuration names.
pub(super) fn resolve(server: &ServerFile, names: &[Spotted<String>]) -> Vec<ServiceName> {
    let mut known: Vec<ServiceName> = Vec::new();
    for name in names {
        if let Some((name, _)) = server.services.get_key_value(name.value.as_str())
            && !known.contains(name)
        {
            known.push(name.clone());
        }
    }
    known
}
