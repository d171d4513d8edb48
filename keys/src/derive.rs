//! Derived keys that need no pair secret: key id and head keys.
//! docs/protocol.md §4. Pure.

use core::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use siphasher::{sip, sip128};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{ClientPublic, ServerPublic, SharedKey};

/// HKDF-SHA256 of RFC 5869; the empty salt is its default.
pub(crate) fn hkdf(salt: &[u8], secret: &[u8], info: &[u8], out: &mut [u8]) {
    expand(&Hkdf::<Sha256>::new(Some(salt), secret), info, out);
}

/// HKDF-Expand of RFC 5869.
#[expect(
    clippy::expect_used,
    reason = "it fails above 8160 bytes only, and no key has more than 32"
)]
pub(crate) fn expand(prk: &Hkdf<Sha256>, info: &[u8], out: &mut [u8]) {
    prk.expand(info, out).expect("at most 32 bytes");
}

/// The name of a client at one server, in every packet of his, masked.
/// docs/protocol.md §4.1.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// The key id of a client with a key pair.
    #[must_use]
    pub fn for_client(server: &ServerPublic, client: &ClientPublic) -> Self {
        Self::derive(server, client.as_bytes())
    }

    /// The key id of a client with a shared key.
    #[must_use]
    pub fn for_shared(server: &ServerPublic, shared: &SharedKey) -> Self {
        let mut name = Zeroizing::new([0; 32]);
        hkdf(b"", shared.expose(), b"spa1 shared key name", &mut *name);
        Self::derive(server, &name)
    }

    fn derive(server: &ServerPublic, name: &[u8; 32]) -> Self {
        let mut id = [0; 8];
        hkdf(server.as_bytes(), name, b"spa1 key id", &mut id);
        Self(id)
    }

    /// The key id of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Its bytes, as they stand in the packet under the mask.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The two keys of the head, the same for all clients of a server.
/// docs/protocol.md §4.2.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct HeadKeys {
    mask: [u8; 16],
    tag: [u8; 16],
}

impl HeadKeys {
    /// The head keys of the server with this public key.
    #[must_use]
    pub fn new(server: &ServerPublic) -> Self {
        let mut keys = Zeroizing::new([0; 32]);
        hkdf(b"spa1", server.as_bytes(), b"spa1 head", &mut *keys);
        let mut head = Self {
            mask: [0; 16],
            tag: [0; 16],
        };
        let (first, last) = keys.split_at(16);
        head.mask.copy_from_slice(first);
        head.tag.copy_from_slice(last);
        head
    }

    /// SipHash-2-4-128 of a packet's nonce: what key id and time are XORed with.
    #[must_use]
    pub fn mask(&self, nonce: &[u8; 24]) -> [u8; 16] {
        sip128::SipHasher24::new_with_key(&self.mask)
            .hash(nonce)
            .as_bytes()
    }

    /// SipHash-2-4-64 of a packet's first 40 bytes: the head's tag.
    #[must_use]
    pub fn tag(&self, head: &[u8; 40]) -> [u8; 8] {
        sip::SipHasher24::new_with_key(&self.tag)
            .hash(head)
            .to_le_bytes()
    }

    /// Whether `tag` is the tag of `head`, in constant time.
    #[must_use]
    pub fn is_tagged(&self, head: &[u8; 40], tag: &[u8; 8]) -> bool {
        self.tag(head).ct_eq(tag).into()
    }
}

impl fmt::Debug for HeadKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeadKeys([secret])")
    }
}
