//! Names of services and clients: `[a-z0-9][a-z0-9_-]{0,63}`.
//!
//! A client's name is also the name of its files, hence the strict alphabet.
//! Names are shared, not copied, because many clients name few services.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Maximum length of a name, in bytes.
pub const MAX_NAME: usize = 64;

/// Why a text is not a name. Contains no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("the name is empty")]
    Empty,
    /// More than [`MAX_NAME`] bytes.
    #[error("the name is longer than 64 characters")]
    TooLong,
    /// The first character is neither a letter nor a digit.
    #[error("a name begins with one of a-z and 0-9")]
    Start,
    /// A character outside the alphabet.
    #[error("a name consists of a-z, 0-9, `_` and `-`")]
    Character,
}

fn check(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.len() > MAX_NAME {
        Err(NameError::TooLong)
    } else if !text.chars().all(|c| letter(c) || c == '_' || c == '-') {
        Err(NameError::Character)
    } else if !letter(first) {
        Err(NameError::Start)
    } else {
        Ok(())
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        /// Formats as `Display` does, which keeps log lines short.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl $name {
            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text).map(|()| Self(Arc::from(text)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The name of a service in `[services]`.
    ServiceName
}

name! {
    /// The name of a client: that of its file in `clients.d/`, without `.toml`.
    ClientName
}

name! {
    /// The name of a door of `[[knock]]`.
    DoorName
}

/// The id of a door in the journal, derived from its name, hence the same after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DoorId([u8; 8]);

impl DoorId {
    /// The FNV-1a hash of the name. The name is no secret, and only the administrator
    /// chooses it.
    #[must_use]
    pub fn for_name(name: &DoorName) -> Self {
        let bytes = name.as_str().bytes();
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash.to_be_bytes())
    }

    /// The id as the journal's bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Reads an id from the journal's bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doors_id_stays_what_it_was() {
        let name: DoorName = "foobar".parse().unwrap();
        let known = 0x8594_4171_f739_67e8_u64;
        assert_eq!(DoorId::for_name(&name).to_bytes(), known.to_be_bytes());
    }

    #[test]
    fn a_name_that_could_leave_its_directory_is_no_name() {
        for text in [
            "", "..", ".a", "a/b", "A", "a b", "-a", "_a", "a.b", "é", "a\0", "a\n",
        ] {
            assert!(text.parse::<ClientName>().is_err(), "{text:?}");
        }
        assert!("a".repeat(65).parse::<ClientName>().is_err());
        for text in ["a", "0", "a-b_c9"] {
            assert_eq!(text.parse::<ClientName>().unwrap().as_str(), text);
        }
    }
}
