//! Authentic packets and their recording. A packet is used up when it is
//! recorded, whatever follows; only then can it be opened.
//! docs/protocol.md §7, steps 5 and 6. Pure.

use spa_keys::KeyId;

use crate::limits::NONCE_LEN;
use crate::{Identified, Timestamp};

/// A packet whose HMAC is right: sent by the holder of the keys, once.
/// Made by [`Identified::authenticate`] only.
#[derive(Debug)]
pub struct Authentic<'a>(Identified<'a>);

/// What remembers packets: the replay cache.
pub trait Record {
    /// Why a packet is not recorded.
    type Refusal;

    /// Checks floor and nonce and remembers the packet, in one step.
    ///
    /// `Ok` promises that this nonce is never accepted again, after any crash.
    /// A wrong refusal costs a client one packet; a wrong `Ok` is a hole.
    ///
    /// # Errors
    /// The packet was seen before, or might have been.
    fn record(
        &mut self,
        id: KeyId,
        nonce: &[u8; NONCE_LEN],
        timestamp: Timestamp,
    ) -> Result<(), Self::Refusal>;
}

impl<'a> Authentic<'a> {
    pub(crate) const fn new(identified: Identified<'a>) -> Self {
        Self(identified)
    }

    /// Who sent it.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.0.key_id
    }

    /// When it was sent, by the sender's clock.
    #[must_use]
    pub const fn timestamp(&self) -> Timestamp {
        self.0.timestamp
    }

    /// Its nonce.
    #[must_use]
    pub const fn nonce(&self) -> &'a [u8; NONCE_LEN] {
        self.0.nonce
    }

    /// Uses the packet up.
    ///
    /// # Errors
    /// What `record` refuses with; the packet is gone either way.
    pub fn record<R: Record>(self, record: &mut R) -> Result<Recorded<'a>, R::Refusal> {
        record.record(self.0.key_id, self.0.nonce, self.0.timestamp)?;
        Ok(Recorded(self.0))
    }
}

/// An authentic packet that was recorded as used. Made by
/// [`Authentic::record`] only.
#[derive(Debug)]
pub struct Recorded<'a>(pub(crate) Identified<'a>);

impl<'a> Recorded<'a> {
    /// Who sent it.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.0.key_id
    }

    /// When it was sent, by the sender's clock.
    #[must_use]
    pub const fn timestamp(&self) -> Timestamp {
        self.0.timestamp
    }

    /// Its nonce.
    #[must_use]
    pub const fn nonce(&self) -> &'a [u8; NONCE_LEN] {
        self.0.nonce
    }
}
