//! What can be wrong with a key. Never holds any part of one.

use core::fmt;

/// The kinds of key that have a text form. docs/protocol.md §3.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `spad-pub-`
    ServerPublic,
    /// `spad-secret-`
    ServerSecret,
    /// `spa-pub-`
    ClientPublic,
    /// `spa-secret-`
    ClientSecret,
    /// `spa-shared-`
    Shared,
    /// `spa-psk-`
    PreShared,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::ServerPublic,
        Self::ServerSecret,
        Self::ClientPublic,
        Self::ClientSecret,
        Self::Shared,
        Self::PreShared,
    ];

    /// What the text form begins with, its last hyphen included.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::ServerPublic => "spad-pub-",
            Self::ServerSecret => "spad-secret-",
            Self::ClientPublic => "spa-pub-",
            Self::ClientSecret => "spa-secret-",
            Self::Shared => "spa-shared-",
            Self::PreShared => "spa-psk-",
        }
    }

    /// Whether a key of this kind must not be shown.
    #[must_use]
    pub const fn is_secret(self) -> bool {
        !matches!(self, Self::ServerPublic | Self::ClientPublic)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServerPublic => "a server's public key",
            Self::ServerSecret => "a server's secret key",
            Self::ClientPublic => "a client's public key",
            Self::ClientSecret => "a client's secret key",
            Self::Shared => "a shared key",
            Self::PreShared => "a pre-shared key",
        })
    }
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is nothing but white space.
    #[error("there is no key here; expected {expected}, which begins with `{}`", expected.prefix())]
    Empty {
        /// The kind asked for.
        expected: Kind,
    },
    /// The text does not begin with the prefix of any kind of key.
    #[error("this is not a key of spa: expected {expected}, which begins with `{}` in small letters; copy the whole line", expected.prefix())]
    UnknownPrefix {
        /// The kind asked for.
        expected: Kind,
    },
    /// The text is a key of another kind.
    #[error("this is {found} (`{}…`), but {expected} (`{}…`) belongs here{}", found.prefix(), expected.prefix(), leak_warning(*found, *expected))]
    OtherKind {
        /// The kind asked for.
        expected: Kind,
        /// The kind whose prefix the text has.
        found: Kind,
    },
    /// Too few or too many characters after the prefix.
    #[error("the key is damaged: {expected} has 48 characters after `{}`; copy the whole line again", expected.prefix())]
    Length {
        /// The kind asked for.
        expected: Kind,
    },
    /// A character that no key contains.
    #[error(
        "the key is damaged: it contains a character other than letters, digits, `-` and `_`; copy the whole line again"
    )]
    Character,
    /// The checksum does not belong to the key.
    #[error("the key is damaged: its checksum does not match; copy the whole line again")]
    Checksum,
    /// The public key is not the canonical encoding of a number below 2^255 − 19.
    #[error("the public key is not canonical, which no honest program writes; make a new key pair")]
    NotCanonical,
    /// The public key is a point of small order: anybody could guess the pair secret.
    #[error("the public key is of small order, which gives no secrecy; make a new key pair")]
    SmallOrder,
    /// The client's public key is the server's own.
    #[error(
        "the client's public key is the server's own; give the client a key pair of its own (`spa key new`)"
    )]
    SameAsServer,
    /// X25519 of the pair gave zeros.
    #[error("the two keys give no pair secret; make a new key pair")]
    ZeroSecret,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes; no key was made")]
    Random,
}

impl KeyError {
    /// The reason in test vectors. docs/protocol.md §3.4.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Empty { .. } => "empty",
            Self::UnknownPrefix { .. } => "unknown_prefix",
            Self::OtherKind { .. } => "other_kind",
            Self::Length { .. } => "length",
            Self::Character => "character",
            Self::Checksum => "checksum",
            Self::NotCanonical => "not_canonical",
            Self::SmallOrder => "small_order",
            Self::SameAsServer => "same_as_server",
            Self::ZeroSecret => "zero_secret",
            Self::Random => "random",
        }
    }
}

/// The warning for a secret that was put where a public key belongs.
fn leak_warning(found: Kind, expected: Kind) -> &'static str {
    if found.is_secret() && !expected.is_secret() {
        "; a secret key does not belong in this place: if others could read it, make a new one"
    } else {
        ""
    }
}
