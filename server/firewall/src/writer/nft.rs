//! [IO] Loads a table by the program `nft`, in one transaction.
//!
//! Only for whole tables: starting a program costs milliseconds. Run with an
//! empty environment, from directories that only root can write, and for a limited time:
//! at boot the network waits for it. The `nftables` crate's own helper is not used: it
//! leaves what `nft` says about a fault unread.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spad_sys::program;
use spad_sys::program::{CapturedStreams, Limits, RunObserver};

/// Where distributions put it.
pub(super) const SEARCH_PATHS: [&str; 6] = [
    "/usr/sbin/nft",
    "/sbin/nft",
    "/usr/bin/nft",
    "/usr/local/sbin/nft",
    "/usr/local/bin/nft",
    "/run/current-system/sw/bin/nft",
];

/// How long one start of it may take; thousands of ports take less than a second.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The most that is remembered of what it says, in bytes.
const MAX_OUTPUT: usize = 64 << 10;

/// Why a table was not loaded. Nothing of it was, then.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no such program.
    #[error("there is no program `nft`\n  help: install it: apt-get install nftables")]
    NotFound,
    /// It could not be run.
    #[error(
        "cannot run {program}: {reason}\n  help: run `{program} --version` as root, and see what limits the unit has (`systemctl show spad`)"
    )]
    Spawn {
        /// Where it is.
        program: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// It did not end.
    #[error(
        "{program} did not end within {} seconds, and was killed\n  help: run `{program} list ruleset` as root and see what it waits for",
        TIME_LIMIT.as_secs()
    )]
    TimedOut {
        /// Where it is.
        program: PathBuf,
    },
    /// It refused the table, or the kernel did.
    #[error(
        "{program} did not load the table: {said}\n  help: try it out: spad firewall show | {program} -c -f -"
    )]
    Rejected {
        /// Where it is.
        program: PathBuf,
        /// Its own words, or how it ended.
        said: String,
    },
}

/// Loads a text of nftables' own language; gives the number of the process that did.
///
/// # Errors
/// Nothing of it is loaded then.
pub(super) fn load_text(text: &str) -> Result<u32, NftError> {
    run(&["-f", "-"], text, None)
}

/// Loads these commands; gives the number of the process that did.
///
/// # Errors
/// Nothing of it is loaded then.
pub(super) fn load(commands: &Value) -> Result<u32, NftError> {
    run(&["-j", "-f", "-"], &commands.to_string(), None)
}

/// The same, with an eye on something else until it has ended.
///
/// # Errors
/// Nothing of it is loaded then.
pub(super) fn load_while(
    commands: &Value,
    meanwhile: &mut dyn RunObserver,
) -> Result<u32, NftError> {
    run(&["-j", "-f", "-"], &commands.to_string(), Some(meanwhile))
}

fn run(
    arguments: &[&str],
    text: &str,
    meanwhile: Option<&mut dyn RunObserver>,
) -> Result<u32, NftError> {
    let program = SEARCH_PATHS
        .iter()
        .map(Path::new)
        .find(|place| place.is_file())
        .ok_or(NftError::NotFound)?;
    run_program(program, arguments, text, TIME_LIMIT, meanwhile)
}

fn run_program(
    program: &Path,
    arguments: &[&str],
    text: &str,
    limit: Duration,
    meanwhile: Option<&mut dyn RunObserver>,
) -> Result<u32, NftError> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    let limits = Limits {
        timeout: limit,
        max_output: MAX_OUTPUT,
    };
    let run = program::run(
        &mut command,
        text.as_bytes(),
        CapturedStreams::Both,
        limits,
        meanwhile,
    );
    let run = run.map_err(|reason| NftError::Spawn {
        program: program.to_owned(),
        reason,
    })?;
    let Some(status) = run.status else {
        return Err(NftError::TimedOut {
            program: program.to_owned(),
        });
    };
    if status.success() && run.stdin_consumed {
        return Ok(run.pid);
    }
    let said = String::from_utf8_lossy(&run.output);
    // It repeats the line of the input that it stumbled over; ours is one line of many kilobytes.
    let said: Vec<&str> = said
        .lines()
        .filter(|line| line.len() < 300)
        .take(8)
        .collect();
    let said = match said.join("\n").trim() {
        "" if status.success() => "it ended before it had read the table".to_owned(),
        "" => format!("it ended ({status}) and said nothing"),
        said => said.to_owned(),
    };
    Err(NftError::Rejected {
        program: program.to_owned(),
        said,
    })
}

#[cfg(test)]
mod tests;
