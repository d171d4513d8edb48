//! `spad.toml`: as written → checked, but for what other files have a say in.
//!
//! Pure. A value that is wrong is a finding and leaves the default in its
//! place, so that the rest can be checked; a file with an error is never used.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use spa_findings::redact::quote;
use spa_proto::CommandName;
use spad_model::knock::{KnockFilter, KnockPattern};
use spad_model::{CarrierSet, OnStateError, Ports, ServiceName};

use super::external_firewall::ExternalFirewall;
use super::groups::{self, Groups};
use super::knock_table::{self, LocatedDoor};
use super::one_time::SequenceReader;
use super::reference::Section;
use super::toml_reader::{FileReader, Table, WithSpan, parse};
use super::types::{
    AlwaysAllow, Answer, CommandDefinition, GrantLimits, Guard, Hooks, Listen, Log, Mode, Packets,
    Rate, ServiceDefinition,
};
use super::{carrier_list, firewall_table, mode, port_list, programs, service_table, values, zone};

/// A day, in seconds.
const DAY: u64 = 86_400;
/// The longest and shortest grant of a packet, in seconds.
pub(super) const TTL: std::ops::RangeInclusive<u64> = 1..=DAY;

/// `spad.toml`, checked by itself.
pub(super) struct ServerFile {
    /// Every name in `[services]`, also of those with a fault, and where it stands.
    pub(super) names: BTreeMap<String, Range<usize>>,
    pub(super) services: BTreeMap<ServiceName, ServiceDefinition>,
    pub(super) hide: Vec<WithSpan<String>>,
    pub(super) listen: Listen,
    /// Where the port stands, if it does.
    pub(super) listen_port: Option<Range<usize>>,
    /// Where each TCP port among the carriers stands.
    pub(super) listen_tcp: Vec<WithSpan<NonZeroU16>>,
    pub(super) grants: GrantLimits,
    pub(super) packets: Packets,
    pub(super) guard: Guard,
    pub(super) log: Log,
    /// Every name in `[commands]`, also of those with a fault, and where it stands.
    pub(super) command_names: BTreeMap<String, Range<usize>>,
    pub(super) commands: BTreeMap<CommandName, CommandDefinition>,
    pub(super) hooks: Hooks,
    pub(super) knock: Vec<LocatedDoor>,
    pub(super) time_zone: TimeZone,
    pub(super) groups: Groups,
    pub(super) external: Option<ExternalFirewall>,
}

/// Reads the file; `None` if its syntax is broken. `one_time` reads the files of sequences
/// that it names.
pub(super) fn read(reader: &FileReader<'_>, one_time: SequenceReader<'_>) -> Option<ServerFile> {
    let tree = parse(reader)?;
    let root = reader.root(&tree, Section::ServerFile);
    let hide_value = root.get("hide");
    let hidden_names = hide_value.and_then(|value| value.texts("ssh"));
    let hide: Vec<_> = hidden_names
        .unwrap_or_default()
        .into_iter()
        .map(|name| WithSpan {
            value: name.value.to_owned(),
            span: name.span,
        })
        .collect();
    let service_entries = root.table("services", Section::Service);
    let knock = root.get("knock");
    let (mut listen, listen_port, listen_tcp) = listen(root.table("listen", Section::Listen));
    let grants = grants(root.table("grants", Section::Grants));
    let packets = packets(root.table("packets", Section::Packets));
    let guard = guard(root.table("guard", Section::Guard));
    mode::check_hide(&guard.mode, &hide, reader);
    let mode = root
        .table("guard", Section::Guard)
        .and_then(|table| table.get("mode"));
    let log = log(root.table("log", Section::Log));
    let (command_names, commands) = programs::commands(root.table("commands", Section::Command));
    let hooks = programs::hooks(root.table("hooks", Section::Hooks));
    let time_zone = zone::read(root.table("policy", Section::Policy));
    let groups = groups::read(root.table("groups", Section::Rules), &time_zone);
    let firewall = root.get("firewall");
    root.report_unknown_keys();
    let entries = service_entries.iter().flat_map(Table::named_entries);
    let names = entries
        .map(|(name, _)| (name.value.to_owned(), name.span))
        .collect();
    let services = service_table::read(service_entries, &grants);
    let ports = services
        .values()
        .flat_map(|service| &service.ports)
        .copied();
    let external = firewall_table::read(firewall, mode, hide_value, &ports.collect());
    let context = knock_table::KnockContext {
        names: &names,
        services: &services,
        hide: &hide,
        grants: &grants,
        listen: &listen,
        command_names: &command_names,
        commands: &commands,
        read_sequences: one_time,
    };
    let knock = knock_table::read(knock, &context);
    let doors: Vec<&KnockPattern> = knock.iter().map(|located| &located.door.pattern).collect();
    listen.carriers.knocks = KnockFilter::new(&doors);
    Some(ServerFile {
        names,
        services,
        hide,
        listen,
        listen_port,
        listen_tcp,
        grants,
        packets,
        guard,
        log,
        command_names,
        commands,
        groups,
        external,
        hooks,
        knock,
        time_zone,
    })
}

fn listen(table: Option<Table<'_>>) -> (Listen, Option<Range<usize>>, Vec<WithSpan<NonZeroU16>>) {
    let default = NonZeroU16::MIN.saturating_add(62_200);
    let mut listen = Listen {
        ports: Ports::one(default),
        carriers: CarrierSet::udp(Ports::one(default)),
        interfaces: None,
        threads: 1,
        address: None,
    };
    let Some(table) = table else {
        return (listen, None, Vec::new());
    };
    let mut place = None;
    if let Some(value) = table.get("port") {
        place = Some(value.span());
        listen.ports = port_list::read(value).unwrap_or(listen.ports);
        listen.carriers = CarrierSet::udp(listen.ports.clone());
    }
    let mut tcp = Vec::new();
    if let Some(value) = table.get("carriers")
        && let Some(read) = carrier_list::read(value, &listen.ports)
    {
        (listen.carriers, tcp) = read;
    }
    if let Some(value) = table.get("interfaces")
        && let Some(items) = value.list("[\"eth0\"]")
    {
        if items.is_empty() {
            let finding = value.error("packets would be looked for nowhere");
            value.report(
                finding.help("name an interface, or take `interfaces` out: then all are looked at"),
            );
        }
        listen.interfaces = Some(items.into_iter().filter_map(values::interface).collect());
    }
    if let Some(threads) = table
        .get("threads")
        .and_then(|value| value.number(1..=16))
        .and_then(|threads| usize::try_from(threads).ok())
    {
        listen.threads = threads;
    }
    if let Some(value) = table.get("address")
        && let Some(text) = value.text("gw.example.org")
    {
        let right = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        let lone = !text.contains(':') || text.parse::<std::net::Ipv6Addr>().is_ok();
        if (1..=253).contains(&text.len())
            && text.chars().all(right)
            && lone
            && !text.starts_with('-')
        {
            listen.address = Some(text.to_owned());
        } else {
            let finding = value.error(format!(
                "`{}` is neither a host name nor an address",
                quote(text)
            ));
            value.report(finding.help("write the name or address alone, without port or brackets"));
        }
    }
    table.report_unknown_keys();
    (listen, place, tcp)
}

fn grants(table: Option<Table<'_>>) -> GrantLimits {
    let mut grants = GrantLimits {
        ttl: Duration::from_secs(30),
        max_ttl: Duration::from_secs(300),
        max_per_client: 8,
        max_connections: 64,
        rate: Rate {
            count: 30,
            per: Duration::from_secs(1),
            burst: Some(100),
        },
        admin_max_ttl: Duration::from_secs(DAY),
    };
    let Some(table) = table else { return grants };
    let ttl_value = table.get("ttl");
    let ttl = ttl_value.and_then(|value| values::time(value, TTL));
    let max_ttl_value = table.get("max_ttl");
    let max_ttl = max_ttl_value.and_then(|value| values::time(value, TTL));
    grants.ttl = ttl.as_ref().map_or(grants.ttl, |ttl| ttl.value);
    grants.max_ttl = max_ttl.as_ref().map_or(grants.max_ttl, |ttl| ttl.value);
    // A time that is wrong already is no ground for a second finding.
    let both_right =
        ttl_value.is_some() == ttl.is_some() && max_ttl_value.is_some() == max_ttl.is_some();
    if both_right && let Some(value) = ttl_value.or(max_ttl_value) {
        let help = "raise `max_ttl`";
        service_table::check_default_ttl(
            value,
            grants.ttl,
            grants.max_ttl,
            "`[grants] max_ttl`",
            help,
        );
    }
    if let Some(count) = table
        .get("max_per_client")
        .and_then(|value| value.number(1..=1024))
    {
        grants.max_per_client = count;
    }
    if let Some(count) = table
        .get("max_connections")
        .and_then(|value| value.number(1..=1024))
    {
        grants.max_connections = count;
    }
    // A rate that is written goes without the burst of the one that is not.
    grants.rate = table
        .get("rate")
        .and_then(values::rate)
        .unwrap_or(grants.rate);
    let burst = table.get("burst");
    if let Some(count) = burst.and_then(|value| value.number(1..=1000)) {
        grants.rate.burst = Some(count);
    }
    if let Some(time) = table
        .get("admin_max_ttl")
        .and_then(|value| values::time(value, 1..=30 * DAY))
    {
        grants.admin_max_ttl = time.value;
    }
    table.report_unknown_keys();
    grants
}

fn packets(table: Option<Table<'_>>) -> Packets {
    let mut packets = Packets {
        max_skew: Duration::from_secs(60),
        require_address: false,
        on_state_error: OnStateError::Memory,
    };
    let Some(table) = table else { return packets };
    if let Some(time) = table
        .get("max_skew")
        .and_then(|value| values::time(value, 1..=3_600))
    {
        packets.max_skew = time.value;
    }
    packets.require_address = table
        .get("require_address")
        .and_then(|value| value.boolean())
        .unwrap_or(false);
    let words = [
        ("memory", OnStateError::Memory),
        ("refuse", OnStateError::Refuse),
    ];
    if let Some(word) = table
        .get("on_state_error")
        .and_then(|value| value.one_of(&words))
    {
        packets.on_state_error = word;
    }
    table.report_unknown_keys();
    packets
}

fn guard(table: Option<Table<'_>>) -> Guard {
    let mut guard = Guard {
        mode: Mode::Guard,
        always_allow: vec![AlwaysAllow::Interface("lo".to_owned())],
        answer: Answer::Auto,
        trial: Duration::from_secs(600),
    };
    let Some(table) = table else { return guard };
    guard.mode = mode::read(&table);
    if let Some(items) = table
        .get("always_allow")
        .and_then(|value| value.list("[\"lo\"]"))
    {
        guard.always_allow = items.into_iter().filter_map(values::always_allow).collect();
    }
    let words = [
        ("auto", Answer::Auto),
        ("as_closed", Answer::RejectAsClosed),
        ("prohibited", Answer::Prohibited),
        ("drop", Answer::Drop),
    ];
    guard.answer = table
        .get("answer")
        .and_then(|value| value.one_of(&words))
        .unwrap_or(guard.answer);
    if let Some(time) = table
        .get("trial")
        .and_then(|value| values::time(value, 0..=DAY))
    {
        guard.trial = time.value;
    }
    table.report_unknown_keys();
    guard
}

fn log(table: Option<Table<'_>>) -> Log {
    let mut log = Log {
        audit: PathBuf::from("/var/log/spad/audit.jsonl"),
    };
    let Some(table) = table else { return log };
    if let Some(value) = table.get("audit")
        && let Some(text) = value.text("/var/log/spad/audit.jsonl")
    {
        if text.starts_with('/') && !text.ends_with('/') && !text.contains('\0') {
            log.audit = PathBuf::from(text);
        } else {
            let finding = value.error("this is not the whole path of a file");
            value.report(finding.help("write it from the root on: \"/var/log/spad/audit.jsonl\""));
        }
    }
    table.report_unknown_keys();
    log
}
