//! How long what is open to somebody may stay so, at most; pure.

use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::Service;
use spad_config::{ClientConfig, Door};
use spad_model::Now;

use super::validity;
use crate::clients::Clients;

/// The longest that a packet of this key of the client's may open this port for from now on,
/// but for its hours.
#[must_use]
pub fn max_ttl_for_key(
    clients: &Clients,
    client: &ClientConfig,
    key: KeyId,
    port: Service,
    now: Now,
) -> Duration {
    let end = validity::end(client, clients.key_expiry(key), now).unwrap_or_default();
    end.min(max_ttl_for_client(clients, client, port))
}

/// The longest that this door may open this port for.
#[must_use]
pub fn max_ttl_for_door(clients: &Clients, door: &Door, port: Service) -> Duration {
    let max_ttl = max_ttl_for_service(clients, port);
    door.ttl.map_or(max_ttl, |own| own.min(max_ttl))
}

/// The longest that this client may have this port open.
pub(super) fn max_ttl_for_client(
    clients: &Clients,
    client: &ClientConfig,
    port: Service,
) -> Duration {
    let max_ttl = max_ttl_for_service(clients, port);
    client.max_ttl.map_or(max_ttl, |own| own.min(max_ttl))
}

fn max_ttl_for_service(clients: &Clients, port: Service) -> Duration {
    let config = clients.config();
    let name = clients.service_at(port);
    let service = name.and_then(|name| config.services.get(name));
    let own = service.and_then(|service| service.max_ttl);
    own.unwrap_or(config.grants.max_ttl)
}
