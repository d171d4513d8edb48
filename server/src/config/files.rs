//! [IO] Reads the configuration's files, from where none but their owner can change them.
//!
//! Takes the directory, gives texts. What is checked of a file is checked on
//! the open descriptor. Never follows a link inside `clients.d`, never waits
//! for a pipe, never reads more than a bounded length.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use spa_findings::{Finding, Findings, Source, redact};

use super::names::ClientName;
use super::values::named;

/// Longest `spad.toml`, in bytes.
const SERVER_LIMIT: u64 = 1 << 20;
/// Longest client file, in bytes.
const CLIENT_LIMIT: u64 = 1 << 16;
/// The most client files.
const CLIENTS_LIMIT: usize = 100_000;

/// The configuration as text, before anything in it was understood.
#[derive(Clone, Debug)]
pub struct Files {
    /// `/etc/spad`, or what `--config` says.
    pub directory: PathBuf,
    /// `spad.toml`; `None` if it could not be read.
    pub server: Option<Source>,
    /// `clients.d/NAME.toml` by name.
    pub clients: BTreeMap<ClientName, Source>,
    /// What was wrong with the files themselves.
    pub findings: Findings,
}

impl Files {
    /// No files yet; for what is checked without a disk.
    #[must_use]
    pub fn none(directory: &Path) -> Self {
        let (clients, findings) = (BTreeMap::new(), Findings::default());
        Self {
            directory: directory.to_owned(),
            server: None,
            clients,
            findings,
        }
    }

    /// Reads `spad.toml` and `clients.d/*.toml`.
    #[must_use]
    pub fn read(directory: &Path) -> Self {
        let mut files = Self::none(directory);
        match owned_by_us(directory, OFlags::DIRECTORY) {
            Ok(_) => {}
            // Nothing below can be there either.
            Err(finding) => {
                files.findings.push(finding);
                return files;
            }
        }
        match text(&directory.join("spad.toml"), SERVER_LIMIT, OFlags::empty()) {
            Ok(source) => files.server = Some(source),
            Err(finding) => files.findings.push(finding),
        }
        files.read_clients();
        files
    }

    /// Where this client's file is.
    #[must_use]
    pub fn client_path(&self, name: &ClientName) -> PathBuf {
        self.directory
            .join("clients.d")
            .join(format!("{name}.toml"))
    }

    /// With this file, in memory, as if it stood there.
    pub fn put_client(&mut self, name: ClientName, text: String) {
        let source = Source::new(&self.client_path(&name), text);
        self.clients.insert(name, source);
    }

    fn read_clients(&mut self) {
        let directory = self.directory.join("clients.d");
        // A server may have no clients yet.
        if matches!(directory.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
        {
            return;
        }
        let entries = owned_by_us(&directory, OFlags::DIRECTORY).and_then(|_| {
            std::fs::read_dir(&directory).map_err(|error| cannot_read(&directory, &error))
        });
        let entries = match entries {
            Ok(entries) => entries,
            Err(finding) => return self.findings.push(finding),
        };
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) if paths.len() < CLIENTS_LIMIT => paths.push(entry.path()),
                Ok(_) => {
                    let message = format!("more than {CLIENTS_LIMIT} files");
                    self.findings.push(
                        Finding::error(&directory, message).help("remove clients that are no more"),
                    );
                    break;
                }
                Err(error) => self.findings.push(cannot_read(&directory, &error)),
            }
        }
        paths.sort();
        for path in paths {
            match client(&path) {
                Ok((name, source)) => drop(self.clients.insert(name, source)),
                Err(finding) => self.findings.push(finding),
            }
        }
    }
}

/// One entry of `clients.d`.
fn client(path: &Path) -> Result<(ClientName, Source), Finding> {
    let file_name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
    if file_name.starts_with(b".") || !file_name.ends_with(b".toml") {
        let finding = Finding::warning(path, "this is not a client file and is ignored");
        return Err(finding.help("client files are called NAME.toml; move this one elsewhere"));
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = named(&name, |message| Finding::error(path, message))
        .map_err(|finding| finding.note("the file's name is the client's"))?;
    text(path, CLIENT_LIMIT, OFlags::NOFOLLOW).map(|source| (name, source))
}

/// The text of a regular file that only root or we can change.
fn text(path: &Path, limit: u64, flags: OFlags) -> Result<Source, Finding> {
    let file = owned_by_us(path, flags)?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| cannot_read(path, &error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(
            Finding::error(path, format!("longer than {} KiB", limit >> 10)).help("shorten it"),
        );
    }
    decode(path, bytes)
}

/// The bytes as UTF-8.
fn decode(path: &Path, bytes: Vec<u8>) -> Result<Source, Finding> {
    String::from_utf8(bytes)
        .map(|text| Source::new(path, text))
        .map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let valid = String::from_utf8_lossy(error.as_bytes().get(..at).unwrap_or_default())
                .into_owned();
            let source = Source::new(path, valid);
            source
                .error(at..at, "after this the file is not UTF-8")
                .help("write it in UTF-8")
        })
}

/// Opens a regular file, or a directory if the flags say so, that only root or we can change.
fn owned_by_us(path: &Path, flags: OFlags) -> Result<File, Finding> {
    // NONBLOCK: a pipe in the file's place must not hold us up.
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        rustix::io::Errno::LOOP => irregular(path),
        rustix::io::Errno::NOTDIR => {
            Finding::error(path, "not a directory").help("make one: spad init")
        }
        errno => cannot_read(path, &errno.into()),
    })?;
    let file = File::from(file);
    let status = file.metadata().map_err(|error| cannot_read(path, &error))?;
    let directory = flags.contains(OFlags::DIRECTORY);
    if !directory && !status.is_file() {
        return Err(irregular(path));
    }
    let shown = redact::line(&path.display().to_string(), false);
    if status.uid() != 0 && status.uid() != rustix::process::geteuid().as_raw() {
        let finding = Finding::error(
            path,
            format!("owned by user {}, who could change it", status.uid()),
        );
        return Err(finding
            .help(format!("chown root {shown}"))
            .note("whoever can write here decides who gets in"));
    }
    if status.mode() & 0o022 != 0 {
        let message = format!("mode {:04o} lets others write here", status.mode() & 0o7777);
        let finding = Finding::error(path, message).help(format!("chmod go-w {shown}"));
        return Err(finding.note("whoever can write here decides who gets in"));
    }
    Ok(file)
}

fn irregular(path: &Path) -> Finding {
    Finding::error(path, "not a regular file").help("put the file itself here, no link and no pipe")
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Finding {
    let finding = Finding::error(path, format!("cannot be read: {error}"));
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            finding.help("make it: spad init, or say where it is: --config DIR")
        }
        std::io::ErrorKind::PermissionDenied => finding.help("run this as root"),
        _ => finding,
    }
}
