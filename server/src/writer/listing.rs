//! [IO] The whole ruleset, as the program `nft` prints it, within a limited time.
//!
//! Beside the work: it blocks whoever asks.

use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::nft::PLACES;
use crate::clock;

/// How long it may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The most bytes that are read.
const MAX_BYTES: usize = 64 << 20;

/// Everything that nftables knows, as JSON.
///
/// # Errors
/// Why it could not be read.
pub(super) fn ruleset() -> io::Result<Value> {
    let program = PLACES.iter().map(Path::new).find(|place| place.is_file());
    let program = program.ok_or_else(|| io::Error::other("there is no program `nft`"))?;
    let mut child = Command::new(program)
        .args(["-j", "list", "ruleset"])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let read = read(&mut child);
    if read.is_err() {
        // It may have ended meanwhile.
        let _ = child.kill();
    }
    let status = child.wait()?;
    let bytes = read?;
    if !status.success() {
        return Err(io::Error::other(format!("nft ended ({status})")));
    }
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

fn read(child: &mut Child) -> io::Result<Vec<u8>> {
    let end = clock::now().boot.saturating_add(TIME_LIMIT);
    let mut bytes = Vec::new();
    let Some(output) = &mut child.stdout else {
        return Ok(bytes);
    };
    let mut buffer = vec![0; 1 << 16];
    loop {
        let left = end.saturating_since(clock::now().boot);
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(output, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => return Err(io::Error::other("nft did not end in time")),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let length = output.read(&mut buffer)?;
        let Some(part) = buffer.get(..length).filter(|part| !part.is_empty()) else {
            return Ok(bytes);
        };
        bytes.extend_from_slice(part);
        if bytes.len() > MAX_BYTES {
            return Err(io::Error::other("the ruleset is too long"));
        }
    }
}
