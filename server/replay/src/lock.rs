//! `[IO]` The identity of the machine and of the boot, and the lock on the state.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::disk::open_file;
use super::error::StateError;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const MACHINE_ID: &str = "/etc/machine-id";

/// Replaces the boot id where the kernel reports none; matches no journal.
pub const NO_BOOT_ID: [u8; 16] = [0; 16];

/// The lock on the state directory, released when dropped or when the process exits.
#[derive(Debug)]
pub struct Lock {
    #[expect(dead_code, reason = "held: the lock goes with the descriptors")]
    files: [Option<File>; 2],
}

/// Locks the state directory for this process. It locks both the directory, because a full
/// or read-only disk allows no lock file, and the lock file, because not every filesystem
/// locks directories.
///
/// # Errors
/// Another process holds the lock (its id is given if known), or nothing can be locked.
pub fn lock(state: &Path) -> Result<Lock, StateError> {
    let path = state.join("lock");
    let claim = |opened: io::Result<File>| match opened.and_then(|file| {
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map(|()| file)
            .map_err(io::Error::from)
    }) {
        Ok(file) => Ok(Ok(file)),
        Err(source) if source.kind() == io::ErrorKind::WouldBlock => Err(StateError::Locked {
            path: state.to_owned(),
            pid: lock_owner(&path),
        }),
        Err(source) => Ok(Err(source)),
    };
    let directory = claim(File::open(state))?;
    // On a read-only disk the file of an earlier start still works.
    let mut file = claim(open_file(&path))?;
    // The process id only improves the error message; a full disk may lack it.
    if let Ok(file) = &mut file {
        let _ = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()));
    }
    match (directory, file) {
        (Err(_), Err(source)) => Err(StateError::Io { path, source }),
        (directory, file) => Ok(Lock {
            files: [directory.ok(), file.ok()],
        }),
    }
}

/// The process id in the lock file, if it can be read.
fn lock_owner(path: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(16)
        .read_to_string(&mut text)
        .ok()?;
    text.trim().parse().ok()
}

/// The kernel's id of this boot.
///
/// # Errors
/// `/proc` is missing, or the id is not a UUID.
pub fn boot_id() -> Result<[u8; 16], StateError> {
    let fail = |source| StateError::Io {
        path: BOOT_ID.into(),
        source,
    };
    let text = std::fs::read_to_string(BOOT_ID).map_err(fail)?;
    parse_uuid(text.trim()).ok_or_else(|| fail(io::ErrorKind::InvalidData.into()))
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits = text.replace('-', "");
    (digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then(|| {
        u128::from_str_radix(&digits, 16)
            .ok()
            .map(u128::to_be_bytes)
    })?
}

/// Writes this machine's id next to the server's key, to bind the key to the machine.
///
/// # Errors
/// It could not be written.
pub fn adopt(state: &Path) -> Result<(), StateError> {
    let path = state.join("machine-id");
    let write = || {
        let temporary = state.join("machine-id.new");
        // The engine owns this directory and root writes here, so an existing file is removed,
        // never followed or written into.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(machine_id().map_err(StateError::into_io)?.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        File::open(state)?.sync_all()
    };
    write().map_err(|source| StateError::Io {
        path: path.clone(),
        source,
    })
}

/// Checks that the server's key belongs to this machine. Two machines with the same key
/// would each accept packets that the other one used.
///
/// # Errors
/// It does not, or that is unknown; `spad key adopt` fixes it.
pub fn check_machine(state: &Path) -> Result<(), StateError> {
    let path = state.join("machine-id");
    match std::fs::read_to_string(&path) {
        Ok(text) if text == machine_id()? => Ok(()),
        Ok(_) => Err(StateError::OtherMachine { path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(StateError::OtherMachine { path })
        }
        Err(source) => Err(StateError::Io { path, source }),
    }
}

/// The machine's id, or a fixed word if it has none.
fn machine_id() -> Result<String, StateError> {
    let text = match std::fs::read_to_string(MACHINE_ID) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|source| StateError::Io {
            path: MACHINE_ID.into(),
            source,
        })?,
    };
    let id = text.trim();
    Ok(format!("{}\n", if id.is_empty() { "none" } else { id }))
}
