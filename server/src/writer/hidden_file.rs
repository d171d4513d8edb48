//! [IO] Which ports our table hid in this boot, in the directory that the writer works in.
//!
//! Where the table is gone later in the same boot, somebody else took it away, and who
//! connected to these ports meanwhile slipped in: it has no label of ours. At the first hiding
//! of a port its connections have none either, and go on. The file tells the two apart where
//! the daemon was not there to see it. It is of this boot alone, so it need not be synced.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use spa_proto::Service;

const NAME: &str = "hidden";
/// The longest file that is read, in bytes; 65,536 ports of each protocol fit.
const MAX_LENGTH: u64 = 4 << 20;

/// The ports that were hidden in this boot; none where nothing is known of it.
pub(super) fn read(directory: &Path, boot: &str) -> BTreeSet<Service> {
    let text = text(directory).unwrap_or_default();
    let mut lines = text.lines();
    match lines.next() {
        Some(first) if first == boot && !boot.is_empty() => {
            lines.filter_map(|line| line.parse().ok()).collect()
        }
        _ => BTreeSet::new(),
    }
}

fn text(directory: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(directory.join(NAME), flags, Mode::empty())?;
    let mut text = String::new();
    std::fs::File::from(file)
        .take(MAX_LENGTH)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Remembers them, in the place of those before.
pub(super) fn write(directory: &Path, boot: &str, ports: &BTreeSet<Service>) -> io::Result<()> {
    let new = directory.join("hidden.new");
    forget_file(&new)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)?;
    let mut text = format!("{boot}\n");
    for port in ports {
        text.push_str(&format!("{port}\n"));
    }
    std::fs::File::from(file).write_all(text.as_bytes())?;
    std::fs::rename(&new, directory.join(NAME))
}

/// Forgets them: the administrator took the table away.
pub(super) fn forget(directory: &Path) -> io::Result<()> {
    forget_file(&directory.join(NAME))
}

fn forget_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_this_boot_are_found_again_and_those_of_another_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let ports: BTreeSet<Service> = ["tcp/22", "udp/51820"]
            .map(|port| port.parse().unwrap())
            .into();
        assert!(read(at, "here").is_empty());
        write(at, "here", &ports).unwrap();
        write(at, "here", &ports).unwrap();
        assert_eq!(read(at, "here"), ports);
        assert!(read(at, "elsewhere").is_empty());
        write(at, "", &ports).unwrap();
        assert!(read(at, "").is_empty(), "no boot is no name of one");
        forget(at).unwrap();
        forget(at).unwrap();
        assert!(read(at, "here").is_empty());
    }
}
