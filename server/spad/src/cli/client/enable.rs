//! `spad client disable` and `enable`: one line in the client's file.
//!
//! Works whatever state the files are in, and is never refused: a file that
//! cannot be edited for sure is moved aside, and moved back by the other.

use std::io;
use std::path::{Path, PathBuf};

use spa_findings::Source;
use spad_config::{client_path, edit};
use spad_model::{ClientName, Paths};

use crate::cli::atomic_file::{self, Existing};
use crate::cli::daemon_client::{self, DaemonReply};
use crate::cli::output::{note, warn};
use crate::cli::{CliResult, Options};

/// What a file that was moved aside is called: the loader passes it over.
pub(super) fn disabled_path(paths: &Paths, name: &ClientName) -> PathBuf {
    client_path(&paths.config, name).with_extension("toml.disabled")
}

pub(super) fn disable(options: &Options, name: &ClientName) -> CliResult {
    let paths = options.paths();
    let path = client_path(&paths.config, name);
    let source = spad_config::client(&paths.config, name);
    let text = source.as_ref().map(Source::text);
    let status = path.symlink_metadata();
    if let Err(error) = &status
        && error.kind() != std::io::ErrorKind::NotFound
    {
        let problem = format!("{}: {error}", path.display());
        return Err(daemon_client::live_only_result(
            daemon_client::disable_in_daemon(&paths, name),
            name,
            problem,
        ));
    }
    if status.is_err() {
        // The daemon may serve from its last good configuration.
        return match daemon_client::disable_in_daemon(&paths, name) {
            DaemonReply::Done(message) => {
                note(message);
                Ok(())
            }
            DaemonReply::NotRunning | DaemonReply::Unknown(_) | DaemonReply::Refused(_)
                if disabled_path(&paths, name).symlink_metadata().is_ok() =>
            {
                note(format_args!("`{name}` is disabled already"));
                Ok(())
            }
            DaemonReply::NotRunning | DaemonReply::Unknown(_) | DaemonReply::Refused(_) => {
                Err(super::unknown(&paths, name))
            }
        };
    }
    if let Err(error) = write_disabled(&paths, name, &path, text) {
        return Err(daemon_client::live_only_result(
            daemon_client::disable_in_daemon(&paths, name),
            name,
            error,
        ));
    }
    super::show_findings(&super::check_config(&paths));
    daemon_client::report(daemon_client::disable_in_daemon(&paths, name))
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
        atomic_file::write(path, edited.as_bytes(), 0o600, None, Existing::Replace)?;
        note(format_args!("`{name}` is disabled in {}", path.display()));
    } else {
        let disabled = disabled_path(paths, name);
        atomic_file::rename(path, &disabled)?;
        warn(format_args!(
            "the file could not be edited and was moved to {}",
            disabled.display()
        ));
    }
    Ok(())
}

pub(super) fn enable(options: &Options, name: &ClientName) -> CliResult {
    let paths = options.paths();
    let path = client_path(&paths.config, name);
    let disabled = disabled_path(&paths, name);
    let source = spad_config::client(&paths.config, name);
    match source.as_ref().map(Source::text) {
        Some(text) if edit::is_enabled(text) == Some(true) => {
            note(format_args!("`{name}` is enabled already"))
        }
        Some(text) => match edit::enabled(text) {
            Some(edited) => {
                atomic_file::write(&path, edited.as_bytes(), 0o600, None, Existing::Replace)?;
                note(format_args!("`{name}` is enabled in {}", path.display()));
            }
            None => warn(format_args!("{} cannot be edited as it is", path.display())),
        },
        None if path.symlink_metadata().is_err() && disabled.symlink_metadata().is_ok() => {
            atomic_file::rename(&disabled, &path)?;
            note(format_args!("moved back to {}", path.display()));
        }
        None if path.symlink_metadata().is_ok() => {}
        None => return Err(super::unknown(&paths, name)),
    }
    let findings = super::check_config(&paths);
    super::show_findings(&findings);
    if findings.has_errors() {
        return Err(crate::cli::Failure::AlreadyReported);
    }
    daemon_client::report(daemon_client::reload_running_daemon(&paths))
}
