//! [IO] Loads a table by the program `nft`, in one transaction.
//!
//! Only for whole tables: starting a program costs milliseconds. Run with an
//! empty environment, from directories that only root can write. The `nftables`
//! crate's own helper is not used: it leaves what `nft` says about a fault unread.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where distributions put it.
const PLACES: [&str; 6] = [
    "/usr/sbin/nft",
    "/sbin/nft",
    "/usr/bin/nft",
    "/usr/local/sbin/nft",
    "/usr/local/bin/nft",
    "/run/current-system/sw/bin/nft",
];

/// Why a table was not loaded. Nothing of it was, then.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no such program.
    #[error("there is no program `nft`\n  help: install it: apt-get install nftables")]
    Missing,
    /// It could not be run.
    #[error("cannot run {program}: {reason}")]
    NotRun {
        /// Where it is.
        program: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// It refused the table, or the kernel did.
    #[error("{program} did not load the table: {said}")]
    Refused {
        /// Where it is.
        program: PathBuf,
        /// Its own words.
        said: String,
    },
}

/// Loads a text of nftables' own language; gives the number of the process that did.
///
/// # Errors
/// Nothing of it is loaded then.
pub(super) fn load_text(text: &str) -> Result<u32, NftError> {
    run(&["-f", "-"], text)
}

/// Loads these commands; gives the number of the process that did.
///
/// # Errors
/// Nothing of it is loaded then.
pub(super) fn load(commands: &Value) -> Result<u32, NftError> {
    run(&["-j", "-f", "-"], &commands.to_string())
}

fn run(arguments: &[&str], text: &str) -> Result<u32, NftError> {
    let program = PLACES
        .iter()
        .map(Path::new)
        .find(|place| place.is_file())
        .ok_or(NftError::Missing)?;
    let not_run = |reason| NftError::NotRun {
        program: program.to_owned(),
        reason,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_run)?;
    let process = child.id();
    let written = match child.stdin.take() {
        Some(mut input) => input.write_all(text.as_bytes()),
        None => Ok(()),
    };
    let output = child.wait_with_output().map_err(not_run)?;
    if output.status.success() {
        written.map_err(not_run)?;
        return Ok(process);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // It repeats the line of the input that it stumbled over; ours is one line of many kilobytes.
    let said: Vec<&str> = said
        .lines()
        .filter(|line| line.len() < 300)
        .take(8)
        .collect();
    Err(NftError::Refused {
        program: program.to_owned(),
        said: said.join("\n").trim().to_owned(),
    })
}
