//! What one file cannot know: services that clients name, keys held twice, doors nobody may open.
//!
//! Pure. Takes the files checked by themselves, gives findings.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use spa_findings::redact::quote;
use spa_findings::{Finding, Source, format_location};
use spa_proto::{CommandName, Protocol};
use spad_model::{ClientName, PrefixLengths, ServiceName};

use super::client_file::ClientFile;
use super::groups::{self, EffectiveRules};
use super::server_file::ServerFile;
use super::toml_reader::WithSpan;
use super::types::ClientKey;
use super::{gateway_checks, programs, service_table};

/// What clients say of hidden services and of keys, gathered one client after the
/// other: their files need not be kept.
#[derive(Default)]
pub(super) struct CrossChecks {
    /// Of each service that is hidden, once.
    access: BTreeMap<String, ServiceAccess>,
    key_uses: HashMap<[u8; 32], KeyUse>,
    service_lists: HashSet<Arc<[ServiceName]>>,
    /// Of every client's networks.
    pub(super) prefix_lengths: PrefixLengths,
}

/// Who may open a hidden service.
#[derive(Default)]
struct ServiceAccess {
    /// Somebody may, now.
    active: bool,
    /// The first who is allowed to, and whether enabled.
    first: Option<(ClientName, bool)>,
}

/// Where a key was seen.
struct KeyUse {
    client: ClientName,
    line: usize,
    column: usize,
}

impl CrossChecks {
    /// Nothing yet, about these services.
    pub(super) fn new(server: Option<&ServerFile>) -> Self {
        let hidden = server.iter().flat_map(|server| &server.hide);
        Self {
            access: hidden
                .map(|name| (name.value.clone(), ServiceAccess::default()))
                .collect(),
            ..Self::default()
        }
    }

    /// Takes in one client more; gives what is wrong with it beside the others.
    pub(super) fn add_client(
        &mut self,
        server: Option<&ServerFile>,
        client: &ClientFile<'_>,
        effective: &EffectiveRules,
        active: bool,
    ) -> Vec<Finding> {
        let mut found = self.duplicate_keys(client);
        self.prefix_lengths.ipv4.extend(client.ipv4_prefix);
        self.prefix_lengths.ipv6.extend(client.ipv6_prefix);
        for allow in &effective.allow {
            if let Some(door) = self.access.get_mut(&allow.value) {
                door.active |= active;
                door.first
                    .get_or_insert_with(|| (client.name.clone(), client.enabled));
            }
        }
        if let Some(server) = server {
            found.extend(groups::unknown(client, &server.groups));
            let allow = client.rules.allow.iter().flatten();
            found.extend(
                allow.filter_map(|name| service_table::unknown(client.source, &server.names, name)),
            );
            found.extend(too_many(server, client, effective));
            let commands = client.rules.commands.iter().flatten();
            found.extend(
                commands.filter_map(|name| {
                    programs::unknown(client.source, &server.command_names, name)
                }),
            );
        }
        found
    }

    /// Two clients, or one twice, with one key. Shared keys are told apart by their files.
    fn duplicate_keys(&mut self, client: &ClientFile<'_>) -> Vec<Finding> {
        let mut found = Vec::new();
        for key in &client.keys {
            let ClientKey::Public(public) = &key.value.key else {
                continue;
            };
            let (line, column) = client.source.position(key.span.start);
            let key_use = KeyUse {
                client: client.name.clone(),
                line,
                column,
            };
            let Some(other) = self.key_uses.insert(*public.as_bytes(), key_use) else {
                continue;
            };
            let name = format!("{}.toml", other.client);
            let other_file = client.source.path().with_file_name(name);
            let there = format_location(&other_file, other.line, other.column);
            let message = if other.client == client.name {
                "this key stands here twice".to_owned()
            } else {
                format!(
                    "the clients `{}` and `{}` have one key",
                    other.client, client.name
                )
            };
            let finding = client
                .source
                .error(key.span.clone(), message)
                .help("give each client a key of its own");
            found.push(finding.note(format!("the other place is {there}")));
        }
        found
    }

    /// The list of these services, the same one for everybody who may open the same.
    pub(super) fn intern_list(&mut self, names: Vec<ServiceName>) -> Arc<[ServiceName]> {
        if let Some(list) = self.service_lists.get(names.as_slice()) {
            return Arc::clone(list);
        }
        let list: Arc<[ServiceName]> = names.into();
        self.service_lists.insert(Arc::clone(&list));
        list
    }
}

/// What is wrong with hidden services, now that every client is read. Where not all of them
/// are known, because a file could not be read, nothing is said about who may open what.
pub(super) fn check_hidden(
    source: &Source,
    server: &ServerFile,
    cross_checks: &CrossChecks,
    all_known: bool,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for name in &server.hide {
        found.extend(service_table::unknown(source, &server.names, name));
        if !seen.insert(name.value.as_str()) {
            found.push(
                source
                    .warning(name.span.clone(), "this service stands here twice")
                    .help("take one out"),
            );
        }
        found.extend(knock_port_hidden(source, server, name));
        found.extend(tcp_carrier_hidden(source, server, name));
        if let Some(door) = cross_checks.access.get(&name.value).filter(|_| all_known) {
            found.extend(lock_out(source, server, door, name));
        }
    }
    found.extend(gateway_checks::exposed_inner_ports(source, server));
    found
}

/// Knocks would never be told from the service's own packets, and strangers would be answered.
fn knock_port_hidden(
    source: &Source,
    server: &ServerFile,
    name: &WithSpan<String>,
) -> Option<Finding> {
    let ports = &server.listen.ports;
    if ports.is_any() {
        // Then a hidden port cannot but be among them: its packets are judged and
        // counted like any other's, and the firewall keeps it hidden all the same.
        return None;
    }
    let service = server.services.get(name.value.as_str())?;
    let mut hidden = service.ports.iter();
    let same =
        hidden.find(|one| one.protocol == Protocol::Udp && ports.contains(one.port.get()))?;
    let port = same.port;
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

/// Who uses a connection to carry a packet cannot connect.
fn tcp_carrier_hidden(
    source: &Source,
    server: &ServerFile,
    name: &WithSpan<String>,
) -> Option<Finding> {
    let service = server.services.get(name.value.as_str())?;
    let is_hidden = |port| {
        let mut hidden = service.ports.iter();
        hidden.any(|one| one.protocol == Protocol::Tcp && one.port == port)
    };
    let mut carriers = server.listen_tcp.iter();
    let carrier = carriers.find(|carrier| is_hidden(carrier.value))?;
    let message = format!(
        "`spa open --via tcp:{}` cannot connect: the port is hidden, of the service `{}`",
        carrier.value,
        quote(&name.value)
    );
    let finding = source.warning(carrier.span.clone(), message);
    Some(
        finding
            .help("name a TCP port that everybody may connect to")
            .note("a segment without a connection is looked at all the same"),
    )
}

/// A hidden service that nobody may open. A warning, at a start as at a reload: the next boot
/// must hide what is hidden now, whoever has expired meanwhile. Where it is newly hidden it is
/// shown again after its trial.
fn lock_out(
    source: &Source,
    server: &ServerFile,
    access: &ServiceAccess,
    name: &WithSpan<String>,
) -> Option<Finding> {
    if !server.names.contains_key(&name.value) || access.active {
        return None;
    }
    let shown = quote(&name.value);
    let finding = source.warning(
        name.span.clone(),
        format!("nobody may open the hidden service `{shown}`"),
    );
    let finding = match &access.first {
        Some((client, true)) => finding
            .help(format!(
                "give `{client}` a later `expires` or a new key, or add another client"
            ))
            .note(format!(
                "`{client}` was allowed to, and it or its key is expired"
            )),
        Some((client, false)) => finding
            .help(format!("spad client enable {client}"))
            .note(format!("`{client}` was allowed to, and is disabled")),
        None => finding
            .help(format!(
                "add a client first: spad client add NAME --key spa-pub-… --allow {shown}"
            ))
            .note("if it is the way you reach this machine, you are locked out"),
    };
    Some(finding)
}

/// A client whose plain knock asks for more than it gets.
fn too_many(
    server: &ServerFile,
    client: &ClientFile<'_>,
    effective: &EffectiveRules,
) -> Option<Finding> {
    let names = effective.allow.iter().map(|name| name.value.as_str());
    let services: Vec<_> = names.filter_map(|name| server.services.get(name)).collect();
    let ports: usize = services.iter().map(|service| service.ports.len()).sum();
    let max_grants = effective.max_grants.unwrap_or(server.grants.max_per_client);
    let message = if ports > 16 {
        format!("this client may open {ports} ports, and a packet can name 16")
    } else if services.len() > usize::try_from(max_grants).unwrap_or(usize::MAX) {
        let limit = match effective.max_grants {
            Some(_) => format!("its `max_grants` is {max_grants}"),
            None => format!("`[grants] max_per_client` is {max_grants}"),
        };
        format!(
            "this client may open {} services, and {limit}",
            services.len()
        )
    } else {
        return None;
    };
    let own = client.rules.allow.iter().flatten();
    let mut named = own.chain(&client.groups).map(|name| name.span.clone());
    let first = named.next()?;
    let last = named.rfind(|span| span.start > first.start);
    let span = first.start..last.map_or(first.end, |last| last.end.max(first.end));
    let finding = client.source.warning(span, message);
    Some(
        finding.help(
            "a knock that names no service will be refused; name services in it, or allow fewer",
        ),
    )
}

/// Which commands of a list exist, each once.
pub(super) fn resolve_commands(
    server: &ServerFile,
    names: &[WithSpan<String>],
) -> Vec<CommandName> {
    let parsed = names.iter().filter_map(|name| name.value.parse().ok());
    let known: BTreeSet<CommandName> = parsed
        .filter(|name| server.commands.contains_key(name))
        .collect();
    known.into_iter().collect()
}

/// What is wrong with groups, now that every client is known: services that there are not,
/// and, where every client could be read, groups without one.
pub(super) fn check_groups(
    source: &Source,
    server: &ServerFile,
    used: Option<&BTreeSet<String>>,
) -> Vec<Finding> {
    let rules = || server.groups.values().map(|group| &group.rules);
    let services = rules().flat_map(|rules| rules.allow.iter().flatten());
    let commands = rules().flat_map(|rules| rules.commands.iter().flatten());
    let unused = used.map(|used| groups::unused(source, &server.groups, used));
    services
        .filter_map(|name| service_table::unknown(source, &server.names, name))
        .chain(commands.filter_map(|name| programs::unknown(source, &server.command_names, name)))
        .chain(unused.into_iter().flatten())
        .collect()
}

/// Which services of a list exist: those that the checked configuration names.
pub(super) fn resolve(server: &ServerFile, names: &[WithSpan<String>]) -> Vec<ServiceName> {
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
