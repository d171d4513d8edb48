//! [IO] The whole ruleset, as the program `nft` prints it, within a limited time.
//!
//! Beside the work: it blocks whoever asks.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spad_sys::program;
use spad_sys::program::{CapturedStreams, Limits};

use super::nft::SEARCH_PATHS;

/// Everything that nftables knows, as JSON.
///
/// # Errors
/// Why it could not be read.
pub(super) fn ruleset(limit: Duration) -> io::Result<Value> {
    const MAX_LENGTH: usize = 64 << 20;
    let limits = Limits {
        timeout: limit,
        max_output: MAX_LENGTH,
    };
    let program = SEARCH_PATHS
        .iter()
        .map(Path::new)
        .find(|place| place.is_file());
    let program = program.ok_or_else(|| io::Error::other("there is no program `nft`"))?;
    let mut command = Command::new(program);
    command.args(["-j", "list", "ruleset"]).env_clear();
    let run = program::run(&mut command, b"", CapturedStreams::Stdout, limits, None);
    let run = run
        .map_err(|error| io::Error::other(format!("cannot run {}: {error}", program.display())))?;
    match run.status {
        None => Err(io::Error::other("nft did not end in time")),
        Some(status) if !status.success() => Err(io::Error::other(format!("nft ended ({status})"))),
        Some(_) if run.output.len() == MAX_LENGTH => {
            Err(io::Error::other("the ruleset is too long"))
        }
        Some(_) => serde_json::from_slice(&run.output).map_err(io::Error::other),
    }
}
