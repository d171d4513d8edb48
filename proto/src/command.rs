//! The name of a command that the server's configuration declares.
//! docs/protocol.md §6.6. Pure.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::RequestError;
use crate::limits::MAX_COMMAND;

/// A name `[a-z0-9][a-z0-9_-]*` of at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandName(String);

/// A text that is no name of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error(
    "a command's name has 1 to {MAX_COMMAND} characters a-z, 0-9, `_` and `-`, and begins with a letter or digit"
)]
pub struct ParseCommandNameError;

impl CommandName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a name from a request; `None` where it is empty.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>, RequestError> {
        match bytes {
            [] => Ok(None),
            bytes if is_name(bytes) => {
                let name = str::from_utf8(bytes).map_err(|_| RequestError::MalformedCommand)?;
                Ok(Some(Self(name.into())))
            }
            _ => Err(RequestError::MalformedCommand),
        }
    }
}

/// Whether `bytes`, of any length above 0, are `[a-z0-9][a-z0-9_-]*`.
fn is_name(bytes: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.first().is_some_and(plain)
        && bytes
            .iter()
            .all(|byte| plain(byte) || matches!(byte, b'_' | b'-'))
}

impl FromStr for CommandName {
    type Err = ParseCommandNameError;

    fn from_str(name: &str) -> Result<Self, ParseCommandNameError> {
        if name.len() <= MAX_COMMAND && is_name(name.as_bytes()) {
            Ok(Self(name.into()))
        } else {
            Err(ParseCommandNameError)
        }
    }
}

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
