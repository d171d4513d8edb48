//! Authentic and recorded → request: decryption, then decoding.
//! docs/protocol.md §7, step 7. Pure.

use spa_keys::{KeyId, PacketKeys};

use crate::limits::{HEAD_LEN, HMAC_LEN};
use crate::{OpenError, Recorded, Request, Timestamp};

/// A packet that is authentic, used up and readable. Made by
/// [`Recorded::open`] only. Nothing is allowed by it yet.
#[derive(Debug)]
pub struct Opened {
    key_id: KeyId,
    timestamp: Timestamp,
    request: Request,
}

impl Recorded<'_> {
    /// Decrypts and decodes the packet with the keys that authenticated it.
    ///
    /// # Errors
    /// A fault of the client that sealed it.
    pub fn open(self, keys: &PacketKeys) -> Result<Opened, OpenError> {
        let packet = self.0;
        let (head, rest) = packet
            .datagram
            .split_first_chunk::<HEAD_LEN>()
            .ok_or(OpenError::Decryption)?;
        let (sealed, _) = rest
            .split_last_chunk::<HMAC_LEN>()
            .ok_or(OpenError::Decryption)?;
        let plaintext = keys
            .decrypt(packet.nonce, head, sealed)
            .ok_or(OpenError::Decryption)?;
        Ok(Opened {
            key_id: packet.key_id,
            timestamp: packet.timestamp,
            request: Request::decode(&plaintext)?,
        })
    }
}

impl Opened {
    /// Who sent it.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// When it was sent, by the sender's clock.
    #[must_use]
    pub const fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// What is asked.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// What is asked, by value.
    #[must_use]
    pub fn into_request(self) -> Request {
        self.request
    }
}
