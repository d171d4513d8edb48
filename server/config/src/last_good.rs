//! [IO] The last configuration that loaded, kept for a start with a broken one.
//!
//! One file in the firewall writer's directory, which the engine cannot write:
//! a taken engine must not choose what the next start believes. A client whose
//! file was removed since, or says now that it is disabled, is not brought back. docs/operating.md,
//! "Fix a broken configuration".

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Deserialize;
use spa_findings::{Finding, Findings, Source};
use spa_proto::{Service, Timestamp};
use spad_model::{ClientName, Paths, check_line};

use super::builder::ConfigBuilder;
use super::one_time::SequenceReader;
use super::{Config, Loaded, client_path, files};

/// Longer client files do not load, in bytes.
const MAX_CLIENT_FILE: u64 = 1 << 16;

/// The texts as they were.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedConfig {
    server: String,
    clients: BTreeMap<String, String>,
}

/// What a start uses.
#[derive(Clone, Debug)]
pub struct StartConfig {
    /// The configuration.
    pub loaded: Loaded,
    /// What is wrong with the files as they are now, if the last good ones are used instead.
    pub file_errors: Option<Findings>,
}

/// The texts of a configuration, gathered in the form in which they are kept: a hundred
/// thousand files take one allocation.
#[derive(Clone, Debug, Default)]
pub struct ConfigTexts {
    json: Vec<u8>,
    clients: usize,
}

impl ConfigTexts {
    fn server(&mut self, source: &Source) {
        self.json.extend_from_slice(b"{\"server\":");
        self.text(source.text());
        self.json.extend_from_slice(b",\"clients\":{");
    }

    fn client(&mut self, name: &ClientName, source: &Source) {
        if self.clients > 0 {
            self.json.push(b',');
        }
        self.clients = self.clients.saturating_add(1);
        self.text(name.as_str());
        self.json.push(b':');
        self.text(source.text());
    }

    /// Whether `spad.toml` still holds what it held then.
    #[must_use]
    pub fn is_current(&self, config_directory: &Path) -> bool {
        let mut now = Self::default();
        match files::server(config_directory) {
            Ok(Ok(source)) => now.server(&source),
            Ok(Err(_)) | Err(_) => return false,
        }
        self.json.starts_with(&now.json)
    }

    fn text(&mut self, text: &str) {
        // Neither a text nor a vector refuses.
        let _ = serde_json::to_writer(&mut self.json, text);
    }

    /// Keeps these texts, of a configuration that loaded, as the last good ones. For the
    /// writer, which works in its directory: the one above is closed to it.
    ///
    /// # Errors
    /// What the file system says; the former ones are kept then.
    pub fn save(&self, directory: &Path) -> std::io::Result<()> {
        let path = directory.join(FILE_NAME);
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
        file.write_all(&self.json)?;
        file.write_all(JSON_END)?;
        file.write_all(check_line::compute(&[&self.json, JSON_END]).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        std::fs::File::open(directory)?.sync_all()
    }
}

/// The configuration for a start: the files as they are, or else the last good ones.
///
/// # Errors
/// What is wrong with the files, where there are no last good ones either.
pub fn load_or_last_good(paths: &Paths, now: Timestamp) -> Result<StartConfig, Findings> {
    match super::load(&paths.config, now) {
        Ok(loaded) => Ok(StartConfig {
            loaded,
            file_errors: None,
        }),
        Err(findings) => last_good(paths, now, findings),
    }
}

/// The same for who needs no clients, and keeps the texts of what loaded. The clients
/// are checked, and not in the configuration.
///
/// # Errors
/// As [`load_or_last_good`].
pub fn for_firewall(paths: &Paths, now: Timestamp) -> Result<(StartConfig, ConfigTexts), Findings> {
    match load_texts(&paths.config, now) {
        Ok((loaded, texts)) => Ok((
            StartConfig {
                loaded,
                file_errors: None,
            },
            texts,
        )),
        Err(findings) => {
            let mut usable = last_good(paths, now, findings)
                .or_else(|findings| from_server_file(paths, now, findings))?;
            usable.loaded.config.clients = Vec::new();
            Ok((usable, ConfigTexts::default()))
        }
    }
}

/// What is to be hidden, from the fewest files: from `spad.toml` alone, whatever clients' files
/// and files of sequences say; from the last good one where that cannot be used. None where
/// there is neither.
pub fn for_hiding(paths: &Paths, now: Timestamp) -> Option<Config> {
    let last_good = || last_good(paths, now, Findings::default()).ok();
    let loaded = load_server_file(paths, now).or_else(|| Some(last_good()?.loaded));
    loaded.map(|loaded| loaded.config)
}

/// What `spad.toml` says by itself, where it can be read and has no fault.
fn load_server_file(paths: &Paths, now: Timestamp) -> Option<Loaded> {
    let server = files::server(&paths.config).ok()?.ok()?;
    let builder = ConfigBuilder::new(Some(&server), &|_| Ok(String::new()), now);
    let end = builder.finish(&paths.config, Findings::default());
    let (config, warnings) = end.ok()?;
    Some(Loaded { config, warnings })
}

/// What `spad.toml` alone says, where the faults are those of other files: what is hidden
/// stands there.
fn from_server_file(
    paths: &Paths,
    now: Timestamp,
    findings: Findings,
) -> Result<StartConfig, Findings> {
    match load_server_file(paths, now) {
        Some(loaded) => Ok(StartConfig {
            loaded,
            file_errors: Some(findings),
        }),
        None => Err(findings),
    }
}

/// The configuration as it is now, without its clients, and all its texts.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn load_texts(directory: &Path, now: Timestamp) -> Result<(Loaded, ConfigTexts), Findings> {
    let texts = std::cell::RefCell::new(ConfigTexts::default());
    let (config, warnings) = super::read(
        directory,
        None,
        now,
        |source| texts.borrow_mut().server(source),
        |name, source, _| texts.borrow_mut().client(name, source),
    )?;
    Ok((Loaded { config, warnings }, texts.into_inner()))
}

/// What is used instead of files that have these faults.
fn last_good(paths: &Paths, now: Timestamp, findings: Findings) -> Result<StartConfig, Findings> {
    let path = paths.guard_state().join(FILE_NAME);
    match std::fs::read(&path) {
        Ok(bytes) => match check_line::verify(&bytes).map(|text| load_saved(paths, now, text)) {
            Some(Some(loaded)) => Ok(StartConfig {
                loaded,
                file_errors: Some(findings),
            }),
            Some(None) => Err(findings),
            None => {
                let mut findings = findings;
                findings.push(Finding::error(
                    &path,
                    "the last good configuration is damaged",
                ));
                Err(findings)
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(findings),
        // Somebody may count on it.
        Err(error) => {
            let message = format!("the last good configuration cannot be read: {error}");
            let mut findings = findings;
            findings.push(Finding::error(&path, message));
            Err(findings)
        }
    }
}

const FILE_NAME: &str = "last-good.json";

/// What ends the texts' JSON.
const JSON_END: &[u8] = b"}}\n";

/// The ports that the configuration kept in `directory` hides; none where there is none.
/// `None`: it cannot be read, or is damaged.
#[must_use]
pub fn saved_hidden_ports(directory: &Path, now: Timestamp) -> Option<BTreeSet<Service>> {
    let bytes = match std::fs::read(directory.join(FILE_NAME)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Some(BTreeSet::new());
        }
        bytes => bytes.ok()?,
    };
    let saved: SavedConfig = serde_json::from_slice(check_line::verify(&bytes)?).ok()?;
    let server = Source::new(Path::new(FILE_NAME), saved.server);
    let builder = ConfigBuilder::new(Some(&server), &|_| Ok(String::new()), now);
    let (config, _) = builder.finish(directory, Findings::default()).ok()?;
    Some(config.hidden_ports())
}

/// The last good texts, less the clients whose files are gone now or disable them.
fn load_saved(paths: &Paths, now: Timestamp, text: &[u8]) -> Option<Loaded> {
    let saved: SavedConfig = serde_json::from_slice(text).ok()?;
    let server = Source::new(&paths.config_file(), saved.server);
    // Files of sequences are not kept: a door whose file has a fault opens nothing.
    let server_alone = ConfigBuilder::new(Some(&server), &files::one_time, now);
    let checked = server_alone.finish(&paths.config, Findings::default());
    let one_time: SequenceReader<'_> = match checked {
        Ok(_) => &files::one_time,
        Err(_) => &|_| Ok(String::new()),
    };
    let mut builder = ConfigBuilder::new(Some(&server), one_time, now);
    let mut clients = Vec::new();
    for (name, text) in saved.clients {
        let name = name.parse().ok()?;
        let path = client_path(&paths.config, &name);
        if is_still_there(&path) && !is_disabled(&path) {
            clients.extend(builder.add_client(&name, &Source::new(&path, text)));
        }
    }
    let end = builder.finish(&paths.config, Findings::default());
    let (config, warnings) = end.ok()?;
    let config = Config { clients, ..config };
    Some(Loaded { config, warnings })
}

/// In doubt the client is not brought back.
fn is_still_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Whether the file as it is now says so, whoever may have written it. A file that
/// cannot be understood says nothing: then the last good one stands in for it. One that
/// cannot be read may say so.
fn is_disabled(path: &Path) -> bool {
    // Opening a pipe would wait.
    if !path.is_file() {
        return false;
    }
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(MAX_CLIENT_FILE).read_to_string(&mut text));
    match read {
        Ok(_) => super::edit::is_enabled(&text) == Some(false),
        // No text at all; else nobody knows what it says.
        Err(error) => error.kind() != std::io::ErrorKind::InvalidData,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "hide = []\n[services]\nssh = \"tcp/22\"\n[listen]\nport = 62201\n";

    fn fixture() -> (tempfile::TempDir, Paths) {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths {
            config: directory.path().join("etc"),
            state: directory.path().join("state"),
            run: directory.path().join("run"),
        };
        std::fs::create_dir_all(paths.clients_dir()).unwrap();
        std::fs::create_dir_all(paths.guard_state()).unwrap();
        std::fs::write(paths.config_file(), SERVER).unwrap();
        (directory, paths)
    }

    fn save(paths: &Paths, now: Timestamp) {
        let (_, texts) = for_firewall(paths, now).unwrap();
        texts.save(&paths.guard_state()).unwrap();
    }

    #[test]
    fn a_broken_configuration_is_replaced_by_the_last_good_one_and_said_to_be() {
        let (_directory, paths) = fixture();
        let now = Timestamp::from_micros(0);
        let first = load_or_last_good(&paths, now).unwrap();
        assert!(first.file_errors.is_none());
        save(&paths, now);
        std::fs::write(paths.config_file(), "hide = [").unwrap();
        let second = load_or_last_good(&paths, now).unwrap();
        assert!(second.file_errors.is_some());
        assert_eq!(second.loaded.config, first.loaded.config);
    }

    #[test]
    fn texts_are_of_the_file_until_that_says_something_else() {
        let (_directory, paths) = fixture();
        let (_, texts) = for_firewall(&paths, Timestamp::from_micros(0)).unwrap();
        assert!(texts.is_current(&paths.config));
        assert!(!ConfigTexts::default().is_current(&paths.config));
        for other in ["", "hide = [", &format!("{SERVER}# more\n")] {
            std::fs::write(paths.config_file(), other).unwrap();
            assert!(!texts.is_current(&paths.config), "{other:?}");
        }
        std::fs::remove_file(paths.config_file()).unwrap();
        assert!(!texts.is_current(&paths.config));
    }

    #[test]
    fn a_client_removed_since_is_not_brought_back() {
        let (_directory, paths) = fixture();
        let now = Timestamp::from_micros(0);
        let client = paths.clients_dir().join("alice.toml");
        std::fs::write(&client, "shared_key = true\nallow = [\"ssh\"]\n").unwrap();
        let first = load_or_last_good(&paths, now).unwrap();
        assert_eq!(first.loaded.config.clients.len(), 1);
        save(&paths, now);
        std::fs::remove_file(&client).unwrap();
        std::fs::write(paths.config_file(), "hide = [").unwrap();
        let second = load_or_last_good(&paths, now).unwrap();
        assert_eq!(second.loaded.config.clients.len(), 0);
    }

    #[test]
    fn a_client_disabled_since_is_not_brought_back() {
        let (_directory, paths) = fixture();
        let now = Timestamp::from_micros(0);
        let client = paths.clients_dir().join("alice.toml");
        let text = "shared_key = true\nallow = [\"ssh\"]\n";
        std::fs::write(&client, text).unwrap();
        save(&paths, now);
        std::fs::write(paths.config_file(), "hide = [").unwrap();
        let second = load_or_last_good(&paths, now).unwrap();
        assert_eq!(second.loaded.config.clients.len(), 1);
        std::fs::write(&client, format!("enabled = false\n{text}")).unwrap();
        let third = load_or_last_good(&paths, now).unwrap();
        assert_eq!(third.loaded.config.clients.len(), 0);
    }

    #[test]
    fn a_last_good_one_that_cannot_be_read_is_named_with_the_reason() {
        let (_directory, paths) = fixture();
        // A directory can be opened, and not be read.
        std::fs::create_dir(paths.guard_state().join(FILE_NAME)).unwrap();
        std::fs::write(paths.config_file(), "hide = [").unwrap();
        let findings = load_or_last_good(&paths, Timestamp::from_micros(0)).unwrap_err();
        let said = findings.to_string();
        assert!(said.contains("cannot be read: Is a directory"), "{said}");
    }

    #[test]
    fn a_damaged_last_good_one_is_not_used_and_what_it_hid_is_not_known() {
        let (_directory, paths) = fixture();
        let now = Timestamp::from_micros(0);
        let hides = SERVER.replace("hide = []", "hide = [\"ssh\"]");
        std::fs::write(paths.config_file(), hides).unwrap();
        let guard = paths.guard_state();
        assert_eq!(saved_hidden_ports(&guard, now), Some(BTreeSet::new()));
        save(&paths, now);
        let hidden = BTreeSet::from(["tcp/22".parse().unwrap()]);
        assert_eq!(saved_hidden_ports(&guard, now), Some(hidden));
        std::fs::write(paths.config_file(), "hide = [").unwrap();
        let whole = std::fs::read(guard.join(FILE_NAME)).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(guard.join(FILE_NAME), damaged).unwrap();
            assert_eq!(saved_hidden_ports(&guard, now), None, "bit {bit}");
            let findings = load_or_last_good(&paths, now).unwrap_err().to_string();
            assert!(findings.contains("configuration is damaged"), "{findings}");
        }
    }

    #[test]
    fn without_a_last_good_one_a_broken_configuration_is_refused() {
        let (_directory, paths) = fixture();
        std::fs::write(paths.config_file(), "hide = [").unwrap();
        assert!(load_or_last_good(&paths, Timestamp::from_micros(0)).is_err());
    }
}
