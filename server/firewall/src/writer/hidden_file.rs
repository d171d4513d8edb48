//! [IO] Which ports our table hid in this boot, in the directory that the writer works in.
//!
//! Where the table is gone later in the same boot, somebody else took it away, and who
//! connected to these ports meanwhile slipped in: it has no label of ours. At the first hiding
//! of a port its connections have none either, and go on. The file tells the two apart where
//! the daemon was not there to see it. It is of this boot alone, so it need not be synced.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use spa_proto::Service;
use spad_model::Element;

const NAME: &str = "hidden";
/// The longest file that is read, in bytes; 65,536 ports of each protocol fit.
const MAX_LENGTH: u64 = 4 << 20;

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HiddenState {
    /// The ports that our table hides.
    pub(super) ports: BTreeSet<Service>,
    /// The connections from before their port was hidden, each with its source port.
    pub(super) existing: BTreeSet<Element>,
}

/// What was remembered in this boot and network namespace; nothing where it is of another.
pub(super) fn read(directory: &Path, boot: &str) -> HiddenState {
    let text = text(directory).unwrap_or_default();
    let mut lines = text.lines();
    let mut hidden = HiddenState::default();
    if boot.is_empty() || lines.next() != Some(boot_and_netns(boot).as_str()) {
        return hidden;
    }
    for line in lines {
        let mut words = line.split(' ');
        let port = words.next().and_then(|word| word.parse::<Service>().ok());
        let (Some(service), address, source) = (port, words.next(), words.next()) else {
            continue;
        };
        let Some(address) = address else {
            hidden.ports.insert(service);
            continue;
        };
        let source = source.and_then(|word| word.parse::<NonZeroU16>().ok());
        if let (Ok(address), Some(source)) = (address.parse(), source) {
            hidden.existing.insert(Element {
                address,
                service,
                source_port: Some(source),
                once: false,
                prefix: None,
            });
        }
    }
    hidden
}

/// The boot, and the network namespace: a container may see the boot of its host.
fn boot_and_netns(boot: &str) -> String {
    let network = std::fs::metadata("/proc/self/ns/net").map_or(0, |found| found.ino());
    format!("{boot} {network}")
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
pub(super) fn write(directory: &Path, boot: &str, hidden: &HiddenState) -> io::Result<()> {
    let new = directory.join("hidden.new");
    remove_if_exists(&new)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)?;
    let mut text = boot_and_netns(boot);
    text.push('\n');
    for port in &hidden.ports {
        text.push_str(&format!("{port}\n"));
    }
    for one in &hidden.existing {
        if let Some(source) = one.source_port {
            text.push_str(&format!("{} {} {source}\n", one.service, one.address));
        }
    }
    std::fs::File::from(file).write_all(text.as_bytes())?;
    std::fs::rename(&new, directory.join(NAME))
}

/// Forgets them: the administrator took the table away.
pub(super) fn delete(directory: &Path) -> io::Result<()> {
    remove_if_exists(&directory.join(NAME))
}

fn remove_if_exists(path: &Path) -> io::Result<()> {
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
        let element = |address: &str| Element {
            address: address.parse().unwrap(),
            service: "tcp/22".parse().unwrap(),
            source_port: NonZeroU16::new(40_000),
            once: false,
            prefix: None,
        };
        let hidden = HiddenState {
            ports: ["tcp/22", "udp/51820"]
                .map(|port| port.parse().unwrap())
                .into(),
            existing: [element("192.0.2.1"), element("2001:db8::1")].into(),
        };
        assert_eq!(read(at, "here"), HiddenState::default());
        write(at, "here", &hidden).unwrap();
        write(at, "here", &hidden).unwrap();
        assert_eq!(read(at, "here"), hidden);
        assert_eq!(read(at, "elsewhere"), HiddenState::default());
        write(at, "", &hidden).unwrap();
        assert_eq!(
            read(at, ""),
            HiddenState::default(),
            "no boot is no name of one"
        );
        delete(at).unwrap();
        delete(at).unwrap();
        assert_eq!(read(at, "here"), HiddenState::default());
    }
}
