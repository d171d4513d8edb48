//! The configuration, checked: what the rest of the server builds on.
//!
//! Made by `config::load` alone; each value is inside the bounds named here,
//! every service name in it exists. Holds no secret and no place in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spa_keys::ClientPublic;
use spa_proto::{CommandName, Service, Timestamp};
use spad_model::knock::KnockPattern;
use spad_model::{
    CarrierSet, ClientName, DoorId, DoorName, Network, OnStateError, Ports, PrefixLengths,
    ServiceName,
};

use super::external_firewall::ExternalFirewall;
use super::hours::Hours;
use super::inner_host::InnerHost;

/// `spad.toml` and `clients.d/`, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What clients may ask for, by name. No two share a port.
    pub services: BTreeMap<ServiceName, ServiceDefinition>,
    /// The services that nobody reaches without a grant; each is in `services`.
    pub hide: Vec<ServiceName>,
    /// Where packets are looked for.
    pub listen: Listen,
    /// Limits of grants.
    pub grants: GrantLimits,
    /// Limits of packets.
    pub packets: Packets,
    /// How services are hidden.
    pub guard: Guard,
    /// The firewall where nftables is not; with it nothing is hidden by us.
    pub external: Option<ExternalFirewall>,
    /// Where is logged.
    pub log: Log,
    /// The lengths of networks that may be let in.
    pub prefix_lengths: PrefixLengths,
    /// What clients may have run.
    pub commands: BTreeMap<CommandName, CommandDefinition>,
    /// What is run when grants begin and end.
    pub hooks: Hooks,
    /// What sequences of knocks open.
    pub knock: Vec<Door>,
    /// The clients, in the order of their names; disabled and expired ones too.
    pub clients: Vec<ClientConfig>,
}

/// One service of `[services]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceDefinition {
    /// 1 to 16 ports, ascending, unique.
    pub ports: Vec<Service>,
    /// How long a grant lasts that asks for no time of its own; at most `max_ttl`.
    pub ttl: Option<Duration>,
    /// The longest grant of this service; instead of `[grants] max_ttl`, and may be longer.
    pub max_ttl: Option<Duration>,
    /// The inner host that its ports lead to, where this machine is a gateway.
    pub to: Option<InnerHost>,
}

/// `[listen]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The ports of knocks.
    pub ports: Ports,
    /// What carries them, UDP to these ports if it does.
    pub carriers: CarrierSet,
    /// Interfaces packets may arrive at; `None` means all, also those that appear later.
    pub interfaces: Option<Vec<String>>,
    /// Threads that look at packets: 1 to 16.
    pub threads: usize,
    /// The server's name or address as clients reach it; only printed for them.
    pub address: Option<String>,
}

/// `[grants]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantLimits {
    /// How long a grant lasts by default: 1 s to 24 h, at most `max_ttl`.
    pub ttl: Duration,
    /// The longest grant that a packet gets: 1 s to 24 h.
    pub max_ttl: Duration,
    /// Windows (addresses × services, from any source port) that one client may hold: 1 to 1024.
    pub max_per_client: u32,
    /// Connections (source ports, or `once`) that one client may hold in each family: 1 to 1024.
    pub max_connections: u32,
    /// Authentic packets of one client.
    pub rate: Rate,
    /// The longest grant made by `spad grant`: 1 s to 30 d.
    pub admin_max_ttl: Duration,
}

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// 1 to 1000.
    pub count: u32,
    /// A second, a minute or an hour.
    pub per: Duration,
    /// So many at once, 1 to 1000; none: `count`.
    pub burst: Option<u32>,
}

impl Rate {
    /// So many at once.
    #[must_use]
    pub fn at_once(&self) -> u32 {
        self.burst.unwrap_or(self.count)
    }
}

/// `[packets]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packets {
    /// How far a client's clock may be off, either way: 1 s to 1 h.
    pub max_skew: Duration,
    /// Refuse packets that do not state their own address.
    pub require_address: bool,
    /// What to do while journal or horizon cannot be written.
    pub on_state_error: OnStateError,
}

/// Whose rules hide the services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Ours, in the table `inet spad`; or nobody's here, where `[firewall]` names programs.
    Guard,
    /// The administrator's, in this table of the family `inet`; our sets stand in it.
    Set(String),
}

/// `[guard]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Whose rules hide them.
    pub mode: Mode,
    /// Who never needs a packet.
    pub always_allow: Vec<AlwaysAllow>,
    /// What strangers get at hidden ports; where it is nothing, at the knock port too.
    pub answer: Answer,
    /// How long a newly hidden service is on trial; zero means no trial, it is hidden for good at once. At most 24 h.
    pub trial: Duration,
}

/// One entry of `[guard] always_allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlwaysAllow {
    /// Whatever arrives at this interface.
    Interface(String),
    /// Whatever comes from this network.
    Network(Network),
}

/// What strangers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What closed ports of this host answer by the rules of its own firewall.
    Auto,
    /// What a closed port of this host answers: a reset, or port unreachable.
    RejectAsClosed,
    /// That an administrator prohibits it, in ICMP.
    Prohibited,
    /// Nothing.
    Drop,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The file of audit lines; absolute.
    pub audit: PathBuf,
}

/// A program that is run as it stands: no shell, no PATH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The absolute path, and the arguments: 1 to 64.
    pub argv: Vec<String>,
    /// As whom.
    pub user: String,
    /// That this is root is meant so.
    pub as_root: bool,
    /// When it is ended: 1 s to 24 h.
    pub timeout: Duration,
}

/// One command of `[commands]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandDefinition {
    /// What is run.
    pub program: Program,
    /// One client may have it run several times at once.
    pub parallel: bool,
}

/// `[hooks]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Run when a grant begins or is renewed.
    pub open: Option<Program>,
    /// Run when a grant has ended.
    pub close: Option<Program>,
}

/// One door of `[[knock]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// No two have the same.
    pub name: DoorName,
    /// What opens it.
    pub pattern: KnockPattern,
    /// The services that it opens: up to 16 ports, each service once. Not empty, unless
    /// it runs something.
    pub open: Vec<ServiceName>,
    /// For how long, instead of the services' own times; at most their longest.
    pub ttl: Option<Duration>,
    /// The command of `commands` that it has run.
    pub run: Option<CommandName>,
}

impl Door {
    /// As the journal knows it.
    #[must_use]
    pub fn id(&self) -> DoorId {
        DoorId::for_name(&self.name)
    }
}

/// One file of `clients.d/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// The file's name without `.toml`.
    pub name: ClientName,
    /// 1 to 8 public keys, or the one word that it is a shared key.
    pub keys: Vec<AcceptedKey>,
    /// Whether a pre-shared key is mixed in: the secret is `STATE/keys/NAME.psk`.
    pub pre_shared_key: bool,
    /// What it may open; also what it gets when it names nothing. Clients that may open
    /// the same share one list.
    pub allow: Arc<[ServiceName]>,
    /// Where its granted addresses must lie: in each of these lists. Empty means anywhere.
    pub sources: Vec<Arc<[Network]>>,
    /// Its IPv4 grants are for the network of this length; in [`spad_model::PREFIXES4`].
    pub ipv4_prefix: Option<u8>,
    /// Its IPv6 grants are for the network of this length; in [`spad_model::PREFIXES6`].
    pub ipv6_prefix: Option<u8>,
    /// When it may open: within each of these. Empty means always.
    pub hours: Vec<Arc<Hours>>,
    /// From when on it is refused.
    pub expires: Option<Timestamp>,
    /// A disabled client stays known and is refused.
    pub enabled: bool,
    /// A cap on this client's grants below the other limits, never above them.
    pub max_ttl: Option<Duration>,
    /// Windows that it may hold, instead of `[grants] max_per_client`.
    pub max_grants: Option<u32>,
    /// Connections that it may hold, instead of `[grants] max_connections`.
    pub max_connections: Option<u32>,
    /// Instead of `[packets] require_address`.
    pub require_address: Option<bool>,
    /// Which commands it may have run.
    pub commands: Vec<CommandName>,
    /// For people.
    pub note: Option<String>,
}

/// A key, and how long it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedKey {
    /// The key.
    pub key: ClientKey,
    /// From when on its packets are refused.
    pub until: Option<Timestamp>,
}

impl From<ClientKey> for AcceptedKey {
    fn from(key: ClientKey) -> Self {
        Self { key, until: None }
    }
}

impl AcceptedKey {
    /// Whether packets of this key are accepted at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// How a client proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKey {
    /// The public half of its key pair.
    Public(ClientPublic),
    /// A shared key; the secret is `STATE/keys/NAME.shared`.
    Shared,
}

impl Config {
    /// Whether there is anything for a command runner to do.
    #[must_use]
    pub fn needs_runner(&self) -> bool {
        !self.commands.is_empty() || self.hooks != Hooks::default()
    }

    /// The ports that nobody reaches without a grant.
    #[must_use]
    pub fn hidden_ports(&self) -> BTreeSet<Service> {
        let hidden = self.hide.iter().filter_map(|name| self.services.get(name));
        hidden
            .flat_map(|service| service.ports.iter().copied())
            .collect()
    }

    /// The interfaces of `always_allow`, where our own table hides.
    pub fn allowed_interfaces(&self) -> impl Iterator<Item = &str> {
        let ours = self.guard.mode == Mode::Guard && self.external.is_none();
        let entries = self.guard.always_allow.iter().filter(move |_| ours);
        entries.filter_map(|entry| match entry {
            AlwaysAllow::Interface(name) => Some(name.as_str()),
            AlwaysAllow::Network(_) => None,
        })
    }

    /// The door of this id.
    #[must_use]
    pub fn door(&self, id: DoorId) -> Option<&Door> {
        self.knock.iter().find(|door| door.id() == id)
    }

    /// The ports of every service: all that a grant may ever open.
    #[must_use]
    pub fn declared_ports(&self) -> BTreeSet<Service> {
        let services = self.services.values();
        services
            .flat_map(|service| service.ports.iter().copied())
            .collect()
    }

    /// The longest time that any grant may last, an administrator's too.
    #[must_use]
    pub fn max_ttl_overall(&self) -> Duration {
        self.max_packet_ttl().max(self.grants.admin_max_ttl)
    }

    /// The longest time that a packet's grant may last, whatever the service.
    #[must_use]
    pub fn max_packet_ttl(&self) -> Duration {
        let services = self.services.values().filter_map(|service| service.max_ttl);
        services.fold(self.grants.max_ttl, Duration::max)
    }
}

impl ClientConfig {
    /// The length of the networks that are let in around an address like this one; none: the
    /// address alone.
    #[must_use]
    pub const fn prefix_for(&self, address: IpAddr) -> Option<u8> {
        match address {
            IpAddr::V4(_) => self.ipv4_prefix,
            IpAddr::V6(_) => self.ipv6_prefix,
        }
    }

    /// Whether it may send packets at `now`: enabled, not expired, with a key that is good.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.enabled
            && self.expires.is_none_or(|expires| now < expires)
            && self.keys.iter().any(|key| key.is_valid(now))
    }

    /// Whether this address may be granted to it.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        let contains = |list: &Arc<[Network]>| list.iter().any(|network| network.contains(address));
        self.sources.iter().all(contains)
    }

    /// Whether every address of this network may be granted to it.
    #[must_use]
    pub fn admits_all(&self, network: &Network) -> bool {
        let contains =
            |list: &Arc<[Network]>| list.iter().any(|source| source.contains_network(network));
        self.sources.iter().all(contains)
    }

    /// Whether it proves itself with a shared key.
    #[must_use]
    pub fn has_shared_key(&self) -> bool {
        self.keys.iter().any(|key| key.key == ClientKey::Shared)
    }
}
