//! One-line text forms of keys: prefix, then base64url of the 32 bytes and a
//! checksum. docs/protocol.md §3.4. Pure.

use alloc::string::String;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{KeyError, Kind};

/// Characters after the prefix: 36 bytes in base64url, no bit to spare.
const ENCODED_LEN: usize = 48;
/// The key and its checksum.
const DECODED_LEN: usize = 36;

/// The text form of `key`.
pub(crate) fn encode(kind: Kind, key: &[u8; 32]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; DECODED_LEN]);
    if let Some((place, rest)) = bytes.split_first_chunk_mut::<32>() {
        place.copy_from_slice(key);
        rest.copy_from_slice(&checksum(kind, key));
    }
    // Reserved at once: a string that grows leaves copies of itself behind.
    let mut text = Zeroizing::new(String::with_capacity(
        kind.prefix().len().saturating_add(ENCODED_LEN),
    ));
    text.push_str(kind.prefix());
    URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
    text
}

/// Reads the text form of a key of the kind `expected`.
pub(crate) fn decode(expected: Kind, text: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    if text.is_empty() {
        return Err(KeyError::Empty { expected });
    }
    let Some(letters) = text.strip_prefix(expected.prefix()) else {
        return Err(
            match Kind::ALL
                .into_iter()
                .find(|kind| text.starts_with(kind.prefix()))
            {
                Some(found) => KeyError::OtherKind { expected, found },
                None => KeyError::UnknownPrefix { expected },
            },
        );
    };
    if letters.chars().count() != ENCODED_LEN {
        return Err(KeyError::Length { expected });
    }
    let mut bytes = Zeroizing::new([0; DECODED_LEN]);
    match URL_SAFE_NO_PAD.decode_slice(letters, &mut *bytes) {
        Ok(DECODED_LEN) => {}
        Ok(_) | Err(_) => return Err(KeyError::Character),
    }
    let (Some(key), Some(sum)) = (bytes.first_chunk::<32>(), bytes.last_chunk::<4>()) else {
        return Err(KeyError::Length { expected });
    };
    if checksum(expected, key) != *sum {
        return Err(KeyError::Checksum);
    }
    Ok(Zeroizing::new(*key))
}

/// The first bytes of SHA-256 over the prefix and the key.
fn checksum(kind: Kind, key: &[u8; 32]) -> [u8; 4] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(kind.prefix())
        .chain_update(key)
        .finalize()
        .into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}
