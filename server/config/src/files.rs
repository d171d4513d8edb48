//! [IO] Reads the configuration's files, from where none but their owner can change them.
//!
//! Takes the directory, gives texts, a client's one after the other. What is checked
//! of a file is checked on the open descriptor. Never follows a link inside
//! `clients.d`, never waits for a pipe, never reads more than a bounded length.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use spa_findings::{Finding, Findings, Source, redact};
use spad_model::ClientName;

use super::values::parse_name;

/// Longest `spad.toml`, in bytes.
pub const SERVER_LIMIT: usize = 1 << 20;
/// Longest file of sequences, in bytes.
const ONE_TIME_LIMIT: usize = 1 << 16;
/// Longest file of another program, in bytes.
const OTHER_PROGRAM_LIMIT: usize = 1 << 18;
/// Longest client file, in bytes.
const CLIENT_LIMIT: usize = 1 << 16;
/// The most client files.
const CLIENTS_LIMIT: usize = 100_000;

/// The configuration as text, before anything in it was understood; for what is
/// checked without a disk.
#[derive(Clone, Debug)]
pub struct Files {
    /// `/etc/spad`, or what `--config` says.
    pub directory: PathBuf,
    /// `spad.toml`; `None` if it could not be read.
    pub server: Option<Source>,
    /// `clients.d/NAME.toml` by name.
    pub clients: BTreeMap<ClientName, Source>,
    /// Files of sequences for one use, by path.
    pub one_time: BTreeMap<PathBuf, String>,
    /// What was wrong with the files themselves.
    pub findings: Findings,
}

impl Files {
    /// No files yet.
    #[must_use]
    pub fn empty(directory: &Path) -> Self {
        let (clients, findings) = (BTreeMap::new(), Findings::default());
        Self {
            directory: directory.to_owned(),
            server: None,
            clients,
            one_time: BTreeMap::new(),
            findings,
        }
    }

    /// With this file, in memory, as if it stood there.
    pub fn put_client(&mut self, name: ClientName, text: String) {
        let source = Source::new(&client_path(&self.directory, &name), text);
        self.clients.insert(name, source);
    }

    pub(super) fn one_time(&self, path: &Path) -> Result<String, Finding> {
        let text = self.one_time.get(path);
        text.cloned().ok_or_else(|| missing_sequences(path))
    }
}

/// Where this client's file is.
#[must_use]
pub fn client_path(directory: &Path, name: &ClientName) -> PathBuf {
    directory.join("clients.d").join(format!("{name}.toml"))
}

/// Reads `spad.toml`. The outer error is about the directory: nothing below it can be
/// there either.
pub fn server(directory: &Path) -> Result<Result<Source, Finding>, Finding> {
    // Closed again: what hides must be found with one descriptor left.
    drop(open_trusted(
        CWD,
        directory.as_os_str(),
        directory,
        OFlags::DIRECTORY,
    )?);
    let path = directory.join("spad.toml");
    let mut buffer = buffer_for(SERVER_LIMIT);
    Ok(text(
        CWD,
        path.as_os_str(),
        &path,
        OFlags::empty(),
        &mut buffer,
    ))
}

/// Reads a file of sequences for one use: none but its owner may change it, and of others
/// at most its group may read it.
pub fn one_time(path: &Path) -> Result<String, Finding> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let opened = open_trusted(CWD, directory.as_os_str(), directory, OFlags::DIRECTORY)
        .and_then(|_ours| open_trusted(CWD, path.as_os_str(), path, OFlags::NOFOLLOW));
    let file = opened.map_err(|finding| match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => missing_sequences(path),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            finding.help("let the daemon's group read it; a directory other than the configuration's is seen from the next start on")
        }
        _ => finding,
    })?;
    let status = file.metadata().map_err(|error| cannot_read(path, &error))?;
    if status.mode() & 0o007 != 0 {
        let message = format!("mode {:04o} lets others read this", status.mode() & 0o7777);
        let shown = redact::line(&path.display().to_string(), false);
        let help = format!("chmod o-rwx {shown}, and write new sequences if others could read it");
        let finding = Finding::error(path, message).help(help);
        return Err(finding.note("whoever reads it knows how to get in"));
    }
    let mut buffer = buffer_for(ONE_TIME_LIMIT);
    let length = read_whole(&file, &mut buffer).map_err(|error| cannot_read(path, &error))?;
    if length > ONE_TIME_LIMIT {
        let message = format!("longer than {} KiB", ONE_TIME_LIMIT >> 10);
        return Err(Finding::error(path, message).help("take out those that are used"));
    }
    buffer.truncate(length);
    String::from_utf8(buffer)
        .map_err(|_| Finding::error(path, "this is no text").help("write it in UTF-8"))
}

fn missing_sequences(path: &Path) -> Finding {
    let finding = Finding::error(path, "there is no such file");
    finding.help("write it, one sequence a line: 8881,7777:udp,9991")
}

/// Reads another program's file, with the same care: what stands in it is to become ours.
///
/// # Errors
/// That it cannot be read, or that others could change it.
pub fn read_other_program_file(path: &Path) -> Result<Source, Finding> {
    let mut buffer = buffer_for(OTHER_PROGRAM_LIMIT);
    text(CWD, path.as_os_str(), path, OFlags::empty(), &mut buffer).map_err(|finding| {
        match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                finding.help("look whether the path is right")
            }
            _ => finding,
        }
    })
}

/// Reads one client's file; none if it cannot be read.
#[must_use]
pub fn client(directory: &Path, name: &ClientName) -> Option<Source> {
    let path = client_path(directory, name);
    let mut buffer = buffer_for(CLIENT_LIMIT);
    text(CWD, path.as_os_str(), &path, OFlags::NOFOLLOW, &mut buffer).ok()
}

/// The clients by name, in their order, whatever their files hold.
#[must_use]
pub fn client_names(directory: &Path) -> Vec<ClientName> {
    ClientFiles::read(&directory.join("clients.d"), &mut Findings::default()).names
}

/// Reads `clients.d/*.toml` one after the other, in the order of their names; `given`
/// as if it stood there. Gives what was wrong with the files.
pub fn each_client(
    directory: &Path,
    given: Option<(ClientName, String)>,
    mut each: impl FnMut(&ClientName, &Source),
) -> Findings {
    let directory = directory.join("clients.d");
    let mut findings = Findings::default();
    let ClientFiles {
        directory: descriptor,
        mut names,
    } = ClientFiles::read(&directory, &mut findings);
    let (given, mut given_text) = given.unzip();
    if let Some(name) = &given
        && let Err(index) = names.binary_search(name)
    {
        names.insert(index, name.clone());
    }
    let mut buffer = buffer_for(CLIENT_LIMIT);
    for name in names {
        let file_name = format!("{name}.toml");
        let path = directory.join(&file_name);
        let source = match (
            given_text.take_if(|_| given.as_ref() == Some(&name)),
            &descriptor,
        ) {
            (Some(text), _) => Ok(Source::new(&path, text)),
            (None, Some(descriptor)) => {
                let name = OsStr::new(&file_name);
                text(descriptor, name, &path, OFlags::NOFOLLOW, &mut buffer)
            }
            // Without the directory there are no names.
            (None, None) => continue,
        };
        match source {
            Ok(source) => each(&name, &source),
            Err(finding) => findings.push(finding),
        }
    }
    findings
}

/// What stands in `clients.d`.
#[derive(Default)]
struct ClientFiles {
    /// None where there is no such directory, or it cannot be read.
    directory: Option<File>,
    /// Of client files, in their order.
    names: Vec<ClientName>,
}

impl ClientFiles {
    fn read(directory: &Path, findings: &mut Findings) -> Self {
        // A server may have no clients yet.
        if matches!(directory.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
        {
            return Self::default();
        }
        let trusted = open_trusted(CWD, directory.as_os_str(), directory, OFlags::DIRECTORY);
        let opened = trusted.and_then(|file| {
            let entries = std::fs::read_dir(directory);
            Ok((
                file,
                entries.map_err(|error| cannot_read(directory, &error))?,
            ))
        });
        let (file, entries) = match opened {
            Ok(opened) => opened,
            Err(finding) => {
                findings.push(finding);
                return Self::default();
            }
        };
        let mut names = Vec::new();
        let mut count: usize = 0;
        for entry in entries {
            match entry.map(|entry| entry.file_name()) {
                Ok(_) if count == CLIENTS_LIMIT => {
                    let message = format!("more than {CLIENTS_LIMIT} files");
                    let finding = Finding::error(directory, message);
                    findings.push(finding.help("remove clients that are no more"));
                    break;
                }
                Ok(file_name) => {
                    count = count.saturating_add(1);
                    match client_name(directory, &file_name) {
                        Ok(name) => names.push(name),
                        Err(finding) => findings.push(finding),
                    }
                }
                Err(error) => findings.push(cannot_read(directory, &error)),
            }
        }
        names.sort_unstable();
        Self {
            directory: Some(file),
            names,
        }
    }
}

/// The client whose file is called so.
fn client_name(directory: &Path, file_name: &OsStr) -> Result<ClientName, Finding> {
    let bytes = file_name.as_bytes();
    let path = || directory.join(file_name);
    let Some(stem) = bytes
        .strip_suffix(b".toml")
        .filter(|_| !bytes.starts_with(b"."))
    else {
        let finding = Finding::warning(&path(), "this is not a client file and is ignored");
        return Err(finding.help("client files are called NAME.toml; move this one elsewhere"));
    };
    parse_name(&String::from_utf8_lossy(stem), |message| {
        Finding::error(&path(), message)
    })
    .map_err(|finding| finding.note("the file's name is the client's"))
}

/// Room for a file of at most this length, and for one byte too many.
fn buffer_for(limit: usize) -> Vec<u8> {
    vec![0; limit.saturating_add(1)]
}

/// The text of a regular file that only root or we can change. The file `name` in the
/// directory `at` is called `path` in messages; `buffer` is [`buffer_for`] for it.
fn text(
    at: impl AsFd,
    name: &OsStr,
    path: &Path,
    flags: OFlags,
    buffer: &mut [u8],
) -> Result<Source, Finding> {
    let file = open_trusted(at, name, path, flags)?;
    let length = read_whole(&file, buffer).map_err(|error| cannot_read(path, &error))?;
    let limit = buffer.len().saturating_sub(1);
    if length > limit {
        return Err(
            Finding::error(path, format!("longer than {} KiB", limit >> 10)).help("shorten it"),
        );
    }
    decode(path, buffer.get(..length).unwrap_or_default().to_vec())
}

/// Reads until the end of the file or of the buffer; gives how much.
fn read_whole(file: &File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled: usize = 0;
    loop {
        let rest = buffer.get_mut(filled..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(filled);
        }
        match rustix::io::retry_on_intr(|| rustix::io::read(file, &mut *rest))? {
            0 => return Ok(filled),
            more => filled = filled.saturating_add(more),
        }
    }
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
fn open_trusted(at: impl AsFd, name: &OsStr, path: &Path, flags: OFlags) -> Result<File, Finding> {
    // NONBLOCK: a pipe in the file's place must not hold us up.
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(at, name, flags, Mode::empty()).map_err(|errno| match errno {
        rustix::io::Errno::LOOP => not_regular(path),
        rustix::io::Errno::NOTDIR => {
            Finding::error(path, "not a directory").help("make one: spad init")
        }
        errno => cannot_read(path, &errno.into()),
    })?;
    let file = File::from(file);
    let status = file.metadata().map_err(|error| cannot_read(path, &error))?;
    let directory = flags.contains(OFlags::DIRECTORY);
    if !directory && !status.is_file() {
        return Err(not_regular(path));
    }
    let shown = || redact::line(&path.display().to_string(), false);
    if status.uid() != 0 && status.uid() != rustix::process::geteuid().as_raw() {
        let finding = Finding::error(
            path,
            format!("owned by user {}, who could change it", status.uid()),
        );
        return Err(finding
            .help(format!("chown root {}", shown()))
            .note("whoever can write here decides who gets in"));
    }
    if status.mode() & 0o022 != 0 {
        let message = format!("mode {:04o} lets others write here", status.mode() & 0o7777);
        let finding = Finding::error(path, message).help(format!("chmod go-w {}", shown()));
        return Err(finding.note("whoever can write here decides who gets in"));
    }
    Ok(file)
}

fn not_regular(path: &Path) -> Finding {
    Finding::error(path, "not a regular file").help("put the file itself here, no link and no pipe")
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Finding {
    let finding = Finding::error(path, format!("cannot be read: {error}"));
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            finding.help("make it: spad init, or say where it is: --config DIR")
        }
        std::io::ErrorKind::PermissionDenied => finding.help("run this as root"),
        _ => finding.help("check the disk, and what limits spad has: systemctl show spad"),
    }
}
