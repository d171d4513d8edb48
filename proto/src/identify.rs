//! Datagram → key id and timestamp: the head's tag, then the mask, at most
//! two SipHashes and no allocation. docs/protocol.md §7, step 2. Shape only:
//! whoever knows the server's public key can make such a head.

use spa_keys::{HeadKeys, KeyId, PacketKeys};

use crate::limits::{HMAC_LEN, MASKED_LEN, MAX_PACKET, MIN_PACKET, NONCE_LEN, TAGGED_LEN};
use crate::seal::mask;
use crate::{Authentic, IdentifyError, NotAuthentic, Timestamp};

/// A datagram whose head is one of this server's packets.
#[derive(Clone, Copy, Debug)]
pub struct Identified<'a> {
    pub(crate) datagram: &'a [u8],
    pub(crate) nonce: &'a [u8; NONCE_LEN],
    pub(crate) key_id: KeyId,
    pub(crate) timestamp: Timestamp,
}

/// Reads a datagram's head. Nothing in it is authentic yet.
///
/// # Errors
/// A wrong length, or a wrong tag; the mask is computed after that only.
pub fn identify<'a>(head: &HeadKeys, datagram: &'a [u8]) -> Result<Identified<'a>, IdentifyError> {
    if !(MIN_PACKET..=MAX_PACKET).contains(&datagram.len()) {
        return Err(IdentifyError::Length);
    }
    let (tagged, rest) = datagram
        .split_first_chunk::<TAGGED_LEN>()
        .ok_or(IdentifyError::Length)?;
    let (tag, _) = rest.split_first_chunk::<8>().ok_or(IdentifyError::Length)?;
    if !head.is_tagged(tagged, tag) {
        return Err(IdentifyError::HeadTag);
    }
    let (nonce, masked) = tagged
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(IdentifyError::Length)?;
    let masked = masked
        .first_chunk::<MASKED_LEN>()
        .ok_or(IdentifyError::Length)?;
    let [a, b, c, d, e, f, g, h, timestamp @ ..] = mask(head, nonce, masked);
    Ok(Identified {
        datagram,
        nonce,
        key_id: KeyId::from_bytes([a, b, c, d, e, f, g, h]),
        timestamp: Timestamp::from_micros(u64::from_be_bytes(timestamp)),
    })
}

impl<'a> Identified<'a> {
    /// Who claims to have sent it.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// When it claims to have been sent.
    #[must_use]
    pub const fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Its nonce.
    #[must_use]
    pub const fn nonce(&self) -> &'a [u8; NONCE_LEN] {
        self.nonce
    }

    /// Checks the HMAC over the whole packet, in constant time.
    /// docs/protocol.md §7, step 5.
    ///
    /// # Errors
    /// [`NotAuthentic`].
    pub fn authenticate(self, keys: &PacketKeys) -> Result<Authentic<'a>, NotAuthentic> {
        let (bytes, code) = self
            .datagram
            .split_last_chunk::<HMAC_LEN>()
            .ok_or(NotAuthentic)?;
        if keys.is_authentic(bytes, code) {
            Ok(Authentic::new(self))
        } else {
            Err(NotAuthentic)
        }
    }
}
