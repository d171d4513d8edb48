//! Hashes key ids for tables; pure.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A hasher for key ids. These are pseudo-random, and only someone who knows the server's
/// public key can choose them, so a multiplication with a random key suffices.
#[derive(Clone, Copy)]
pub struct KeyIdHash(pub u64);

pub struct KeyIdHasher {
    seed: u64,
    state: u64,
}

/// Makes a hasher with a random key.
impl Default for KeyIdHash {
    fn default() -> Self {
        Self(RandomState::new().hash_one(()))
    }
}

impl BuildHasher for KeyIdHash {
    type Hasher = KeyIdHasher;

    fn build_hasher(&self) -> KeyIdHasher {
        KeyIdHasher {
            seed: self.0,
            state: 0,
        }
    }
}

impl Hasher for KeyIdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (place, byte) in word.iter_mut().zip(chunk) {
                *place = *byte;
            }
            let mixed = u128::from(self.state ^ u64::from_le_bytes(word) ^ self.seed)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let bytes = mixed.to_le_bytes();
            let (low, high) = bytes.split_at(8);
            let half = |half: &[u8]| half.try_into().map_or(0, u64::from_le_bytes);
            self.state = half(low) ^ half(high);
        }
    }

    /// Ignores the length, because a key id's length is constant.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.state
    }
}
