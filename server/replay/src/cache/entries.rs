//! The used packets themselves: an exact set of (client, nonce); pure.
//!
//! An entry is 40 bytes in one array, indexed by a hash table. A lookup costs one hash and one
//! comparison, whatever the number of entries. The hash has a random key, so nobody can
//! choose nonces that collide.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashTable;
use spad_model::BootTime;

use super::Sighting;

/// Copies within this time from the same address are network duplicates.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);

/// The entries of all clients.
#[derive(Default)]
pub(super) struct Entries {
    slots: Vec<Entry>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
}

#[derive(Clone, Copy)]
struct Entry {
    nonce: [u8; 24],
    /// When it was first seen; the maximum time for entries from before this start.
    boot: BootTime,
    client: u32,
    /// Hash of the first source address; a collision only affects a counter.
    source: u32,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// The slot of this packet, if it is in the set.
    pub(super) fn find(&self, client: u32, nonce: &[u8; 24]) -> Option<u32> {
        let hash = hash_entry(&self.hasher, client, nonce);
        self.index
            .find(hash, |slot| is_entry(&self.slots, *slot, client, nonce))
            .copied()
    }

    /// Whether the same packet was captured just before from the same address.
    pub(super) fn is_duplicate(&self, slot: u32, now: Sighting) -> bool {
        get(&self.slots, slot).is_some_and(|first| {
            first.boot != UNKNOWN_TIME
                && now.boot.saturating_since(first.boot) <= DUPLICATE_WINDOW
                && first.source == hash_source(&self.hasher, now.source)
        })
    }

    /// Adds a packet that is not in the set and returns its slot.
    pub(super) fn insert(
        &mut self,
        client: u32,
        nonce: &[u8; 24],
        sighting: Option<Sighting>,
    ) -> u32 {
        let entry = Entry {
            nonce: *nonce,
            boot: sighting.map_or(UNKNOWN_TIME, |first| first.boot),
            client,
            source: sighting.map_or(0, |first| hash_source(&self.hasher, first.source)),
        };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => u32::try_from(self.slots.len()).unwrap_or(u32::MAX),
        };
        match usize::try_from(slot)
            .ok()
            .and_then(|place| self.slots.get_mut(place))
        {
            Some(room) => *room = entry,
            None => self.slots.push(entry),
        }
        let Self {
            slots,
            index: places,
            hasher,
            ..
        } = self;
        let hash = hash_entry(hasher, client, nonce);
        places.insert_unique(hash, slot, |slot| match get(slots, *slot) {
            Some(entry) => hash_entry(hasher, entry.client, &entry.nonce),
            None => 0,
        });
        slot
    }

    /// Removes the packet in this slot.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(entry) = get(&self.slots, slot).copied() else {
            return;
        };
        let hash = hash_entry(&self.hasher, entry.client, &entry.nonce);
        if let Ok(place) = self.index.find_entry(hash, |other| *other == slot) {
            place.remove();
            self.free.push(slot);
        }
    }

    pub(super) fn nonce(&self, slot: u32) -> Option<[u8; 24]> {
        get(&self.slots, slot).map(|entry| entry.nonce)
    }
}

const UNKNOWN_TIME: BootTime = BootTime::from_micros(u64::MAX);

fn get(slots: &[Entry], slot: u32) -> Option<&Entry> {
    slots.get(usize::try_from(slot).ok()?)
}

fn is_entry(slots: &[Entry], slot: u32, client: u32, nonce: &[u8; 24]) -> bool {
    get(slots, slot).is_some_and(|entry| entry.client == client && entry.nonce == *nonce)
}

/// Hashes the bytes alone; std would include the nonce's length.
fn hash_entry(hasher: &RandomState, client: u32, nonce: &[u8; 24]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(nonce);
    state.write_u32(client);
    state.finish()
}

/// 32 bits of a keyed hash of the address.
fn hash_source(hasher: &RandomState, address: IpAddr) -> u32 {
    let [a, b, c, d, ..] = hasher.hash_one(address).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
