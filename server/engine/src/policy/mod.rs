//! Stage `policy`: what a request may have; pure. docs/protocol.md §7, steps 8 and 9.
//!
//! Takes a timely packet and everything it is held against; gives a [`Permit`],
//! the only thing that [`crate::grants`] acts on, or the one reason why not. A
//! packet is granted whole or refused whole.
//!
//! The rules that the configuration leaves open:
//! - No service named: every port of every service in the client's `allow`.
//! - Time: what was asked for, or the service's `ttl`, or `[grants] ttl`; never
//!   more than the service's `max_ttl` (or else `[grants] max_ttl`), nor than the
//!   client's `max_ttl`: longer is cut, not refused. Nor beyond the end of the
//!   client's `hours`, its `expires` and its key's `until`, but at least a second. For
//!   one source port at most [`CONNECT_TIMEOUT`].
//! - Room: what the client holds longest gives way (`room.rs`).
//! - No address stated: the packet's source, which must be usable like a stated
//!   one. So loopback and link-local sources are refused: the first never needs
//!   a grant, the second would admit a like-named host on every link.
//! - A client with `ipv4_prefix` or `ipv6_prefix` is granted the network of that length
//!   around the address: all of it must lie in one of the client's `sources`, and it counts
//!   as one element. A grant for one connection or one source port is for the address alone.
//! - A close withdraws what this client holds for the addresses stated, or for the
//!   source, the networks around them too; a service that it neither may open nor holds is refused.

pub mod admin;
mod door;

mod eviction;
mod max_ttl;
mod rate;

mod freshness;
mod validity;

use std::net::IpAddr;
use std::time::Duration;

pub use admin::{AdminPermit, admin_permit, networks, ports};
pub use door::{DoorPermit, door_permit};
pub use freshness::{Fresh, check_future};
pub use max_ttl::{max_ttl_for_door, max_ttl_for_key};
pub use rate::Rates;
use spa_keys::KeyId;
use spa_proto::{
    Addresses, CommandName, Open, Request, Service, Services, Timestamp, usable_address,
};
use spad_config::{ClientConfig, Config};
use spad_model::{
    BootTime, CONNECT_TIMEOUT, ChangeId, Element, MAX_STEPS, Network, Now, Peer, Reason,
};

use crate::clients::Clients;

/// What decides which grant gives way: the one that was granted first. Those that were adopted
/// at a start count as granted at once, and of these it is the one that ends next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    /// The change by which it was last granted.
    pub last: ChangeId,
    /// When it ends.
    pub ends: BootTime,
}

/// What the rest of the engine knows of a client that policy asks for.
pub trait ClientHoldings {
    /// The elements that this client holds, each once.
    fn elements(&self) -> impl Iterator<Item = Element>;
    /// The same, each with its age; not what gives way already.
    /// One that several of its keys hold comes once a key.
    fn elements_with_age(&self) -> impl Iterator<Item = (Element, Age)>;
    /// How many they are: asked for each packet, so without listing them where that can be.
    fn count(&self) -> usize;
    /// When this client last closed the service, by the closing packet's time.
    fn last_close(&self, service: Service) -> Option<Timestamp>;
}

/// What a packet is held against.
#[derive(Clone, Copy, Debug)]
pub struct PolicyContext<'a> {
    /// Every client.
    pub clients: &'a Clients,
    /// The index of this one.
    pub client: usize,
    /// Where the packet came from.
    pub source: IpAddr,
    /// When.
    pub now: Now,
}

/// What a client may have now. Made by [`permit`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permit {
    /// These elements, each for so long.
    Open(OpenPermit),
    /// These of its elements, no longer.
    Close(ClosePermit),
    /// This command, once.
    Run(RunPermit),
}

/// A command to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPermit {
    command: CommandName,
}

impl RunPermit {
    /// Which, by value.
    #[must_use]
    pub fn into_command(self) -> CommandName {
        self.command
    }
}

/// Elements to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPermit {
    id: KeyId,
    elements: Vec<(Element, Duration)>,
    evictions: Vec<Element>,
}

/// Elements to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosePermit {
    id: KeyId,
    timestamp: Timestamp,
    elements: Vec<Element>,
    services: Vec<Service>,
    all: bool,
}

impl OpenPermit {
    /// For which key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// What, and for how long. Each element once, at most 64.
    #[must_use]
    pub fn elements(&self) -> &[(Element, Duration)] {
        &self.elements
    }

    /// What of this client's ends, so that these have room; none of them.
    #[must_use]
    pub fn evictions(&self) -> &[Element] {
        &self.evictions
    }

    /// What is opened, by value.
    #[must_use]
    pub fn into_elements(self) -> Vec<(Element, Duration)> {
        self.elements
    }
}

impl ClosePermit {
    /// By which key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// The closing packet's time: an older open is refused from here on.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// What of this client's is closed; empty where it held nothing of it.
    #[must_use]
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// Whether it named no service, and so meant whatever there is.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        self.all
    }

    /// Which services no older packet opens any more.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }
}

/// Judges a timely packet: the rate of its client first, then everything else.
///
/// # Errors
/// The first reason against it, in the order of docs/protocol.md §7, step 9.
pub fn permit(
    fresh: Fresh,
    context: &PolicyContext<'_>,
    rates: &mut Rates,
    holdings: &impl ClientHoldings,
) -> Result<Permit, Reason> {
    let rate = context.clients.config().grants.rate;
    if !rates.admit(context.client, rate, context.now.boot) {
        return Err(Reason::Rate);
    }
    let client = context
        .clients
        .client(context.client)
        .ok_or(Reason::Disabled)?;
    if !context.clients.is_enabled(context.client) {
        return Err(Reason::Disabled);
    }
    let key_until = context.clients.key_expiry(fresh.key_id());
    let limit = validity::remaining(client, key_until, fresh.request(), context.now)?;
    match fresh.request() {
        Request::Run { command } => run(command, client, context),
        Request::Join { .. } => Err(Reason::NotInvited),
        Request::Open(open) => {
            let elements = elements_to_open(open, client, context)?;
            let evictions = eviction::evictions(&elements, client, context.clients, holdings)?;
            check_not_closed_since(&elements, fresh.timestamp(), holdings)?;
            Ok(Permit::Open(OpenPermit {
                id: fresh.key_id(),
                elements: validity::cap_ttl(elements, limit),
                evictions,
            }))
        }
        Request::Close {
            addresses,
            services,
        } => {
            let named_none = services.is_empty();
            let (elements, services) =
                elements_to_close(*addresses, services, client, context, holdings)?;
            Ok(Permit::Close(ClosePermit {
                id: fresh.key_id(),
                timestamp: fresh.timestamp(),
                elements,
                all: named_none,
                services,
            }))
        }
    }
}

/// The first service asked for by name that the client may not open, for the audit.
pub(crate) fn first_disallowed(fresh: &Fresh, context: &PolicyContext<'_>) -> Option<Service> {
    let services = match fresh.request() {
        Request::Open(open) => &open.services,
        Request::Close { services, .. } => services,
        Request::Run { .. } | Request::Join { .. } => return None,
    };
    let client = context.clients.client(context.client)?;
    let mut asked = services.as_slice().iter();
    asked
        .find(|service| !context.clients.may_open(client, **service))
        .copied()
}

fn elements_to_open(
    open: &Open,
    client: &ClientConfig,
    context: &PolicyContext<'_>,
) -> Result<Vec<(Element, Duration)>, Reason> {
    let config = context.clients.config();
    let addresses = granted_addresses(open.addresses, client, config, context.source)?;
    let services = services(&open.services, client, context.clients)?;
    let mut elements = Vec::with_capacity(addresses.len().saturating_mul(services.len()));
    let exact = open.once || open.source_port.is_some();
    let whom = |address: &IpAddr| enclosing_network(*address, client, exact);
    let all = addresses.iter().map(whom);
    let whom: Vec<Peer> = all.collect::<Result<_, Reason>>()?;
    for Peer { address, prefix } in whom {
        for service in &services {
            let element = Element {
                address,
                prefix,
                service: *service,
                source_port: open.source_port,
                once: open.once,
            };
            let mut ttl = ttl(open.duration, *service, client, context.clients);
            if open.source_port.is_some() {
                ttl = ttl.min(CONNECT_TIMEOUT);
            }
            elements.push((element, ttl));
        }
    }
    // A gateway may lead one family only; a service that leads none of these addresses
    // is refused, and with it the packet.
    let forwards_to = |element: &Element| {
        let inner = config.inner_host(element.service);
        inner.is_none_or(|inner| inner.forwards_to(element.address))
    };
    elements.retain(|(element, _)| forwards_to(element));
    let is_forwarded = |service: &Service| elements.iter().any(|(one, _)| one.service == *service);
    if !services.iter().all(is_forwarded) {
        return Err(Reason::NoInnerHost);
    }
    if elements.len() > MAX_STEPS {
        return Err(Reason::TooManyGrants);
    }
    Ok(elements)
}

fn check_not_closed_since(
    elements: &[(Element, Duration)],
    timestamp: Timestamp,
    holdings: &impl ClientHoldings,
) -> Result<(), Reason> {
    let closed_since = |(element, _): &(Element, Duration)| {
        holdings
            .last_close(element.service)
            .is_some_and(|close| timestamp <= close)
    };
    if elements.iter().any(closed_since) {
        return Err(Reason::OlderThanClose);
    }
    Ok(())
}

/// Nothing is granted to an address, so the packet's own must lie in the client's `sources`.
fn run(
    command: &CommandName,
    client: &ClientConfig,
    context: &PolicyContext<'_>,
) -> Result<Permit, Reason> {
    if !context.clients.config().commands.contains_key(command) {
        return Err(Reason::CommandUnknown);
    }
    if !client.commands.contains(command) {
        return Err(Reason::CommandNotAllowed);
    }
    if !client.admits(context.source) {
        return Err(Reason::SourceNotAllowed);
    }
    let command = command.clone();
    Ok(Permit::Run(RunPermit { command }))
}

/// The addresses to be granted, each usable and in the client's `sources`.
fn granted_addresses(
    stated: Addresses,
    client: &ClientConfig,
    config: &Config,
    source: IpAddr,
) -> Result<Vec<IpAddr>, Reason> {
    let addresses: Vec<IpAddr> = if stated.is_empty() {
        if client
            .require_address
            .unwrap_or(config.packets.require_address)
        {
            return Err(Reason::AddressRequired);
        }
        vec![source]
    } else {
        stated.iter().collect()
    };
    if !addresses.iter().all(|address| usable_address(*address)) {
        return Err(Reason::UnusableAddress);
    }
    if !addresses.iter().all(|address| client.admits(*address)) {
        return Err(Reason::SourceNotAllowed);
    }
    Ok(addresses)
}

/// What the client is granted around an address that it may be granted: the network of the
/// length that its file says, all of which must lie in one of its `sources`.
fn enclosing_network(address: IpAddr, client: &ClientConfig, exact: bool) -> Result<Peer, Reason> {
    let prefix = client.prefix_for(address).filter(|_| !exact);
    let network = prefix.and_then(|prefix| Network::enclosing(address, prefix));
    let Some(network) = network else {
        return Ok(address.into());
    };
    if !client.admits_all(&network) {
        return Err(Reason::SourceNotAllowed);
    }
    Ok(Peer {
        address: network.address,
        prefix,
    })
}

/// The ports to be opened, each once, all of them the client's.
fn services(
    asked: &Services,
    client: &ClientConfig,
    clients: &Clients,
) -> Result<Vec<Service>, Reason> {
    if !asked.is_empty() {
        let asked = asked.as_slice();
        return if asked.iter().all(|port| clients.may_open(client, *port)) {
            Ok(asked.to_vec())
        } else {
            Err(Reason::ServiceNotAllowed)
        };
    }
    let own = own_ports(client, clients.config());
    if own.is_empty() {
        Err(Reason::NoServices)
    } else {
        Ok(own)
    }
}

/// Every port that the client may open, ascending, each once.
fn own_ports(client: &ClientConfig, config: &Config) -> Vec<Service> {
    let definitions = client
        .allow
        .iter()
        .filter_map(|name| config.services.get(name));
    let mut ports: Vec<Service> = definitions
        .flat_map(|service| service.ports.iter().copied())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn ttl(asked: u32, port: Service, client: &ClientConfig, clients: &Clients) -> Duration {
    let config = clients.config();
    let service = clients
        .service_at(port)
        .and_then(|name| config.services.get(name));
    let usual = service
        .and_then(|service| service.ttl)
        .unwrap_or(config.grants.ttl);
    let asked = if asked == 0 {
        usual
    } else {
        Duration::from_secs(u64::from(asked))
    };
    asked.min(max_ttl::max_ttl_for_client(clients, client, port))
}

/// What a close withdraws, and which services it closes to older packets.
fn elements_to_close(
    stated: Addresses,
    named: &Services,
    client: &ClientConfig,
    context: &PolicyContext<'_>,
    holdings: &impl ClientHoldings,
) -> Result<(Vec<Element>, Vec<Service>), Reason> {
    let held: Vec<Element> = holdings.elements().collect();
    let services = if named.is_empty() {
        let mut services = own_ports(client, context.clients.config());
        services.extend(held.iter().map(|element| element.service));
        services.sort_unstable();
        services.dedup();
        services
    } else {
        let known = |port: &Service| {
            context.clients.may_open(client, *port)
                || held.iter().any(|element| element.service == *port)
        };
        if !named.as_slice().iter().all(known) {
            return Err(Reason::ServiceNotAllowed);
        }
        named.as_slice().to_vec()
    };
    let for_address = |element: &Element| {
        if stated.is_empty() {
            element.covers(context.source)
        } else {
            stated.iter().any(|stated| element.covers(stated))
        }
    };
    let elements = held
        .into_iter()
        .filter(|element| for_address(element) && services.contains(&element.service))
        .collect();
    Ok((elements, services))
}
