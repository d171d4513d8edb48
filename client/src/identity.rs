//! [IO] Key files → the keys that packets to a host are sealed with.

use std::path::{Path, PathBuf};

use spa_keys::file::{AllowedOwner, FileError, read_secret_file, write_secret_file};
use spa_keys::{ClientSecret, KeyError, PreSharedKey, SharedKey};

use crate::config::{Credential, Host};
use crate::packet::PacketBuilder;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// This machine has none yet.
    #[error("this machine has no key yet ({} is missing); `spa key new` makes one", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read or written, or not be trusted.
    #[error(transparent)]
    File(#[from] FileError),
    /// What stands in the file.
    #[error("{}: {error}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: KeyError,
    },
    /// The keys do not go together.
    #[error("{0}")]
    Pair(KeyError),
}

/// Where this machine's key pair stands in the configuration's directory.
#[must_use]
pub fn path_in(directory: &Path) -> PathBuf {
    directory.join("identity")
}

/// Makes this machine's key pair. Never replaces one.
///
/// # Errors
/// A file that is there already, or that cannot be written.
pub fn create(directory: &Path) -> Result<ClientSecret, IdentityError> {
    let secret = ClientSecret::generate().map_err(IdentityError::Pair)?;
    write_secret_file(&path_in(directory), &secret.to_text())?;
    Ok(secret)
}

/// Reads this machine's key pair.
///
/// # Errors
/// A file that is missing, open to others or holds no secret key of a client.
pub fn load(directory: &Path) -> Result<ClientSecret, IdentityError> {
    let path = path_in(directory);
    if matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
    {
        return Err(IdentityError::Missing(path));
    }
    read(&path, ClientSecret::from_text)
}

/// Reads a shared key.
///
/// # Errors
/// As [`load`].
pub fn load_shared(path: &Path) -> Result<SharedKey, IdentityError> {
    read(path, SharedKey::from_text)
}

/// Reads a pre-shared key.
///
/// # Errors
/// As [`load`].
pub fn load_pre_shared(path: &Path) -> Result<PreSharedKey, IdentityError> {
    read(path, PreSharedKey::from_text)
}

/// The keys for a host: only the files that this host needs are read.
///
/// # Errors
/// As [`load`], or keys that do not go together.
pub fn packet_builder(directory: &Path, host: &Host) -> Result<PacketBuilder, IdentityError> {
    match &host.credential {
        Credential::SharedKey { file } => {
            Ok(PacketBuilder::with_shared(&host.key, &load_shared(file)?))
        }
        Credential::Identity {
            pre_shared_key_file,
        } => {
            let identity = load(directory)?;
            let pre_shared = pre_shared_key_file
                .as_deref()
                .map(load_pre_shared)
                .transpose()?;
            PacketBuilder::with_identity(&host.key, &identity, pre_shared.as_ref())
                .map_err(IdentityError::Pair)
        }
    }
}

fn read<K>(path: &Path, parse: fn(&str) -> Result<K, KeyError>) -> Result<K, IdentityError> {
    let text = read_secret_file(path, AllowedOwner::CurrentUser)?;
    parse(&text).map_err(|error| IdentityError::Key {
        path: path.into(),
        error,
    })
}
