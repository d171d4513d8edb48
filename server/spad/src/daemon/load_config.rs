//! [IO] Reads the configuration and the keys that it calls for.
//!
//! At a reload a thread of its own does it, because a hundred thousand clients take a second.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use spa_keys::file::{AllowedOwner, FileError, FileProblem, read_secret_file};
use spa_keys::{KeyError, PreSharedKey, ServerSecret, SharedKey, random_bytes};
use spad_config::{Config, ConfigReaders};
use spad_engine::clients::{ClientSecrets, Clients, ClientsError};
use spad_model::{ClientName, Paths};
use spad_sys::clock;
use tracing::error;

use super::reload::Candidate;
use super::reply::Reply;
use super::tasks::{EngineTask, TaskSender};

/// What to do if the server's key is missing: it may be lost, or `spad init` was never run.
pub(crate) const MISSING_SERVER_KEY_HELP: &str = "restore server.key from the backup; or `spad init` makes a new one, which every client must then be given";

/// A configuration with its keys, ready for use.
#[derive(Debug)]
pub(super) struct LoadedConfig {
    pub(super) clients: Clients,
    /// Warnings for the administrator who reloads.
    pub(super) warnings: String,
}

/// Why the keys do not fit the configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadKeysError {
    /// A key file.
    #[error("{0}{help}", help = help(.0))]
    File(#[from] FileError),
    /// `spad init` was not run, or the key was lost.
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
        /// The file.
        path: PathBuf,
        /// What is wrong. It never contains a part of the key.
        problem: KeyError,
    },
    /// The system has no randomness.
    #[error(transparent)]
    Random(KeyError),
    /// Two clients with one key id, or a key that cannot be used.
    #[error(transparent)]
    Clients(#[from] ClientsError),
}

/// Reads the configuration on a thread of its own and sends it to the engine's thread.
pub(super) fn start_reload(paths: Paths, readers: ConfigReaders, tasks: TaskSender, reply: Reply) {
    // The thread receives the reply once it runs, so a thread that does not start takes none.
    let (sender, receiver) = std::sync::mpsc::channel();
    let work = {
        let tasks = tasks.clone();
        move || {
            if let Ok(reply) = receiver.recv() {
                reload(&paths, &readers, &tasks, reply);
            }
        }
    };
    let thread = std::thread::Builder::new().name("reload".to_owned());
    match thread.spawn(work) {
        Ok(_thread) => drop(sender.send(reply)),
        Err(error) => {
            let why = format!(
                "cannot read the configuration beside the work: {error}\n  help: see how many tasks the unit may have (`systemctl show -p TasksMax spad`)"
            );
            refuse(&tasks, reply, &why);
        }
    }
}

fn reload(paths: &Paths, readers: &ConfigReaders, tasks: &TaskSender, reply: Reply) {
    let started = clock::now();
    let loaded = spad_config::load(&paths.config, started.wall)
        .map_err(|findings| readers.explain(&paths.config, &findings).to_string())
        .and_then(|loaded| {
            let clients = load_keys(paths, Arc::new(loaded.config), AllowedOwner::CurrentUser)
                .map_err(|error| error.to_string())?;
            let warnings = loaded.warnings.to_string();
            Ok(Box::new(LoadedConfig { clients, warnings }))
        });
    match loaded {
        Ok(config) => tasks.send(EngineTask::ApplyConfig(Candidate {
            config,
            read_at: started.boot,
            reply,
        })),
        Err(why) => refuse(tasks, reply, &why),
    }
}

fn refuse(tasks: &TaskSender, reply: Reply, why: &str) {
    error!("the new configuration is refused, the running one stays\n{why}");
    tasks.send(EngineTask::ReloadFailed);
    reply.fail(format!("the running configuration stays\n{why}"));
}

/// Reads every key that the configuration calls for and builds the clients' table. `owner` is
/// who may own the key files besides this user and root.
///
/// # Errors
/// A key file is missing, open to others or invalid, or two clients have the same key.
pub(crate) fn load_keys(
    paths: &Paths,
    config: Arc<Config>,
    owner: AllowedOwner,
) -> Result<Clients, LoadKeysError> {
    let server = read_key(&paths.server_key(), owner, ServerSecret::from_text)
        .map_err(map_missing(LoadKeysError::MissingServerKey))?;
    let mut secrets = ClientSecrets::default();
    for client in &config.clients {
        let file = |kind: &str| {
            paths
                .client_keys_dir()
                .join(format!("{}.{kind}", client.name))
        };
        let missing = |file| LoadKeysError::MissingClientKey(file, client.name.clone());
        if client.has_shared_key() {
            let shared = read_key(&file("shared"), owner, SharedKey::from_text)
                .map_err(map_missing(missing))?;
            secrets.shared.insert(client.name.clone(), shared);
        }
        if client.pre_shared_key {
            let psk = read_key(&file("psk"), owner, PreSharedKey::from_text)
                .map_err(map_missing(missing))?;
            secrets.pre_shared.insert(client.name.clone(), psk);
        }
    }
    let seed = random_bytes().map_err(LoadKeysError::Random)?;
    Ok(Clients::build(
        config,
        vec![Arc::new(server)],
        secrets,
        seed,
    )?)
}

/// Advice that the file's error does not contain.
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

/// Replaces the error of a file that does not exist.
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
