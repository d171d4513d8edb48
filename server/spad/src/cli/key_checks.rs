//! Whether the daemon would take the keys as well: those that client files speak of
//! are there, and no two clients are one.
//!
//! Reads secrets, shows none.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use spa_findings::{Finding, Severity, redact};
use spa_keys::file::{AllowedOwner, FileError, FileProblem, read_secret_file};
use spa_keys::{KeyError, PreSharedKey, ServerSecret, SharedKey, Zeroizing};
use spad_config::{ClientConfig, Config, has_access_list};
use spad_engine::clients::{ClientSecrets, Clients};
use spad_model::Paths;

use super::ownership::Owners;
use crate::daemon::MISSING_SERVER_KEY_HELP;

/// What is wrong with the keys. Nothing, where this machine has no state directory: a
/// server's configuration may be checked elsewhere.
pub(super) fn check(paths: &Paths, config: &Config) -> Vec<Finding> {
    if !paths.state.is_dir() {
        return Vec::new();
    }
    let owners = Owners::find();
    // What root may read can be checked nevertheless.
    let mut unreadable = unreadable_directories(paths, owners);
    let mut found = Vec::new();
    let server = match read(
        &paths.server_key(),
        "the server's key",
        ServerSecret::from_text,
    ) {
        Ok(Some(server)) => server,
        Ok(None) => {
            let finding = Finding::error(&paths.server_key(), "the server's key is missing");
            unreadable.push(finding.help(MISSING_SERVER_KEY_HELP));
            return unreadable;
        }
        Err(finding) => {
            unreadable.push(finding);
            return unreadable;
        }
    };
    unreadable.extend(unreadable_file(&paths.server_key(), owners));
    let mut secrets = ClientSecrets::default();
    for client in &config.clients {
        let path = |ending: &str| {
            paths
                .client_keys_dir()
                .join(format!("{}.{ending}", client.name))
        };
        if client.has_shared_key() {
            unreadable.extend(unreadable_file(&path("shared"), owners));
            match read_client_key(client, &path("shared"), "shared key", SharedKey::from_text) {
                Ok(key) => drop(secrets.shared.insert(client.name.clone(), key)),
                Err(finding) => found.push(finding),
            }
        }
        if client.pre_shared_key {
            unreadable.extend(unreadable_file(&path("psk"), owners));
            match read_client_key(
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
            found.push(Finding::error(&paths.clients_dir(), error.to_string()));
        }
    }
    unreadable.append(&mut found);
    unreadable
}

fn read_client_key<K>(
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

/// The directories of keys that the engine may not look into.
pub(super) fn unreadable_directories(paths: &Paths, owners: Owners) -> Vec<Finding> {
    let directories = [&paths.state, &paths.client_keys_dir()];
    let unreadable = directories.map(|directory| unreadable_directory(directory, owners));
    unreadable.into_iter().flatten().collect()
}

/// A directory of keys that the engine may not look into, when it is not root any more.
fn unreadable_directory(path: &Path, owners: Owners) -> Option<Finding> {
    let (uid, gid) = owners.engine?;
    let status = std::fs::metadata(path).ok()?;
    let shift = match () {
        () if status.uid() == uid => 6,
        () if status.gid() == gid => 3,
        () => 0,
    };
    if !status.is_dir() || (status.mode() >> shift) & 0o5 == 0o5 || has_access_list(path) {
        return None;
    }
    let shown = redact::line(&path.display().to_string(), false);
    let help = format!("chgrp {gid} {shown} && chmod g+rx {shown}");
    Some(unreadable(path, &status, uid).help(help))
}

/// A key file that root may read and the engine may not, which reads it at a reload.
fn unreadable_file(path: &Path, owners: Owners) -> Option<Finding> {
    let (uid, gid) = owners.engine?;
    let status = std::fs::symlink_metadata(path).ok()?;
    if status.uid() == uid && status.mode() & 0o400 != 0 {
        return None;
    }
    let shown = redact::line(&path.display().to_string(), false);
    let help = format!("chown {uid}:{gid} {shown} && chmod 600 {shown}");
    Some(unreadable(path, &status, uid).help(help))
}

fn unreadable(path: &Path, status: &Metadata, engine: u32) -> Finding {
    let (owner, group, mode) = (status.uid(), status.gid(), status.mode() & 0o7777);
    let message = format!(
        "mode {mode:04o}, owner {owner} and group {group} let the daemon's user {engine} not read this"
    );
    let finding = Finding::error(path, message);
    finding.note("the daemon is not root any more when it reloads")
}

/// The key in this file; `None` if there is no such file.
fn read<K>(
    path: &Path,
    what: &str,
    parse: fn(&str) -> Result<K, KeyError>,
) -> Result<Option<K>, Finding> {
    let owner = Owners::find()
        .engine
        .map_or(AllowedOwner::CurrentUser, |(uid, _)| {
            AllowedOwner::CurrentUserOr(uid)
        });
    let text: Zeroizing<String> = match read_secret_file(path, owner) {
        Ok(text) => text,
        Err(FileError {
            problem: FileProblem::Missing,
            ..
        }) => return Ok(None),
        Err(FileError {
            problem: FileProblem::Io(error),
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
