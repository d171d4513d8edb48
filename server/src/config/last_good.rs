//! [IO] The last configuration that loaded, kept for a start with a broken one.
//!
//! One file in the firewall writer's directory, which the engine cannot write:
//! a taken engine must not choose what the next start believes. A client whose
//! file was removed since, or says now that it is disabled, is not brought back. docs/operating.md, "A broken
//! configuration".

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spa_findings::{Findings, Source};
use spa_proto::Timestamp;

use super::{Files, Loaded, Occasion, check};
use crate::paths::Paths;

/// Longer client files do not load, in bytes.
const LONGEST: u64 = 1 << 16;

/// The texts as they were.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    server: String,
    clients: BTreeMap<String, String>,
}

/// What a start uses.
#[derive(Clone, Debug)]
pub struct Usable {
    /// The configuration.
    pub loaded: Loaded,
    /// Its texts, to be kept once it is in use.
    pub files: Files,
    /// What is wrong with the files as they are now, if the last good ones are used instead.
    pub instead_of: Option<Findings>,
}

/// The configuration for a start: the files as they are, or else the last good ones.
///
/// # Errors
/// What is wrong with the files, where there are no last good ones either.
pub fn load_or_last_good(paths: &Paths, now: Timestamp) -> Result<Usable, Findings> {
    let files = Files::read(&paths.config);
    let findings = match check(&files, Occasion::Start, now) {
        Ok(loaded) => {
            return Ok(Usable {
                loaded,
                files,
                instead_of: None,
            });
        }
        Err(findings) => findings,
    };
    let Some(files) = read(paths) else {
        return Err(findings);
    };
    match check(&files, Occasion::Start, now) {
        Ok(loaded) => Ok(Usable {
            loaded,
            files,
            instead_of: Some(findings),
        }),
        Err(_) => Err(findings),
    }
}

/// Keeps these texts as the last good ones.
///
/// # Errors
/// What the file system says; the former ones are kept then.
pub fn keep(paths: &Paths, files: &Files) -> std::io::Result<()> {
    keep_in(&paths.guard_state(), files)
}

/// The same, for the writer: it works in its directory, and the one above is closed to it.
///
/// # Errors
/// As [`keep`].
pub fn keep_in(directory: &Path, files: &Files) -> std::io::Result<()> {
    let Some(server) = &files.server else {
        return Ok(());
    };
    let kept = Kept {
        server: server.text().to_owned(),
        clients: files
            .clients
            .iter()
            .map(|(name, source)| (name.to_string(), source.text().to_owned()))
            .collect(),
    };
    let path = directory.join(NAME);
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&serde_json::to_vec(&kept)?)?;
    file.sync_all()?;
    std::fs::rename(&new, &path)
}

const NAME: &str = "last-good.json";

fn place(paths: &Paths) -> PathBuf {
    paths.guard_state().join(NAME)
}

/// The last good texts, less the clients whose files are gone now or disable them.
fn read(paths: &Paths) -> Option<Files> {
    let text = std::fs::read(place(paths)).ok()?;
    let kept: Kept = serde_json::from_slice(&text).ok()?;
    let mut files = Files::none(&paths.config);
    files.server = Some(Source::new(&paths.configuration(), kept.server));
    for (name, text) in kept.clients {
        let name = name.parse().ok()?;
        let path = files.client_path(&name);
        if is_still_there(&path) && !is_disabled(&path) {
            files.put_client(name, text);
        }
    }
    Some(files)
}

/// In doubt the client is not brought back.
fn is_still_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Whether the file as it is now says so, whoever may have written it. A file that
/// cannot be understood says nothing: then the last good one stands in for it.
fn is_disabled(path: &Path) -> bool {
    // Opening a pipe would wait.
    if !path.is_file() {
        return false;
    }
    let Ok(file) = std::fs::File::open(path) else {
        return false;
    };
    let mut text = String::new();
    let read = file.take(LONGEST).read_to_string(&mut text);
    read.is_ok() && super::edit::is_enabled(&text) == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "hide = []\n[services]\nssh = \"tcp/22\"\n[listen]\nport = 62201\n";

    fn world() -> (tempfile::TempDir, Paths) {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths {
            config: directory.path().join("etc"),
            state: directory.path().join("state"),
            run: directory.path().join("run"),
        };
        std::fs::create_dir_all(paths.clients()).unwrap();
        std::fs::create_dir_all(paths.guard_state()).unwrap();
        std::fs::write(paths.configuration(), SERVER).unwrap();
        (directory, paths)
    }

    #[test]
    fn a_broken_configuration_is_replaced_by_the_last_good_one_and_said_to_be() {
        let (_directory, paths) = world();
        let now = Timestamp::from_micros(0);
        let first = load_or_last_good(&paths, now).unwrap();
        assert!(first.instead_of.is_none());
        keep(&paths, &first.files).unwrap();
        std::fs::write(paths.configuration(), "hide = [").unwrap();
        let second = load_or_last_good(&paths, now).unwrap();
        assert!(second.instead_of.is_some());
        assert_eq!(second.loaded.config, first.loaded.config);
    }

    #[test]
    fn a_client_removed_since_is_not_brought_back() {
        let (_directory, paths) = world();
        let now = Timestamp::from_micros(0);
        let client = paths.clients().join("alice.toml");
        std::fs::write(&client, "shared_key = true\nallow = [\"ssh\"]\n").unwrap();
        let first = load_or_last_good(&paths, now).unwrap();
        assert_eq!(first.loaded.config.clients.len(), 1);
        keep(&paths, &first.files).unwrap();
        std::fs::remove_file(&client).unwrap();
        std::fs::write(paths.configuration(), "hide = [").unwrap();
        let second = load_or_last_good(&paths, now).unwrap();
        assert_eq!(second.loaded.config.clients.len(), 0);
    }

    #[test]
    fn a_client_disabled_since_is_not_brought_back() {
        let (_directory, paths) = world();
        let now = Timestamp::from_micros(0);
        let client = paths.clients().join("alice.toml");
        let text = "shared_key = true\nallow = [\"ssh\"]\n";
        std::fs::write(&client, text).unwrap();
        let first = load_or_last_good(&paths, now).unwrap();
        keep(&paths, &first.files).unwrap();
        std::fs::write(paths.configuration(), "hide = [").unwrap();
        let second = load_or_last_good(&paths, now).unwrap();
        assert_eq!(second.loaded.config.clients.len(), 1);
        std::fs::write(&client, format!("enabled = false\n{text}")).unwrap();
        let third = load_or_last_good(&paths, now).unwrap();
        assert_eq!(third.loaded.config.clients.len(), 0);
    }

    #[test]
    fn without_a_last_good_one_a_broken_configuration_is_refused() {
        let (_directory, paths) = world();
        std::fs::write(paths.configuration(), "hide = [").unwrap();
        assert!(load_or_last_good(&paths, Timestamp::from_micros(0)).is_err());
    }
}
