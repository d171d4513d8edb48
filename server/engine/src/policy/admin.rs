//! What an administrator may grant by hand; pure.
//!
//! Takes words as typed; gives what may be done with them, or what is wrong and its mend.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use spa_findings::redact::quote;
use spa_proto::{Service, usable_address};
use spad_config::Config;
use spad_model::{Element, MAX_STEPS, Network, NetworkError, Peer, ServiceName};

/// Elements that an administrator lets in. Made by [`by_hand`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminPermit {
    elements: Vec<(Element, Duration)>,
}

impl AdminPermit {
    /// What, and for how long. Each element once, at most 64.
    #[must_use]
    pub fn elements(&self) -> &[(Element, Duration)] {
        &self.elements
    }
}

/// Judges what an administrator asks for.
///
/// # Errors
/// What is wrong with it and how to mend it.
pub fn admin_permit(
    config: &Config,
    service: &str,
    from: &[String],
    ttl: Duration,
) -> Result<AdminPermit, String> {
    let max_ttl = config.grants.admin_max_ttl;
    if ttl > max_ttl || ttl.as_secs() == 0 {
        return Err(format!(
            "a grant by hand lasts from 1 s to {} s\n  help: say --ttl within that, or raise `[grants] admin_max_ttl`",
            max_ttl.as_secs()
        ));
    }
    let ports = ports(config, service)?;
    let declared = config.declared_ports();
    if !ports.is_subset(&declared) {
        return Err(unknown_service(config, service));
    }
    let mut elements = Vec::new();
    for network in networks(from)? {
        let peer = parse_peer(config, network)?;
        elements.extend(ports.iter().map(|service| {
            let element = Element {
                address: peer.address,
                prefix: peer.prefix,
                service: *service,
                source_port: None,
                once: false,
            };
            (element, ttl)
        }));
    }
    if elements.len() > MAX_STEPS {
        return Err(format!(
            "{} ports times {} addresses are more than {MAX_STEPS}\n  help: say it in several commands",
            ports.len(),
            from.len()
        ));
    }
    Ok(AdminPermit { elements })
}

/// The ports of a service: by its name, or one by itself as `tcp/22`.
///
/// # Errors
/// Where it is neither.
pub fn ports(config: &Config, service: &str) -> Result<BTreeSet<Service>, String> {
    let name = service.parse::<ServiceName>().ok();
    if let Some(definition) = name.and_then(|name| config.services.get(&name)) {
        return Ok(definition.ports.iter().copied().collect());
    }
    let port = service.parse::<Service>().map(|port| [port].into());
    port.map_err(|_| unknown_service(config, service))
}

fn unknown_service(config: &Config, service: &str) -> String {
    let known: Vec<String> = config.services.keys().map(ToString::to_string).collect();
    format!(
        "there is no service `{}`\n  help: [services] in spad.toml has: {}",
        quote(service),
        known.join(", ")
    )
}

/// Addresses and networks as typed, each once.
///
/// # Errors
/// The first that is neither.
pub fn networks(from: &[String]) -> Result<BTreeSet<Network>, String> {
    let each = from.iter().map(|text| {
        text.parse::<Network>().map_err(|error| {
            let help = match error {
                NetworkError::HostBits(network) => format!("write {network}"),
                _ => "write an address or a network: 192.0.2.7, 192.0.2.0/24, 2001:db8::/64".into(),
            };
            format!("`{}`: {error}\n  help: {help}", quote(text))
        })
    });
    each.collect()
}

fn parse_peer(config: &Config, network: Network) -> Result<Peer, String> {
    let Network { address, prefix } = network;
    if !usable_address(address) {
        return Err(format!(
            "{address} is none that a host connects from\n  help: write the address that connections come from"
        ));
    }
    let single = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    if prefix == single {
        return Ok(address.into());
    }
    let lengths = config.prefix_lengths.for_family(address);
    if !lengths.contains(&prefix) {
        let known = lengths.iter().map(|one| format!("/{one}, "));
        let known: String = known.collect();
        let key = match address {
            IpAddr::V4(_) => "ipv4_prefix",
            IpAddr::V6(_) => "ipv6_prefix",
        };
        return Err(format!(
            "networks of the length /{prefix} are not let in here\n  help: {known}or one address; a client's `{key}` adds a length"
        ));
    }
    Ok(Peer {
        address,
        prefix: Some(prefix),
    })
}
