//! [IO] From a checked configuration to what the engine judges by: the keys are
//! read from the state directory, and the clients' table is built.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use spa_keys::file::{FileError, Owner, Problem, read_secret_file};
use spa_keys::{KeyError, PreSharedKey, ServerSecret, SharedKey, random_bytes};

use crate::clients::{ClientSecrets, Clients, ClientsError};
use crate::clock::BootTime;
use crate::config::{ClientName, Config};
use crate::paths::Paths;

/// What to do where the server's key is missing: it may be lost, or never have been made.
pub(crate) const NO_SERVER_KEY: &str = "restore server.key from the backup; or `spad init` makes a new one, which every client must then be given";

/// A configuration that is ready to be used.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) config: Arc<Config>,
    pub(crate) clients: Clients,
    /// What to tell whoever asked for it.
    pub(super) warnings: String,
    /// When the files began to be read: what was ordered since may not be in them.
    pub(super) read: BootTime,
}

/// Why the keys do not fit the configuration.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A key file.
    #[error("{0}{help}", help = help(.0))]
    File(#[from] FileError),
    /// There was no `spad init`, or the key was lost.
    #[error("{0}\n  help: {help}", help = NO_SERVER_KEY)]
    NoServerKey(FileError),
    /// A client's shared or pre-shared key was lost.
    #[error(
        "a key of `{1}` is missing: {0}\n  help: add the client anew: spad client remove {1}; spad client add {1} …"
    )]
    NoClientKey(FileError, ClientName),
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
pub(crate) fn prepare(
    paths: &Paths,
    config: Arc<Config>,
    owner: Owner,
    warnings: String,
    read: BootTime,
) -> Result<Prepared, PrepareError> {
    let server = read_key(&paths.server_key(), owner, ServerSecret::from_text);
    let server = server.map_err(where_missing(PrepareError::NoServerKey))?;
    let mut secrets = ClientSecrets::default();
    for client in &config.clients {
        let file = |kind: &str| {
            paths
                .client_keys_dir()
                .join(format!("{}.{kind}", client.name))
        };
        let lost = |file| PrepareError::NoClientKey(file, client.name.clone());
        if client.has_shared_key() {
            let shared = read_key(&file("shared"), owner, SharedKey::from_text);
            let shared = shared.map_err(where_missing(lost))?;
            secrets.shared.insert(client.name.clone(), shared);
        }
        if client.pre_shared_key {
            let psk = read_key(&file("psk"), owner, PreSharedKey::from_text);
            let psk = psk.map_err(where_missing(lost))?;
            secrets.pre_shared.insert(client.name.clone(), psk);
        }
    }
    let seed = random_bytes().map_err(PrepareError::Random)?;
    let clients = Clients::build(Arc::clone(&config), vec![Arc::new(server)], secrets, seed)?;
    Ok(Prepared {
        config,
        clients,
        warnings,
        read,
    })
}

/// What the file itself cannot tell.
fn help(error: &FileError) -> &'static str {
    match &error.problem {
        Problem::System(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            "\n  help: run `spad check` as root: it says how to let the daemon read this, which is not root any more"
        }
        Problem::System(_) => {
            "\n  help: check the disk, and what limits the unit has (`systemctl show spad`)"
        }
        _ => "",
    }
}

/// Says it so where there is no such file.
fn where_missing(
    missing: impl Fn(FileError) -> PrepareError,
) -> impl Fn(PrepareError) -> PrepareError {
    move |error| match error {
        PrepareError::File(file) if matches!(file.problem, Problem::Missing) => missing(file),
        error => error,
    }
}

fn read_key<Key>(
    path: &Path,
    owner: Owner,
    parse: impl Fn(&str) -> Result<Key, KeyError>,
) -> Result<Key, PrepareError> {
    let text = read_secret_file(path, owner)?;
    parse(&text).map_err(|problem| PrepareError::Key {
        path: path.to_owned(),
        problem,
    })
}
