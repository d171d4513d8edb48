//! The keys of one client at one server, and what is done with them:
//! HMAC-SHA256 (RFC 2104) and ChaCha20-Poly1305 (RFC 8439).
//! docs/protocol.md §4.3, §5. Pure; secret bytes stay in here.

use alloc::vec::Vec;
use core::fmt;

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use hkdf::Hkdf;
use hmac::block_api::HmacCore;
use hmac::digest::block_api::{Buffer, CoreProxy};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::derive::expand;
use crate::secret::SecretBytes;
use crate::{ClientPublic, PairSecret, PreSharedKey, ServerPublic, SharedKey};

/// The plaintext is longer than ChaCha20-Poly1305 can encrypt (256 GiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plaintext is too long to be encrypted")]
pub struct TooLong;

/// Encryption and authentication keys of one client at one server.
///
/// 112 bytes: a server holds a hundred thousand of them. HMAC's key schedule
/// is computed once, here, and kept without HMAC's block buffer.
pub struct PacketKeys {
    prk: SecretBytes,
    authentication: HmacCore<Sha256>,
}

impl PacketKeys {
    /// The keys of a client with a key pair. docs/protocol.md §4.3.
    #[must_use]
    pub fn from_pair(
        server: &ServerPublic,
        pair: &PairSecret,
        client: &ClientPublic,
        pre_shared: Option<&PreSharedKey>,
    ) -> Self {
        let mut secret = Zeroizing::new([0; 96]);
        let parts = [
            Some(pair.expose()),
            Some(client.as_bytes()),
            pre_shared.map(PreSharedKey::expose),
        ];
        let mut length = 0_usize;
        for (place, part) in secret.chunks_exact_mut(32).zip(parts.into_iter().flatten()) {
            place.copy_from_slice(part);
            length = length.saturating_add(32);
        }
        let (secret, _) = secret.split_at(length);
        Self::extract(server, secret)
    }

    /// The keys of a client with a shared key. docs/protocol.md §4.3.
    #[must_use]
    pub fn from_shared(server: &ServerPublic, shared: &SharedKey) -> Self {
        Self::extract(server, shared.expose())
    }

    #[expect(
        clippy::expect_used,
        reason = "HMAC takes keys of any length; the Result belongs to the trait"
    )]
    fn extract(server: &ServerPublic, secret: &[u8]) -> Self {
        let (mut prk, expander) = Hkdf::<Sha256>::extract(Some(server.as_bytes()), secret);
        let mut key = Zeroizing::new([0; 32]);
        expand(&expander, b"spa1 authentication", &mut *key);
        let mut kept = SecretBytes::new([0; 32]);
        kept.expose_mut().copy_from_slice(&prk);
        zeroize::Zeroize::zeroize(prk.as_mut_slice());
        Self {
            prk: kept,
            authentication: HmacCore::new_from_slice(&*key).expect("a key of any length"),
        }
    }

    /// HMAC-SHA256 with the authentication key. Allocates nothing.
    #[must_use]
    pub fn authenticate(&self, bytes: &[u8]) -> [u8; 32] {
        let mut hmac = Hmac::<Sha256>::compose(
            self.authentication.clone(),
            Buffer::<HmacCore<Sha256>>::default(),
        );
        hmac.update(bytes);
        hmac.finalize().into_bytes().into()
    }

    /// Whether `code` is the HMAC of `bytes`, in constant time. Allocates nothing.
    #[must_use]
    pub fn is_authentic(&self, bytes: &[u8], code: &[u8; 32]) -> bool {
        self.authenticate(bytes).ct_eq(code).into()
    }

    /// Encrypts `buffer` in place and appends the tag of 16 bytes. `head`,
    /// the packet's first 48 bytes, is associated data.
    ///
    /// # Errors
    /// [`TooLong`]; the buffer is then as it was.
    pub fn encrypt(
        &self,
        nonce: &[u8; 24],
        head: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), TooLong> {
        let tag = self
            .cipher(nonce)
            .encrypt_inout_detached(&ZERO_NONCE.into(), head, buffer.as_mut_slice().into())
            .map_err(|_| TooLong)?;
        buffer.extend_from_slice(&tag);
        Ok(())
    }

    /// The plaintext of `sealed`, ciphertext and tag; `None` where the tag is wrong.
    #[must_use]
    pub fn decrypt(
        &self,
        nonce: &[u8; 24],
        head: &[u8],
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let (ciphertext, tag) = sealed.split_last_chunk::<16>()?;
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        self.cipher(nonce)
            .decrypt_inout_detached(
                &ZERO_NONCE.into(),
                head,
                plaintext.as_mut_slice().into(),
                &(*tag).into(),
            )
            .ok()?;
        Some(plaintext)
    }

    /// The cipher of one packet: a key for each nonce. docs/protocol.md §4.3.
    #[expect(clippy::expect_used, reason = "HKDF takes any key of 32 bytes or more")]
    fn cipher(&self, nonce: &[u8; 24]) -> ChaCha20Poly1305 {
        let mut info = [0; 39];
        let (label, rest) = info.split_at_mut(15);
        label.copy_from_slice(b"spa1 encryption");
        rest.copy_from_slice(nonce);
        let mut key = Zeroizing::new([0; 32]);
        let prk = Hkdf::<Sha256>::from_prk(self.prk.expose()).expect("a key of 32 bytes");
        expand(&prk, &info, &mut *key);
        ChaCha20Poly1305::new((&*key).into())
    }
}

/// Every packet has a key of its own, so the cipher's nonce is constant.
const ZERO_NONCE: [u8; 12] = [0; 12];

impl fmt::Debug for PacketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PacketKeys([secret])")
    }
}
