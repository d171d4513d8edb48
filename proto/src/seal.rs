//! The client's half: request, keys, nonce and time → datagram.
//! docs/protocol.md §5. Pure: the caller brings time and randomness.

use alloc::vec::Vec;

use spa_keys::{HeadKeys, KeyId, PacketKeys};

use crate::limits::{
    CIPHER_TAG_LEN, HEAD_LEN, HMAC_LEN, MASKED_LEN, MAX_PACKET, MIN_PACKET, NONCE_LEN, OVERHEAD,
    TAGGED_LEN,
};
use crate::{Request, SealError, Timestamp};

/// Random bytes for one packet, from the operating system. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Randomness {
    /// The packet's nonce.
    pub nonce: [u8; NONCE_LEN],
    /// What the packet is longer than it need be, in bytes. docs/protocol.md §5.3.
    pub length: u8,
}

/// Seals a request: the datagram to send, 160 to 512 bytes.
///
/// # Errors
/// A request that cannot be written down.
pub fn seal(
    head: &HeadKeys,
    id: KeyId,
    keys: &PacketKeys,
    request: &Request,
    now: Timestamp,
    randomness: &Randomness,
) -> Result<Vec<u8>, SealError> {
    let mut plaintext = request.encode()?;
    let needed = plaintext.len().saturating_add(OVERHEAD).max(MIN_PACKET);
    let length = needed.saturating_add(usize::from(randomness.length));
    plaintext.resize(length.saturating_sub(OVERHEAD), 0);
    seal_plaintext(head, id, keys, plaintext, now, &randomness.nonce)
}

/// Seals any plaintext as it is, well formed and padded or not: what other
/// layouts, test vectors and fuzzing need. A client calls [`seal`].
///
/// # Errors
/// A packet of more than 512 bytes.
pub fn seal_plaintext(
    head: &HeadKeys,
    id: KeyId,
    keys: &PacketKeys,
    plaintext: Vec<u8>,
    now: Timestamp,
    nonce: &[u8; NONCE_LEN],
) -> Result<Vec<u8>, SealError> {
    let length = plaintext.len().saturating_add(OVERHEAD);
    if length > MAX_PACKET {
        return Err(SealError::TooLong);
    }
    let masked = mask(head, nonce, &plain_head(id, now));
    let mut tagged = [0; TAGGED_LEN];
    let (first, last) = tagged.split_at_mut(NONCE_LEN);
    first.copy_from_slice(nonce);
    last.copy_from_slice(&masked);

    let mut packet = Vec::with_capacity(length);
    packet.extend_from_slice(&tagged);
    packet.extend_from_slice(&head.tag(&tagged));
    debug_assert_eq!(packet.len(), HEAD_LEN);

    let mut body = plaintext;
    body.reserve_exact(CIPHER_TAG_LEN);
    keys.encrypt(nonce, &packet, &mut body)
        .map_err(|_| SealError::TooLong)?;
    packet.extend_from_slice(&body);

    let code: [u8; HMAC_LEN] = keys.authenticate(&packet);
    packet.extend_from_slice(&code);
    Ok(packet)
}

/// Key id and timestamp, as they stand under the mask.
fn plain_head(id: KeyId, now: Timestamp) -> [u8; MASKED_LEN] {
    let mut plain = [0; MASKED_LEN];
    let (first, last) = plain.split_at_mut(8);
    first.copy_from_slice(&id.to_bytes());
    last.copy_from_slice(&now.as_micros().to_be_bytes());
    plain
}

/// Puts the mask on, or takes it off. docs/protocol.md §5.2.
pub(crate) fn mask(
    head: &HeadKeys,
    nonce: &[u8; NONCE_LEN],
    bytes: &[u8; MASKED_LEN],
) -> [u8; MASKED_LEN] {
    let mask = u128::from_be_bytes(head.mask(nonce));
    (u128::from_be_bytes(*bytes) ^ mask).to_be_bytes()
}
