//! Room for what a client asks for, among what it holds already; pure.
//!
//! Two kinds, counted apart, so that no row of connections takes a window away: a
//! **window** is an address or a network and a service by its name, from any source port; a
//! **connection** is that for one source port, or for one use. Connections are counted for
//! each address family by itself, because a packet that does not know by which its client
//! will connect asks for both. Nobody is refused for being full: the oldest of the same
//! kind gives way, for a connection has done its work with its first segment, and nobody
//! can tell us when that was. A packet that alone asks for more than there may be is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spad_config::ClientConfig;
use spad_model::{Element, Reason};

use super::{Age, ClientHoldings};
use crate::clients::Clients;

/// One that is counted: its first port stands for the whole service.
fn counting_key(element: &Element, clients: &Clients) -> Element {
    let config = clients.config();
    let name = clients.service_at(element.service);
    let service = name.and_then(|name| config.services.get(name));
    let first = service.and_then(|service| service.ports.first());
    Element {
        service: *first.unwrap_or(&element.service),
        ..*element
    }
}

/// The elements of this client's that end so that these, all of one kind, have room.
///
/// # Errors
/// [`Reason::TooManyGrants`]: these alone are more than the client may hold.
pub(super) fn evictions(
    asked: &[(Element, Duration)],
    client: &ClientConfig,
    clients: &Clients,
    holdings: &impl ClientHoldings,
) -> Result<Vec<Element>, Reason> {
    let limits = &clients.config().grants;
    let for_connections = asked.iter().any(|(one, _)| one.is_for_connection());
    let most = if for_connections {
        client.max_connections.unwrap_or(limits.max_connections)
    } else {
        client.max_grants.unwrap_or(limits.max_per_client)
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    // What is counted is never more than the elements are.
    if holdings.count().saturating_add(asked.len()) <= most {
        return Ok(Vec::new());
    }
    let class = |element: &Element| (for_connections && element.address.is_ipv6()) as usize;
    let mut new = [BTreeSet::new(), BTreeSet::new()];
    for (element, _) in asked {
        if let Some(new) = new.get_mut(class(element)) {
            new.insert(counting_key(element, clients));
        }
    }
    if new.iter().any(|new| new.len() > most) {
        return Err(Reason::TooManyGrants);
    }
    let mut old = [BTreeMap::new(), BTreeMap::new()];
    for (element, since) in holdings.elements_with_age() {
        let (class, counted) = (class(&element), counting_key(&element, clients));
        let is_asked = new.get(class).is_some_and(|new| new.contains(&counted));
        if element.is_for_connection() != for_connections || is_asked {
            continue;
        }
        if let Some(old) = old.get_mut(class) {
            let (latest, elements): &mut (Age, Vec<Element>) = old.entry(counted).or_default();
            *latest = (*latest).max(since);
            elements.push(element);
        }
    }
    let mut evicted = Vec::new();
    for (old, new) in old.into_iter().zip(new) {
        let excess = old.len().saturating_add(new.len()).saturating_sub(most);
        let mut oldest: Vec<_> = old.into_values().collect();
        oldest.sort_by_key(|(latest, _)| *latest);
        let leaving = oldest.into_iter().take(excess);
        evicted.extend(leaving.flat_map(|(_, elements)| elements));
    }
    Ok(evicted)
}
