//! Whether the daemon would take the keys as well: those that client files speak of
//! are there, and no two clients are one.
//!
//! Reads secrets, shows none.

use std::path::Path;
use std::sync::Arc;

use spa_findings::{Finding, Severity};
use spa_keys::file::{FileError, Owner, Problem, read_secret_file};
use spa_keys::{KeyError, PreSharedKey, ServerSecret, SharedKey, Zeroizing};

use super::owners::Owners;
use crate::clients::{ClientSecrets, Clients};
use crate::config::{ClientConfig, Config};
use crate::daemon::NO_SERVER_KEY;
use crate::paths::Paths;

/// What is wrong with the keys. Nothing, where this machine has no state directory: a
/// server's configuration may be checked elsewhere.
pub(super) fn check(paths: &Paths, config: &Config) -> Vec<Finding> {
    if !paths.state.is_dir() {
        return Vec::new();
    }
    let server = match read(
        &paths.server_key(),
        "the server's key",
        ServerSecret::from_text,
    ) {
        Ok(Some(server)) => server,
        Ok(None) => {
            let finding = Finding::error(&paths.server_key(), "the server's key is missing");
            return vec![finding.help(NO_SERVER_KEY)];
        }
        Err(finding) => return vec![finding],
    };
    let mut found = Vec::new();
    let mut secrets = ClientSecrets::default();
    for client in &config.clients {
        let path = |ending: &str| {
            paths
                .client_keys()
                .join(format!("{}.{ending}", client.name))
        };
        if client.has_shared_key() {
            match of_client(client, &path("shared"), "shared key", SharedKey::from_text) {
                Ok(key) => drop(secrets.shared.insert(client.name.clone(), key)),
                Err(finding) => found.push(finding),
            }
        }
        if client.pre_shared_key {
            match of_client(
                client,
                &path("psk"),
                "pre-shared key",
                PreSharedKey::from_text,
            ) {
                Ok(key) => drop(secrets.pre_shared.insert(client.name.clone(), key)),
                Err(finding) => found.push(finding),
            }
        }
    }
    if found.is_empty() {
        // Nobody's packets are looked up in this one, so its table needs no random seed.
        let built = Clients::build(
            Arc::new(config.clone()),
            vec![Arc::new(server)],
            secrets,
            [0; 8],
        );
        if let Err(error) = built {
            found.push(Finding::error(&paths.clients(), error.to_string()));
        }
    }
    found
}

fn of_client<K>(
    client: &ClientConfig,
    path: &Path,
    kind: &str,
    parse: fn(&str) -> Result<K, KeyError>,
) -> Result<K, Finding> {
    let what = format!("the {kind} of `{}`", client.name);
    let missing = || {
        let name = &client.name;
        let help =
            format!("add the client anew: spad client remove {name}; spad client add {name} …");
        Finding::error(path, format!("{what} is missing")).help(help)
    };
    read(path, &what, parse)?.ok_or_else(missing)
}

/// The key in this file; `None` if there is no such file.
fn read<K>(
    path: &Path,
    what: &str,
    parse: fn(&str) -> Result<K, KeyError>,
) -> Result<Option<K>, Finding> {
    let owner = Owners::find()
        .engine
        .map_or(Owner::Me, |(uid, _)| Owner::Also(uid));
    let text: Zeroizing<String> = match read_secret_file(path, owner) {
        Ok(text) => text,
        Err(FileError {
            problem: Problem::Missing,
            ..
        }) => return Ok(None),
        Err(FileError {
            problem: Problem::System(error),
            ..
        }) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let finding =
                Finding::error(path, format!("{what} may not be read and was not checked"));
            return Err(finding.help("run this as root").with(Severity::Warning));
        }
        // These texts hold their mend.
        Err(error) => return Err(Finding::error(path, format!("{what}: {}", error.problem))),
    };
    let key = parse(&text).map_err(|error| Finding::error(path, format!("{what}: {error}")))?;
    Ok(Some(key))
}
