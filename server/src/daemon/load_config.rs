//! [IO] From a checked configuration to what the engine judges by: the keys are
//! read from the state directory, and the clients' table is built.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use spa_keys::file::{AllowedOwner, FileError, FileProblem, read_secret_file};
use spa_keys::{KeyError, PreSharedKey, ServerSecret, SharedKey, random_bytes};

use crate::clients::{ClientSecrets, Clients, ClientsError};
use crate::clock::BootTime;
use crate::config::{ClientName, Config};
use crate::paths::Paths;

/// What to do where the server's key is missing: it may be lost, or never have been made.
pub(crate) const MISSING_SERVER_KEY_HELP: &str = "restore server.key from the backup; or `spad init` makes a new one, which every client must then be given";

/// A configuration that is ready to be used.
#[derive(Debug)]
pub(crate) struct LoadedConfig {
    pub(super) config: Arc<Config>,
    pub(crate) clients: Clients,
    /// What to tell whoever asked for it.
    pub(super) warnings: String,
    /// When the files began to be read: what was ordered since may not be in them.
    pub(super) read_at: BootTime,
}

/// Why the keys do not fit the configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadKeysError {
    /// A key file.
    #[error("{0}{help}", help = help(.0))]
    File(#[from] FileError),
    /// There was no `spad init`, or the key was lost.
    #[error("{0}\n  help: {help}", help = MISSING_SERVER_KEY_HELP)]
    MissingServerKey(FileError),
    /// A client's shared or pre-shared key was lost.
    #[error(
        "a key of `{1}` is missing: {0}\n  help: add the client anew: spad client remove {1}; spad client add {1} …"
    )]
    MissingClientKey(FileError, ClientName),
    /// A key file's text.
    #[error("{path}: {problem}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong; never any part of the key.
        problem: KeyError,
    },
    /// The system has no randomness.
    #[error(transparent)]
    Random(KeyError),
    /// Two clients with one key id, or a key that cannot be used.
    #[error(transparent)]
    Clients(#[from] ClientsError),
}

/// Reads every key that the configuration calls for and builds the clients'
/// table. `owner` is who may own the key files besides this user and root; `read` is
/// when the files began to be read.
///
/// # Errors
/// A key file that is missing, open to others or no key; two clients with one key.
pub(crate) fn load_keys(
    paths: &Paths,
    config: Arc<Config>,
    owner: AllowedOwner,
    warnings: String,
    read_at: BootTime,
) -> Result<LoadedConfig, LoadKeysError> {
    let server = read_key(&paths.server_key(), owner, ServerSecret::from_text);
    let server = server.map_err(map_missing(LoadKeysError::MissingServerKey))?;
    let mut secrets = ClientSecrets::default();
    for client in &config.clients {
        let file = |kind: &str| {
            paths
                .client_keys_dir()
                .join(format!("{}.{kind}", client.name))
        };
        let missing = |file| LoadKeysError::MissingClientKey(file, client.name.clone());
        if client.has_shared_key() {
            let shared = read_key(&file("shared"), owner, SharedKey::from_text);
            let shared = shared.map_err(map_missing(missing))?;
            secrets.shared.insert(client.name.clone(), shared);
        }
        if client.pre_shared_key {
            let psk = read_key(&file("psk"), owner, PreSharedKey::from_text);
            let psk = psk.map_err(map_missing(missing))?;
            secrets.pre_shared.insert(client.name.clone(), psk);
        }
    }
    let seed = random_bytes().map_err(LoadKeysError::Random)?;
    let clients = Clients::build(Arc::clone(&config), vec![Arc::new(server)], secrets, seed)?;
    Ok(LoadedConfig {
        config,
        clients,
        warnings,
        read_at,
    })
}

/// What the file itself cannot tell.
fn help(error: &FileError) -> &'static str {
    match &error.problem {
        FileProblem::Io(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            "\n  help: run `spad check` as root: it says how to let the daemon read this, which is not root any more"
        }
        FileProblem::Io(_) => {
            "\n  help: check the disk, and what limits the unit has (`systemctl show spad`)"
        }
        _ => "",
    }
}

/// Says it so where there is no such file.
fn map_missing(
    missing: impl Fn(FileError) -> LoadKeysError,
) -> impl Fn(LoadKeysError) -> LoadKeysError {
    move |error| match error {
        LoadKeysError::File(file) if matches!(file.problem, FileProblem::Missing) => missing(file),
        error => error,
    }
}

fn read_key<Key>(
    path: &Path,
    owner: AllowedOwner,
    parse: impl Fn(&str) -> Result<Key, KeyError>,
) -> Result<Key, LoadKeysError> {
    let text = read_secret_file(path, owner)?;
    parse(&text).map_err(|problem| LoadKeysError::Key {
        path: path.to_owned(),
        problem,
    })
}
