//! `spad client remove`: the exact inverse of `add`, but for what was used, which stays used.
//!
//! Works whatever state the files are in, and is never refused.

use std::io;

use spad_config::client_path;
use spad_model::{ClientName, Paths};

use crate::cli::daemon_client::{self, DaemonReply};
use crate::cli::output::note;
use crate::cli::{CliResult, Options, atomic_file};

pub(super) fn run(options: &Options, name: &ClientName) -> CliResult {
    let paths = options.paths();
    let removed = remove_files(&paths, name);
    let live = daemon_client::disable_in_daemon(&paths, name);
    let removed = match removed {
        Ok(removed) => removed,
        Err(error) => return Err(daemon_client::live_only_result(live, name, error)),
    };
    if !removed && !matches!(live, DaemonReply::Done(_)) {
        return Err(super::unknown(&paths, name));
    }
    note(format_args!("`{name}` is removed"));
    super::show_findings(&super::check_config(&paths));
    let done = matches!(live, DaemonReply::Done(_));
    daemon_client::report(live)?;
    // It is served no more already; with this the daemon also forgets its name.
    if done && let DaemonReply::Refused(why) = daemon_client::reload_running_daemon(&paths) {
        note(why.trim_end());
    }
    Ok(())
}

/// Removes what is the client's; whether anything was.
fn remove_files(paths: &Paths, name: &ClientName) -> io::Result<bool> {
    // The client first: from then on its keys are nobody's.
    let mut removed = atomic_file::remove(&client_path(&paths.config, name))?;
    removed |= atomic_file::remove(&super::enable::disabled_path(paths, name))?;
    for ending in ["shared", "psk"] {
        removed |= atomic_file::remove(&paths.client_keys_dir().join(format!("{name}.{ending}")))?;
    }
    Ok(removed)
}
