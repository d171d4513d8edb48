//! The look-up of clients, after the stage `identify` ([`HeadKeySet`]): key id → which key of which client; pure.
//!
//! Takes the configuration and the secrets; knows every key of every client,
//! also of disabled ones, by its key id. The keys that authenticate a packet
//! are computed when they are first needed, or ahead of that by
//! [`Clients::precompute_keys`], once each. Never allocates for a packet.

pub mod error;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

pub use error::ClientsError;
use spa_keys::{KeyId, PacketKeys, PreSharedKey, ServerSecret, SharedKey};
use spa_proto::{Service, Timestamp};
use spad_config::{ClientConfig, ClientKey, Config};
use spad_model::{ClientName, HeadKeySet, KeyIdHash, ServiceName};

/// The clients' secrets, read from the state directory.
#[derive(Debug, Default)]
pub struct ClientSecrets {
    /// Of each client with `shared_key = true`.
    pub shared: HashMap<ClientName, SharedKey>,
    /// Of each client with `pre_shared_key = true`.
    pub pre_shared: HashMap<ClientName, PreSharedKey>,
}

/// Which key of which client, at which of the server's keys. It names the client
/// too, so that a packet that is refused before its HMAC never touches the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyIndex {
    entry: u32,
    client: u32,
}

struct KeyEntry {
    id: KeyId,
    client: u32,
    /// Of `servers`.
    server: u8,
    secret: Secret,
    keys: LazyKeys,
}

enum Secret {
    /// Which of the client's keys, in the order of its file.
    Pair(u8),
    Shared,
}

/// The keys, once they were needed.
enum LazyKeys {
    Pending,
    Ready(PacketKeys),
    /// They cannot be computed: nothing is authentic.
    Unusable,
}

/// Every client that may send packets, and what is needed to judge them.
pub struct Clients {
    config: Arc<Config>,
    servers: Vec<Arc<ServerSecret>>,
    head_keys: HeadKeySet,
    secrets: ClientSecrets,
    /// In the order of their clients.
    entries: Vec<KeyEntry>,
    /// Where each client's entries begin, and after the last where they all end.
    starts: Vec<u32>,
    by_id: HashMap<KeyId, KeyIndex, KeyIdHash>,
    by_port: BTreeMap<Service, ServiceName>,
    disabled: BTreeSet<usize>,
    precomputed: usize,
}

impl Clients {
    /// The clients of `config` at these server keys, usually one; the present one
    /// first. `seed` is random and keys the table of key ids.
    ///
    /// # Errors
    /// [`ClientsError`]; nothing is served halfway.
    pub fn build(
        config: Arc<Config>,
        servers: Vec<Arc<ServerSecret>>,
        secrets: ClientSecrets,
        seed: [u8; 8],
    ) -> Result<Self, ClientsError> {
        if servers.is_empty() {
            return Err(ClientsError::NoServerKey);
        }
        let by_port = config
            .services
            .iter()
            .flat_map(|(name, service)| service.ports.iter().map(|port| (*port, name.clone())))
            .collect();
        let keys = config.clients.iter().map(|client| client.keys.len());
        let keys = keys.sum::<usize>().saturating_mul(servers.len());
        let hash = KeyIdHash(u64::from_ne_bytes(seed));
        let mut clients = Self {
            head_keys: HeadKeySet::new(&servers),
            servers,
            secrets,
            entries: Vec::with_capacity(keys),
            starts: Vec::with_capacity(config.clients.len().saturating_add(1)),
            by_id: HashMap::with_capacity_and_hasher(keys, hash),
            by_port,
            disabled: BTreeSet::new(),
            precomputed: 0,
            config: Arc::clone(&config),
        };
        for (index, client) in config.clients.iter().enumerate() {
            clients.starts.push(clients.next_index());
            if client.pre_shared_key && !clients.secrets.pre_shared.contains_key(&client.name) {
                return Err(ClientsError::NoPreSharedKey(client.name.clone()));
            }
            for (place, key) in client.keys.iter().enumerate() {
                let place = u8::try_from(place).unwrap_or(u8::MAX);
                clients.add(index, client, place, &key.key)?;
            }
        }
        clients.starts.push(clients.next_index());
        Ok(clients)
    }

    fn next_index(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    fn add(
        &mut self,
        index: usize,
        client: &ClientConfig,
        place: u8,
        key: &ClientKey,
    ) -> Result<(), ClientsError> {
        for (server, secret) in self.servers.iter().enumerate() {
            let server_public = secret.public();
            let (id, secret) = match key {
                ClientKey::Public(public) => {
                    if public.check_for(&server_public).is_err() {
                        return Err(ClientsError::ServersOwnKey(client.name.clone()));
                    }
                    let id = KeyId::for_client(&server_public, public);
                    (id, Secret::Pair(place))
                }
                ClientKey::Shared => {
                    let shared = self.secrets.shared.get(&client.name);
                    let shared =
                        shared.ok_or_else(|| ClientsError::NoSharedKey(client.name.clone()))?;
                    (shared.key_id(&server_public), Secret::Shared)
                }
            };
            let index_of_key = KeyIndex {
                entry: self.next_index(),
                client: u32::try_from(index).unwrap_or(u32::MAX),
            };
            if let Some(other) = self.by_id.insert(id, index_of_key) {
                let first = self
                    .client_index(other)
                    .and_then(|first| self.config.clients.get(first));
                let first = first.map_or_else(|| client.name.clone(), |first| first.name.clone());
                return Err(ClientsError::SameKey {
                    first,
                    second: client.name.clone(),
                });
            }
            self.entries.push(KeyEntry {
                id,
                client: index_of_key.client,
                server: u8::try_from(server).unwrap_or(u8::MAX),
                secret,
                keys: LazyKeys::Pending,
            });
        }
        Ok(())
    }

    /// The configuration these clients are from.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Clients, disabled ones too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.config.clients.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What their packets' heads are made with.
    #[must_use]
    pub fn head_keys(&self) -> &HeadKeySet {
        &self.head_keys
    }

    /// The key with this id.
    #[must_use]
    pub fn lookup(&self, id: KeyId) -> Option<KeyIndex> {
        self.by_id.get(&id).copied()
    }

    /// The index of the client whose key this is.
    #[must_use]
    pub fn client_index(&self, key: KeyIndex) -> Option<usize> {
        usize::try_from(key.client).ok()
    }

    /// The client with this index.
    #[must_use]
    pub fn client(&self, index: usize) -> Option<&ClientConfig> {
        self.config.clients.get(index)
    }

    /// The index of the client of this name.
    #[must_use]
    pub fn index_by_name(&self, name: &ClientName) -> Option<usize> {
        let clients = &self.config.clients;
        clients
            .binary_search_by(|client| client.name.cmp(name))
            .ok()
    }

    /// The client with this key id.
    #[must_use]
    pub fn by_key_id(&self, id: KeyId) -> Option<(usize, &ClientConfig)> {
        let index = self.client_index(self.lookup(id)?)?;
        Some((index, self.client(index)?))
    }

    /// Every key id of the client with this index.
    #[must_use]
    pub fn key_ids(&self, client: usize) -> Vec<KeyId> {
        let start = |index: usize| usize::try_from(*self.starts.get(index)?).ok();
        let range = start(client).zip(start(client.saturating_add(1)));
        let entries = range.and_then(|(start, end)| self.entries.get(start..end));
        let entries = entries.unwrap_or_default().iter();
        entries.map(|entry| entry.id).collect()
    }

    /// From when on packets of the key with this id are refused.
    #[must_use]
    pub fn key_expiry(&self, id: KeyId) -> Option<Timestamp> {
        let index = self.lookup(id)?;
        let entry = self.entries.get(usize::try_from(index.entry).ok()?)?;
        let client = self.client(self.client_index(index)?)?;
        let place = match entry.secret {
            Secret::Pair(place) => usize::from(place),
            Secret::Shared => 0,
        };
        client.keys.get(place)?.until
    }

    /// Whether the client may send packets at all, but for its expiry.
    #[must_use]
    pub fn is_enabled(&self, client: usize) -> bool {
        !self.disabled.contains(&client) && self.client(client).is_some_and(|client| client.enabled)
    }

    /// From now on this client is refused, whatever its file says. Says whether it is known.
    pub(crate) fn disable(&mut self, name: &ClientName) -> Option<usize> {
        let index = self.index_by_name(name)?;
        self.disabled.insert(index);
        Some(index)
    }

    /// The service that this port belongs to.
    #[must_use]
    pub fn service_at(&self, port: Service) -> Option<&ServiceName> {
        self.by_port.get(&port)
    }

    /// Whether the client may open this port.
    #[must_use]
    pub fn may_open(&self, client: &ClientConfig, port: Service) -> bool {
        self.service_at(port)
            .is_some_and(|name| client.allow.contains(name))
    }

    /// The keys that a packet of this key is authenticated with. Computed the first
    /// time, which costs an X25519; `None` where they cannot be.
    pub(crate) fn keys(&mut self, key: KeyIndex) -> Option<&PacketKeys> {
        self.compute_at(usize::try_from(key.entry).ok()?)
    }

    fn compute_at(&mut self, index: usize) -> Option<&PacketKeys> {
        let entry = self.entries.get_mut(index)?;
        if matches!(entry.keys, LazyKeys::Pending) {
            let keys = compute(&self.config, &self.servers, &self.secrets, entry);
            entry.keys = keys.map_or(LazyKeys::Unusable, LazyKeys::Ready);
        }
        match &entry.keys {
            LazyKeys::Ready(keys) => Some(keys),
            LazyKeys::Pending | LazyKeys::Unusable => None,
        }
    }

    /// Computes the keys of up to `count` more clients. False when all are done.
    pub fn precompute_keys(&mut self, count: usize) -> bool {
        for _ in 0..count {
            if self.precomputed >= self.entries.len() {
                return false;
            }
            let _ = self.compute_at(self.precomputed);
            self.precomputed = self.precomputed.saturating_add(1);
        }
        self.precomputed < self.entries.len()
    }
}

fn compute(
    config: &Config,
    servers: &[Arc<ServerSecret>],
    secrets: &ClientSecrets,
    entry: &KeyEntry,
) -> Option<PacketKeys> {
    let server = servers.get(usize::from(entry.server))?;
    let client = config.clients.get(usize::try_from(entry.client).ok()?)?;
    match &entry.secret {
        Secret::Shared => {
            let shared = secrets.shared.get(&client.name)?;
            Some(PacketKeys::from_shared(&server.public(), shared))
        }
        Secret::Pair(place) => {
            let ClientKey::Public(public) = &client.keys.get(usize::from(*place))?.key else {
                return None;
            };
            let pair = server.pair_with(public).ok()?;
            let pre_shared = if client.pre_shared_key {
                // Without it the keys would be weaker than configured: none at all, then.
                Some(secrets.pre_shared.get(&client.name)?)
            } else {
                None
            };
            Some(PacketKeys::from_pair(
                &server.public(),
                &pair,
                public,
                pre_shared,
            ))
        }
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients")
            .field("clients", &self.len())
            .finish_non_exhaustive()
    }
}
