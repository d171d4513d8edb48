//! The cache as the recorder of one packet.

use spa_keys::KeyId;
use spa_proto::{Record, Timestamp};

use super::{ReplayCache, Seen, Sighting};
use crate::record::JournalRecord;

/// What `Authentic::record` needs: the cache, and the facts beside the packet.
pub struct Recorder<'a> {
    pub(super) cache: &'a mut ReplayCache,
    pub(super) sighting: Sighting,
    pub(super) window_start: Timestamp,
    pub(super) out: &'a mut Vec<JournalRecord>,
}

impl Record for Recorder<'_> {
    type Refusal = Seen;

    fn record(&mut self, id: KeyId, nonce: &[u8; 24], timestamp: Timestamp) -> Result<(), Seen> {
        self.cache.record(
            id,
            nonce,
            timestamp,
            self.sighting,
            self.window_start,
            self.out,
        )
    }
}
