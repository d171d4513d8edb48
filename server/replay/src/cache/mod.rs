//! The exact set of used packets, with a floor for each client; pure.
//!
//! Takes packets (key id, nonce, timestamp) and the start of the time window. Returns
//! whether they were seen, and the records for the journal. Never reads a clock, and never
//! drops a packet without raising its client's floor in the same step. docs/protocol.md §8.

mod clients;

mod closes;

mod entries;

mod recorder;

mod maintenance;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;

use clients::Clients;
use closes::Closes;
use entries::Entries;
pub use recorder::Recorder;
use spa_keys::KeyId;
use spa_proto::Timestamp;
use spad_model::BootTime;

use super::record::JournalRecord;

/// The capacity of the cache. Beyond it the smallest timestamps are evicted, each raising
/// its client's floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum entries of one client.
    pub per_client: usize,
    /// Maximum entries of all clients.
    pub total: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            per_client: 1024,
            total: 1_000_000,
        }
    }
}

/// Where and when a packet was captured; distinguishes a duplicate from a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The packet's source address.
    pub source: IpAddr,
    /// When it was captured.
    pub boot: BootTime,
}

/// Why a packet may not act: it already did, or it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its timestamp is not above its client's floor.
    BelowFloor,
    /// Its nonce was recorded for its client.
    Recorded {
        /// Whether the network duplicated it, as opposed to a replay.
        within_second_from_same_source: bool,
    },
}

/// The used packets and floors of all key ids, whether configured or not.
pub struct ReplayCache {
    bounds: Bounds,
    base: Timestamp,
    clients: Clients,
    entries: Entries,
    /// Each client that has entries, ordered by its smallest timestamp.
    order: BTreeSet<(Timestamp, u32)>,
    closes: Closes,
}

impl std::fmt::Debug for ReplayCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplayCache")
            .field("base", &self.base)
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

impl Default for ReplayCache {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl ReplayCache {
    /// An empty cache without floors.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            base: Timestamp::default(),
            clients: Clients::default(),
            entries: Entries::default(),
            order: BTreeSet::new(),
            closes: Closes::default(),
        }
    }

    /// Checks that this packet may still act. Remembers nothing, allocates nothing.
    ///
    /// # Errors
    /// [`Seen`] if it may not act.
    pub fn screen(
        &self,
        id: KeyId,
        nonce: &[u8; 24],
        timestamp: Timestamp,
        sighting: Sighting,
    ) -> Result<(), Seen> {
        let client = self.clients.lookup(id);
        let floor = client.map_or(self.base, |index| self.floor_at(index));
        if timestamp <= floor {
            return Err(Seen::BelowFloor);
        }
        match client.and_then(|index| self.entries.find(index, nonce)) {
            None => Ok(()),
            Some(first) => Err(Seen::Recorded {
                within_second_from_same_source: self.entries.is_duplicate(first, sighting),
            }),
        }
    }

    /// Marks the packet as used: checks floor and nonce again and inserts it in one step.
    /// Entries of this client that are older than `window_start` or beyond the bounds are
    /// evicted and raise floors. Appends to `out` what the journal must contain before the
    /// packet acts.
    ///
    /// # Errors
    /// [`Seen`] if it was used before; then nothing changes.
    pub fn record(
        &mut self,
        id: KeyId,
        nonce: &[u8; 24],
        timestamp: Timestamp,
        sighting: Sighting,
        window_start: Timestamp,
        out: &mut Vec<JournalRecord>,
    ) -> Result<(), Seen> {
        self.screen(id, nonce, timestamp, sighting)?;
        if timestamp < window_start {
            // It would be evicted immediately, and the floor raised to it.
            return Err(Seen::BelowFloor);
        }
        let index = self.clients.lookup_or_add(id);
        self.insert(index, nonce, timestamp, Some(sighting));
        out.push(JournalRecord::Nonce {
            id,
            nonce: *nonce,
            timestamp,
        });
        self.make_room(index, window_start, out);
        Ok(())
    }

    /// The cache as the [`spa_proto::Record`] of one packet.
    pub fn recorder<'a>(
        &'a mut self,
        sighting: Sighting,
        window_start: Timestamp,
        out: &'a mut Vec<JournalRecord>,
    ) -> Recorder<'a> {
        Recorder {
            cache: self,
            sighting,
            window_start,
            out,
        }
    }

    /// The floor in force for this key id, whether known or not.
    #[must_use]
    pub fn floor(&self, id: KeyId) -> Timestamp {
        self.clients
            .lookup(id)
            .map_or(self.base, |index| self.floor_at(index))
    }

    /// The floor that applies to every key id.
    #[must_use]
    pub fn base_floor(&self) -> Timestamp {
        self.base
    }

    /// Number of remembered packets, at most [`Bounds::total`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no used packet is remembered. Floors may exist.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn floor_at(&self, index: u32) -> Timestamp {
        self.base.max(self.clients.floor(index))
    }
}
