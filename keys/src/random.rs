//! [IO] Random bytes from the operating system, and keys made of them.
//! docs/protocol.md §3.1.

use zeroize::Zeroizing;

use crate::{ClientSecret, KeyError, PreSharedKey, ServerSecret, SharedKey};

/// `N` bytes from the operating system's random source.
///
/// # Errors
/// [`KeyError::Random`] when it has none to give.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

macro_rules! generate {
    ($($key:ident)*) => {$(
        impl $key {
            /// A new key from the operating system's random source.
            ///
            /// # Errors
            /// [`KeyError::Random`] when it has none to give.
            pub fn generate() -> Result<Self, KeyError> {
                let bytes = Zeroizing::new(random_bytes::<32>()?);
                Ok(Self::from_bytes(*bytes))
            }
        }
    )*};
}

generate!(ServerSecret ClientSecret SharedKey PreSharedKey);
