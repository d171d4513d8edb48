//! [IO] The file of what is open, in the directory that the writer works in.
//!
//! Written whole or not at all. Each end stands there by both clocks: within one boot
//! the one that never steps counts, after another boot the wall's.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use spa_proto::Timestamp;
use spad_model::{BootTime, Element, Now};

use super::leases::Store;

const NAME: &str = "command.json";
/// The longest file that is read, in bytes; 100,000 elements fit.
const MAX_LENGTH: u64 = 32 << 20;

/// The file.
#[derive(Debug)]
pub(super) struct StateFile {
    directory: PathBuf,
    boot: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseFile {
    version: u32,
    boot: String,
    open: Vec<LeaseRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseRow {
    address: std::net::IpAddr,
    prefix: Option<u8>,
    service: String,
    source_port: Option<std::num::NonZeroU16>,
    /// Microseconds since the boot, and since 1970.
    ends_boot: u64,
    ends_wall: u64,
}

impl StateFile {
    /// In the directory that this process works in.
    pub(super) fn in_working_dir() -> Self {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        Self::new(Path::new("."), id.unwrap_or_default().trim())
    }

    fn new(directory: &Path, boot: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            boot: boot.to_owned(),
        }
    }

    /// How many elements the file names.
    pub(super) fn count(&self) -> usize {
        match self.read_file() {
            Ok(Some(Ok(kept))) => kept.open.len(),
            Ok(None | Some(Err(_))) | Err(_) => 0,
        }
    }

    /// None where there is no file; why it is damaged, where it can be read.
    fn read_file(&self) -> io::Result<Option<Result<LeaseFile, String>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(self.directory.join(NAME), flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            file => std::fs::File::from(file?),
        };
        let mut text = Vec::new();
        file.take(MAX_LENGTH).read_to_end(&mut text)?;
        Ok(Some(match serde_json::from_slice::<LeaseFile>(&text) {
            Ok(kept) if kept.version != 1 => Err("it is of another version".to_owned()),
            kept => kept.map_err(|error| error.to_string()),
        }))
    }
}

impl Store for StateFile {
    fn read(&mut self, max_ttl: Duration, now: Now) -> io::Result<Vec<(Element, BootTime)>> {
        let kept = match self.read_file()? {
            Some(Ok(kept)) => kept,
            None => return Ok(Vec::new()),
            Some(Err(error)) => {
                let path = self.directory.join(NAME);
                let damaged_path = path.with_extension("damaged");
                let _ = std::fs::rename(&path, &damaged_path);
                super::super::warn(&format!(
                    "the file of what [firewall] has open is damaged ({error}) and was renamed to command.damaged: look at your firewall whether it lets in anybody that it should not"
                ));
                return Ok(Vec::new());
            }
        };
        let same_boot = !self.boot.is_empty() && kept.boot == self.boot;
        let rows = kept.open.into_iter();
        let open = rows.filter_map(|row| {
            let element = Element {
                address: row.address,
                prefix: row.prefix,
                service: row.service.parse().ok()?,
                source_port: row.source_port,
                once: false,
            };
            let ends = if same_boot {
                BootTime::from_micros(row.ends_boot)
            } else {
                let ends = Timestamp::from_micros(row.ends_wall);
                let left = (ends > now.wall).then(|| ends.abs_diff(now.wall));
                now.boot.saturating_add(left.unwrap_or_default())
            };
            // Longer than anything may last: a clock was wrong, then or now.
            let is_too_late = ends.saturating_since(now.boot) > max_ttl;
            Some((element, if is_too_late { now.boot } else { ends }))
        });
        Ok(open.collect())
    }

    fn write(&mut self, open: &[(Element, BootTime)], now: Now) -> io::Result<()> {
        let row = |(element, ends): &(Element, BootTime)| LeaseRow {
            address: element.address,
            prefix: element.prefix,
            service: element.service.to_string(),
            source_port: element.source_port,
            ends_boot: ends.as_micros(),
            ends_wall: now
                .wall
                .saturating_add(ends.saturating_since(now.boot))
                .as_micros(),
        };
        let file_content = LeaseFile {
            version: 1,
            boot: self.boot.clone(),
            open: open.iter().map(row).collect(),
        };
        let new = self.directory.join("command.new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = std::fs::File::from(file);
        file.write_all(&serde_json::to_vec(&file_content)?)?;
        file.sync_all()?;
        std::fs::rename(&new, self.directory.join(NAME))?;
        std::fs::File::open(&self.directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests;
