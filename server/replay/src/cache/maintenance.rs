//! Eviction, floors, restoring from the journal, resets; pure.
//!
//! Only the two resets lower floors.

use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::{Service, Timestamp};

use super::{ReplayCache, Sighting};
use crate::record::JournalRecord;

impl ReplayCache {
    /// Evicts entries older than the window, of all clients, raising each client's floor: at
    /// most `at_most`, plus the rest of the last client's. Returns their number. Call it
    /// regularly, for idle clients.
    pub fn sweep(
        &mut self,
        window_start: Timestamp,
        max: usize,
        out: &mut Vec<JournalRecord>,
    ) -> usize {
        let before = self.len();
        while let Some((oldest, index)) = self.order.first().copied() {
            if oldest >= window_start || before.saturating_sub(self.len()) >= max {
                break;
            }
            self.trim(index, usize::MAX, window_start, out);
        }
        before.saturating_sub(self.len())
    }

    /// Records that this client closed this service: no older packet opens it again.
    pub fn close(
        &mut self,
        id: KeyId,
        service: Service,
        timestamp: Timestamp,
        out: &mut Vec<JournalRecord>,
    ) {
        out.push(JournalRecord::LastClose {
            id,
            service,
            timestamp,
        });
        self.record_close(id, service, timestamp, out);
    }

    /// The timestamp of the last close. An older open is refused.
    #[must_use]
    pub fn last_close(&self, id: KeyId, service: Service) -> Option<Timestamp> {
        self.closes.get(self.clients.lookup(id)?, service)
    }

    /// Raises the base floor and every floor to at least `floor`, after an unclean start or
    /// for a key that was used elsewhere.
    pub fn raise_floors(&mut self, floor: Timestamp) {
        self.base = self.base.max(floor);
        for index in 0..self.clients.len() {
            self.raise(index, floor, &mut Vec::new());
        }
    }

    /// Applies a record read from the journal.
    pub fn restore(&mut self, record: &JournalRecord) {
        let unwritten = &mut Vec::new();
        match record {
            JournalRecord::Nonce {
                id,
                nonce,
                timestamp,
            } => {
                let index = self.clients.lookup_or_add(*id);
                // Skips entries at or below the floor, which `make_room` would evict immediately.
                if *timestamp > self.floor_at(index) && self.entries.find(index, nonce).is_none() {
                    self.insert(index, nonce, *timestamp, None);
                    self.make_room(index, Timestamp::default(), unwritten);
                }
            }
            JournalRecord::Floor { id, timestamp } => {
                let index = self.clients.lookup_or_add(*id);
                self.raise(index, *timestamp, unwritten);
            }
            JournalRecord::BaseFloor { timestamp } => self.base = self.base.max(*timestamp),
            JournalRecord::LastClose {
                id,
                service,
                timestamp,
            } => {
                self.record_close(*id, *service, *timestamp, unwritten);
            }
            JournalRecord::Holder(_)
            | JournalRecord::HolderRemoved(_)
            | JournalRecord::HookPending(_)
            | JournalRecord::HookDone(_)
            | JournalRecord::OneTime { .. } => {}
        }
    }

    /// The whole cache as journal records; [`Self::restore`] of each reproduces the cache.
    pub fn records(&self) -> impl Iterator<Item = JournalRecord> {
        let base = std::iter::once(JournalRecord::BaseFloor {
            timestamp: self.base,
        });
        let rest = self.clients.iter().flat_map(move |(index, client)| {
            let id = client.id;
            let floor = (client.floor > self.base).then_some(JournalRecord::Floor {
                id,
                timestamp: client.floor,
            });
            let nonces = client.iter().filter_map(move |(timestamp, slot)| {
                Some(JournalRecord::Nonce {
                    id,
                    nonce: self.entries.nonce(slot)?,
                    timestamp,
                })
            });
            let closes = self.closes.for_client(index);
            let closes = closes.map(move |(service, timestamp)| JournalRecord::LastClose {
                id,
                service,
                timestamp,
            });
            floor.into_iter().chain(nonces).chain(closes)
        });
        base.chain(rest)
    }

    /// `spad client reset`: lowers the client's floor to now and drops its packets from beyond
    /// now + skew. Returns the floor in force, which may be the base floor: only
    /// [`Self::reset_all`] lowers that. The caller must rewrite the journal.
    pub fn reset_client(&mut self, id: KeyId, now: Timestamp, skew: Duration) -> Timestamp {
        if let Some(index) = self.clients.lookup(id) {
            self.reset(index, now, skew);
        }
        self.floor(id)
    }

    /// `spad replay reset`: applies [`Self::reset_client`] to all clients and the base floor.
    pub fn reset_all(&mut self, now: Timestamp, skew: Duration) {
        self.base = self.base.min(now);
        for index in 0..self.clients.len() {
            self.reset(index, now, skew);
        }
    }

    fn reset(&mut self, index: u32, now: Timestamp, skew: Duration) {
        let Some(client) = self.clients.get_mut(index) else {
            return;
        };
        let before = client.oldest();
        client.floor = client.floor.min(now);
        for slot in client.remove_later_than(now.saturating_add(skew)) {
            self.entries.remove(slot);
        }
        self.reorder(index, before);
    }

    pub(super) fn insert(
        &mut self,
        index: u32,
        nonce: &[u8; 24],
        timestamp: Timestamp,
        sighting: Option<Sighting>,
    ) {
        let Some(client) = self.clients.get_mut(index) else {
            return;
        };
        let before = client.oldest();
        client.push(timestamp, self.entries.insert(index, nonce, sighting));
        self.reorder(index, before);
    }

    /// Brings first this client, then the whole cache, within the bounds.
    pub(super) fn make_room(
        &mut self,
        index: u32,
        window_start: Timestamp,
        out: &mut Vec<JournalRecord>,
    ) {
        self.trim(index, self.bounds.per_client, window_start, out);
        while self.len() > self.bounds.total {
            let Some((_, fullest)) = self.order.first().copied() else {
                break;
            };
            let max_entries = self
                .clients
                .get(fullest)
                .map_or(0, |client| client.len().saturating_sub(1));
            self.trim(fullest, max_entries, Timestamp::default(), out);
        }
    }

    /// Evicts this client's smallest timestamps while it has more than `keep` entries, or they
    /// precede `window_start` or are not above the floor. Each eviction raises the floor; the
    /// final floor is added to `out`.
    fn trim(
        &mut self,
        index: u32,
        max_entries: usize,
        window_start: Timestamp,
        out: &mut Vec<JournalRecord>,
    ) {
        let base = self.base;
        let Some(client) = self.clients.get_mut(index) else {
            return;
        };
        let (before, floor) = (client.oldest(), client.floor);
        while let Some(oldest) = client.oldest() {
            if client.len() <= max_entries
                && oldest >= window_start
                && oldest > client.floor.max(base)
            {
                break;
            }
            let Some(slot) = client.pop_raising_floor() else {
                break;
            };
            self.entries.remove(slot);
        }
        let raised = client.floor;
        if raised > floor {
            out.push(JournalRecord::Floor {
                id: client.id,
                timestamp: raised,
            });
            self.closes.prune(index, raised);
        }
        self.reorder(index, before);
    }

    fn raise(&mut self, index: u32, floor: Timestamp, out: &mut Vec<JournalRecord>) {
        let Some(client) = self.clients.get_mut(index) else {
            return;
        };
        if client.floor < floor {
            client.floor = floor;
            out.push(JournalRecord::Floor {
                id: client.id,
                timestamp: floor,
            });
            self.closes.prune(index, floor);
        }
        self.trim(index, usize::MAX, Timestamp::default(), out);
    }

    fn record_close(
        &mut self,
        id: KeyId,
        service: Service,
        timestamp: Timestamp,
        out: &mut Vec<JournalRecord>,
    ) {
        let index = self.clients.lookup_or_add(id);
        self.closes.raise(index, service, timestamp);
        if let Some(floor) = self.closes.overflow_floor(index) {
            self.raise(index, floor, out);
        }
    }

    /// Moves the client in the order after its smallest timestamp changed from `before`.
    fn reorder(&mut self, index: u32, before: Option<Timestamp>) {
        let after = self
            .clients
            .get(index)
            .and_then(super::clients::Client::oldest);
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, index));
        }
        if let Some(after) = after {
            self.order.insert((after, index));
        }
    }
}
