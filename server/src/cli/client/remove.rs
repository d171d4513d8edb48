//! `spad client remove`: the exact inverse of `add`, but for what was used, which stays used.
//!
//! Works whatever state the files are in, and is never refused.

use std::io;

use crate::cli::live::{self, Outcome};
use crate::cli::outcome::note;
use crate::cli::{Options, Run, place};
use crate::config::{ClientName, client_path};
use crate::paths::Paths;

pub(super) fn run(options: &Options, name: &ClientName) -> Run {
    let paths = options.paths();
    let removed = files_of(&paths, name);
    let live = live::stop_serving(&paths, name);
    let removed = match removed {
        Ok(removed) => removed,
        Err(error) => return Err(live::only_live(live, name, error)),
    };
    if !removed && !matches!(live, Outcome::Done(_)) {
        return Err(super::unknown(&paths, name));
    }
    note(format_args!("`{name}` is removed"));
    super::show_findings(&super::look(&paths));
    let done = matches!(live, Outcome::Done(_));
    live::tell(live)?;
    // It is served no more already; with this the daemon also forgets its name.
    if done && let Outcome::Refused(why) = live::reload_running_daemon(&paths) {
        note(why.trim_end());
    }
    Ok(())
}

/// Removes what is the client's; whether anything was.
fn files_of(paths: &Paths, name: &ClientName) -> io::Result<bool> {
    // The client first: from then on its keys are nobody's.
    let mut removed = place::remove(&client_path(&paths.config, name))?;
    removed |= place::remove(&super::switch::aside(paths, name))?;
    for ending in ["shared", "psk"] {
        removed |= place::remove(&paths.client_keys_dir().join(format!("{name}.{ending}")))?;
    }
    Ok(removed)
}
