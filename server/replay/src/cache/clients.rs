//! Key ids, their floors, and the eviction order of their entries; pure.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use spa_keys::KeyId;
use spa_proto::Timestamp;
use spad_model::KeyIdHash;

/// All key ids that ever recorded a packet or have a floor.
#[derive(Default)]
pub(super) struct Clients {
    index: HashMap<KeyId, u32, KeyIdHash>,
    rows: Vec<Client>,
}

/// The entries and the floor of one key id.
pub(super) struct Client {
    pub(super) id: KeyId,
    pub(super) floor: Timestamp,
    /// Timestamp and slot of each entry, smallest timestamp first.
    entries: BinaryHeap<Reverse<(Timestamp, u32)>>,
}

impl Clients {
    pub(super) fn lookup(&self, id: KeyId) -> Option<u32> {
        self.index.get(&id).copied()
    }

    pub(super) fn lookup_or_add(&mut self, id: KeyId) -> u32 {
        if let Some(index) = self.lookup(id) {
            return index;
        }
        // More than four billion clients do not fit into memory.
        let index = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.index.insert(id, index);
        self.rows.push(Client {
            id,
            floor: Timestamp::default(),
            entries: BinaryHeap::new(),
        });
        index
    }

    pub(super) fn get(&self, index: u32) -> Option<&Client> {
        self.rows.get(usize::try_from(index).ok()?)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Client> {
        self.rows.get_mut(usize::try_from(index).ok()?)
    }

    /// The client's own floor; for an unknown client the maximum time, which refuses.
    pub(super) fn floor(&self, index: u32) -> Timestamp {
        self.get(index)
            .map_or(Timestamp::from_micros(u64::MAX), |client| client.floor)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Client)> {
        (0..).zip(&self.rows)
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }
}

impl Client {
    /// The smallest timestamp among its entries.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.entries
            .peek()
            .map(|Reverse((timestamp, _))| *timestamp)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn push(&mut self, timestamp: Timestamp, slot: u32) {
        self.entries.push(Reverse((timestamp, slot)));
    }

    /// Removes the entry with the smallest timestamp and raises the floor to it in one step.
    /// This is the only way to evict a single entry.
    pub(super) fn pop_raising_floor(&mut self) -> Option<u32> {
        let Reverse((timestamp, slot)) = self.entries.pop()?;
        self.floor = self.floor.max(timestamp);
        if self.entries.is_empty() {
            self.entries = BinaryHeap::new();
        }
        Some(slot)
    }

    /// Removes the entries with a timestamp above `latest` without raising the floor, for an
    /// administrator's reset.
    pub(super) fn remove_later_than(&mut self, latest: Timestamp) -> Vec<u32> {
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|Reverse((timestamp, _))| *timestamp > latest);
        self.entries = BinaryHeap::from(kept);
        gone.into_iter().map(|Reverse((_, slot))| slot).collect()
    }

    /// Timestamp and slot of each entry, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Timestamp, u32)> {
        self.entries.iter().map(|Reverse(entry)| *entry)
    }
}
