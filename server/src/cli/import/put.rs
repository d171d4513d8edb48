//! [IO] Writes what an import gives: all of it, or nothing.

use std::path::{Path, PathBuf};

use spa_findings::Source;

use crate::cli::outcome::note;
use crate::cli::owners::Owners;
use crate::cli::place::{self, Existing};
use crate::cli::{Failure, Run};
use crate::import::knockd::Imported;
use crate::paths::Paths;

/// The files of sequences first, then spad.toml, which alone makes something of them.
pub(super) fn all(paths: &Paths, old: &Source, imported: &Imported) -> Run {
    // A link is kept, and the file behind it written.
    let spad = std::fs::canonicalize(paths.configuration())?;
    let mut made = Vec::new();
    let done = sequences(paths, imported, &mut made).and_then(|()| {
        if std::fs::read(&spad)? != old.text().as_bytes() {
            return Err(Failure::with_help(
                format_args!("{} was changed meanwhile", spad.display()),
                "say this again",
            ));
        }
        place::file(
            &spad,
            imported.spad.as_bytes(),
            0o600,
            None,
            Existing::Replace,
        )?;
        Ok(())
    });
    if let Err(failure) = done {
        for path in &made {
            place::remove(path)?;
        }
        return Err(failure);
    }
    for path in made.iter().chain([&spad]) {
        note(format_args!("wrote {}", path.display()));
    }
    Ok(())
}

fn sequences(paths: &Paths, imported: &Imported, made: &mut Vec<PathBuf>) -> Run {
    let owners = Owners::find();
    // Who reads them knows how to get in.
    let owner = owners.configuration().or(owners.state());
    let mode = if owner.is_some() { 0o640 } else { 0o600 };
    for (name, text) in &imported.files {
        let path = paths.config.join(name);
        let directory = path.parent().unwrap_or(&paths.config);
        if directory
            .symlink_metadata()
            .is_ok_and(|status| !status.is_dir())
        {
            return Err(Failure::with_help(
                format_args!("{} is not a directory", directory.display()),
                "move it away, then say this again",
            ));
        }
        place::directory(directory, 0o750, owner)?;
        if is_there(&path, text)? {
            continue;
        }
        place::file(&path, text.as_bytes(), mode, owner, Existing::Refuse)?;
        made.push(path);
    }
    Ok(())
}

/// Whether the file is there already, the same.
fn is_there(path: &Path, text: &str) -> Result<bool, Failure> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
        Ok(status) if status.is_file() && std::fs::read(path)? == text.as_bytes() => Ok(true),
        Ok(_) => Err(Failure::with_help(
            format_args!(
                "{} is there already, and holds something else",
                path.display()
            ),
            "move it away, then say this again",
        )),
    }
}
