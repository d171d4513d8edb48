//! Key pairs, shared keys, and the pair secret (X25519, RFC 7748).
//! docs/protocol.md §3.1 and §3.2. Pure.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::derive::KeyId;
use crate::secret::SecretBytes;
use crate::{KeyError, Kind, text};

/// The little-endian encodings of the numbers below 2^255 − 19 that are
/// u-coordinates of small order, on the curve or its twist: 0, 1, two of
/// order 8, and −1. docs/protocol.md §3.2 lists them.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0,
    ],
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
];

/// Refuses encodings that are not canonical, and points of small order.
fn check(bytes: &[u8; 32]) -> Result<(), KeyError> {
    let [first, middle @ .., last] = bytes;
    let not_below_p = *last == 0x7f && middle.iter().all(|byte| *byte == 0xff) && *first >= 0xed;
    if last & 0x80 != 0 || not_below_p {
        return Err(KeyError::NotCanonical);
    }
    if SMALL_ORDER.contains(bytes) {
        return Err(KeyError::SmallOrder);
    }
    Ok(())
}

macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// A public key as encoded: canonical and not of small order.
            ///
            /// # Errors
            /// [`KeyError::NotCanonical`], [`KeyError::SmallOrder`].
            pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
                check(&bytes)?;
                Ok(Self(bytes))
            }

            /// The encoded key.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        /// The text form. docs/protocol.md §3.4.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&text::encode(Kind::$name, &self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = KeyError;

            fn from_str(line: &str) -> Result<Self, KeyError> {
                Self::from_bytes(*text::decode(Kind::$name, line)?)
            }
        }
    };
}

public_key! {
    /// A server's public key. Given to its clients and to nobody else.
    ServerPublic
}

public_key! {
    /// A client's public key.
    ClientPublic
}

impl ClientPublic {
    /// Refuses a client's key that is `server`'s own. docs/protocol.md §3.2.
    ///
    /// # Errors
    /// [`KeyError::SameAsServer`].
    pub fn check_for(&self, server: &ServerPublic) -> Result<(), KeyError> {
        if self.0 == server.0 {
            Err(KeyError::SameAsServer)
        } else {
            Ok(())
        }
    }
}

macro_rules! secret_text {
    ($name:ident, $kind:ident) => {
        impl $name {
            /// The text form, wiped when dropped. docs/protocol.md §3.4.
            #[must_use]
            pub fn to_text(&self) -> Zeroizing<String> {
                text::encode(Kind::$kind, self.expose())
            }

            /// Reads the text form. White space around the line is ignored.
            ///
            /// # Errors
            /// What is wrong with the text; never any part of it.
            pub fn from_text(line: &str) -> Result<Self, KeyError> {
                Ok(Self::from_bytes(*text::decode(Kind::$kind, line)?))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "([secret])"))
            }
        }

        /// In constant time.
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.secret == other.secret
            }
        }

        impl Eq for $name {}
    };
}

macro_rules! key_pair {
    ($(#[$doc:meta])* $name:ident, $public:ident, $other:ident) => {
        $(#[$doc])*
        pub struct $name {
            secret: SecretBytes,
            public: $public,
        }

        impl $name {
            /// The key pair of 32 random bytes, kept unclamped.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                let secret = StaticSecret::from(bytes);
                // A clamped scalar is no multiple of the base point's order,
                // so this public key needs no check.
                let public = $public(PublicKey::from(&secret).to_bytes());
                Self { secret: SecretBytes::new(bytes), public }
            }

            /// The public half.
            #[must_use]
            pub const fn public(&self) -> $public {
                self.public
            }

            const fn expose(&self) -> &[u8; 32] {
                self.secret.expose()
            }

            /// The secret of this pair of client and server. docs/protocol.md §3.2.
            ///
            /// # Errors
            /// [`KeyError::SameAsServer`] for one's own key, [`KeyError::ZeroSecret`]
            /// where X25519 gives zeros.
            pub fn pair_with(&self, other: &$other) -> Result<PairSecret, KeyError> {
                if self.public.0 == other.0 {
                    return Err(KeyError::SameAsServer);
                }
                let secret = StaticSecret::from(*self.secret.expose());
                let shared = secret.diffie_hellman(&PublicKey::from(other.0));
                if !shared.was_contributory() {
                    return Err(KeyError::ZeroSecret);
                }
                Ok(PairSecret(SecretBytes::new(shared.to_bytes())))
            }
        }

        secret_text!($name, $name);
    };
}

key_pair! {
    /// A server's secret key, with its public half. Never leaves its machine.
    ServerSecret, ServerPublic, ClientPublic
}

key_pair! {
    /// A client's secret key, with its public half. Never leaves its machine.
    ClientSecret, ClientPublic, ServerPublic
}

/// What one client and one server share: X25519 of their keys.
/// docs/protocol.md §3.2.
#[derive(Debug, PartialEq, Eq)]
pub struct PairSecret(SecretBytes);

impl PairSecret {
    pub(crate) const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

macro_rules! random_key {
    ($(#[$doc:meta])* $name:ident, $kind:ident) => {
        $(#[$doc])*
        pub struct $name {
            secret: SecretBytes,
        }

        impl $name {
            /// The key of 32 random bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self { secret: SecretBytes::new(bytes) }
            }

            pub(crate) const fn expose(&self) -> &[u8; 32] {
                self.secret.expose()
            }
        }

        secret_text!($name, $kind);
    };
}

random_key! {
    /// A key that client and server both hold, instead of key pairs: for
    /// devices without X25519, and for invitations. docs/protocol.md §3.3.
    SharedKey, Shared
}

random_key! {
    /// Mixed into a key pair's keys, it keeps the pair safe from a quantum
    /// computer. docs/protocol.md §3.3.
    PreSharedKey, PreShared
}

impl SharedKey {
    /// The name under which `server` finds this key. docs/protocol.md §4.1.
    #[must_use]
    pub fn key_id(&self, server: &ServerPublic) -> KeyId {
        KeyId::for_shared(server, self)
    }
}
