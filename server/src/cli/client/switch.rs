//! `spad client disable` and `enable`: one line in the client's file.
//!
//! Works whatever state the files are in, and is never refused: a file that
//! cannot be edited for sure is moved aside, and moved back by the other.

use std::io;
use std::path::{Path, PathBuf};

use spa_findings::Source;

use crate::cli::live::{self, Outcome};
use crate::cli::outcome::{note, warn};
use crate::cli::place::{self, Existing};
use crate::cli::{Options, Run};
use crate::config::{self, ClientName, client_path, edit};
use crate::paths::Paths;

/// What a file that was moved aside is called: the loader passes it over.
pub(super) fn aside(paths: &Paths, name: &ClientName) -> PathBuf {
    client_path(&paths.config, name).with_extension("toml.disabled")
}

pub(super) fn disable(options: &Options, name: &ClientName) -> Run {
    let paths = options.paths();
    let path = client_path(&paths.config, name);
    let source = config::client(&paths.config, name);
    let text = source.as_ref().map(Source::text);
    let there = path.symlink_metadata();
    if let Err(error) = &there
        && error.kind() != std::io::ErrorKind::NotFound
    {
        let problem = format!("{}: {error}", path.display());
        return Err(live::only_live(
            live::stop_serving(&paths, name),
            name,
            problem,
        ));
    }
    if there.is_err() {
        // The daemon may serve from its last good configuration.
        return match live::stop_serving(&paths, name) {
            Outcome::Done(message) => {
                note(message);
                Ok(())
            }
            Outcome::NotRunning | Outcome::Unknown(_) | Outcome::Refused(_)
                if aside(&paths, name).symlink_metadata().is_ok() =>
            {
                note(format_args!("`{name}` is disabled already"));
                Ok(())
            }
            Outcome::NotRunning | Outcome::Unknown(_) | Outcome::Refused(_) => {
                Err(super::unknown(&paths, name))
            }
        };
    }
    if let Err(error) = write_disabled(&paths, name, &path, text) {
        return Err(live::only_live(
            live::stop_serving(&paths, name),
            name,
            error,
        ));
    }
    super::show_findings(&super::look(&paths));
    live::tell(live::stop_serving(&paths, name))
}

fn write_disabled(
    paths: &Paths,
    name: &ClientName,
    path: &Path,
    text: Option<&str>,
) -> io::Result<()> {
    if text.is_some_and(|text| edit::is_enabled(text) == Some(false)) {
        note(format_args!("`{name}` is disabled already"));
    } else if let Some(edited) = text.and_then(edit::disabled) {
        place::file(path, edited.as_bytes(), 0o600, None, Existing::Replace)?;
        note(format_args!("`{name}` is disabled in {}", path.display()));
    } else {
        let aside = aside(paths, name);
        place::rename(path, &aside)?;
        warn(format_args!(
            "the file could not be edited and was moved to {}",
            aside.display()
        ));
    }
    Ok(())
}

pub(super) fn enable(options: &Options, name: &ClientName) -> Run {
    let paths = options.paths();
    let path = client_path(&paths.config, name);
    let aside = aside(&paths, name);
    let source = config::client(&paths.config, name);
    match source.as_ref().map(Source::text) {
        Some(text) if edit::is_enabled(text) == Some(true) => {
            note(format_args!("`{name}` is enabled already"))
        }
        Some(text) => match edit::enabled(text) {
            Some(edited) => {
                place::file(&path, edited.as_bytes(), 0o600, None, Existing::Replace)?;
                note(format_args!("`{name}` is enabled in {}", path.display()));
            }
            None => warn(format_args!("{} cannot be edited as it is", path.display())),
        },
        None if path.symlink_metadata().is_err() && aside.symlink_metadata().is_ok() => {
            place::rename(&aside, &path)?;
            note(format_args!("moved back to {}", path.display()));
        }
        None if path.symlink_metadata().is_ok() => {}
        None => return Err(super::unknown(&paths, name)),
    }
    let findings = super::look(&paths);
    super::show_findings(&findings);
    if findings.has_errors() {
        return Err(crate::cli::Failure::Said);
    }
    live::tell(live::reload_running_daemon(&paths))
}
