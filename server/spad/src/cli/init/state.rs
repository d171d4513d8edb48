//! Journal, horizon, and the machine that the server's key belongs to.
//!
//! A new key was never used, so everything may begin at nothing. A key that was
//! there may have been used anywhere: no packet sent up to now passes with it.

use std::time::Duration;

use spad_model::Paths;
use spad_replay::{StateDir, StateError, lock};
use spad_sys::clock;

use crate::cli::output::{note, warn};
use crate::cli::ownership::{self, Owners};
use crate::cli::{CliResult, Failure};

/// What `State` and `machine` write, for the engine to go on with.
const STATE_FILES: [&str; 6] = [
    "journal.a",
    "journal.b",
    "horizon",
    "clean",
    "lock",
    "machine-id",
];
/// The same in the run directory.
const RUN_FILES: [&str; 2] = ["horizon.memory", "journal.proof"];

/// Whether every port that is hidden now is new, as far as anybody here remembers.
pub(super) fn has_no_trials(paths: &Paths) -> bool {
    let file = paths.guard_state().join("trials.json");
    file.symlink_metadata().is_err()
}

/// Makes what is missing.
pub(super) fn complete(paths: &Paths, key_is_new: bool) -> CliResult {
    spad_firewall::writer::trial_file::create(paths)?;
    let horizon = paths.state.join("horizon");
    let exists = horizon.symlink_metadata().is_ok();
    if !exists && key_is_new {
        let done = StateDir::create(paths, clock::now(), skew(paths));
        chown_state(paths)?;
        done?;
        note(format_args!("made {}", horizon.display()));
        return Ok(());
    }
    match lock::check_machine(&paths.state) {
        Ok(()) if exists && !key_is_new => {}
        Err(StateError::OtherMachine { path })
            if !key_is_new && path.symlink_metadata().is_ok() =>
        {
            warn("the server's key belongs to another machine\n  help: spad key adopt");
        }
        _ => {
            adopt(paths)?;
            let seconds = skew(paths).saturating_mul(2).as_secs();
            note(format_args!(
                "this key, or this state, may have been in use before: packets are refused for {seconds} s from now"
            ));
        }
    }
    note(format_args!(
        "{} {}",
        if exists { "kept" } else { "made" },
        horizon.display()
    ));
    Ok(())
}

/// Ties the key to this machine, and refuses every packet sent up to now.
pub(crate) fn adopt(paths: &Paths) -> CliResult {
    let done = StateDir::adopt(paths, clock::now(), skew(paths));
    chown_state(paths)?;
    done.map_err(Failure::from)
}

fn chown_state(paths: &Paths) -> CliResult {
    let owners = Owners::find();
    ownership::chown_to_engine(&paths.state, &STATE_FILES, owners)?;
    ownership::chown_to_engine(&paths.run, &RUN_FILES, owners)?;
    Ok(())
}

/// The configured skew, or the default where the configuration has errors.
fn skew(paths: &Paths) -> Duration {
    let loaded = spad_config::load(&paths.config, spad_sys::clock::now().wall);
    loaded.map_or(Duration::from_secs(60), |loaded| {
        loaded.config.packets.max_skew
    })
}
