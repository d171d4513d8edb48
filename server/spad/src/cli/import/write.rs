//! [IO] Writes what an import gives: all of it, or nothing.

use std::path::{Path, PathBuf};

use spa_findings::Source;
use spad_migrate::knockd::Imported;
use spad_model::Paths;

use crate::cli::atomic_file::{self, Existing};
use crate::cli::output::note;
use crate::cli::ownership::Owners;
use crate::cli::{CliResult, Failure};

/// The files of sequences first, then spad.toml, which alone makes something of them.
pub(super) fn write_import(paths: &Paths, old: &Source, imported: &Imported) -> CliResult {
    // A link is kept, and the file behind it written.
    let spad = std::fs::canonicalize(paths.config_file())?;
    let mut created = Vec::new();
    let done = write_sequences(paths, imported, &mut created).and_then(|()| {
        if std::fs::read(&spad)? != old.text().as_bytes() {
            return Err(Failure::with_help(
                format_args!("{} was changed meanwhile", spad.display()),
                "say this again",
            ));
        }
        atomic_file::write(
            &spad,
            imported.spad.as_bytes(),
            0o600,
            None,
            Existing::Replace,
        )?;
        Ok(())
    });
    if let Err(failure) = done {
        for path in &created {
            atomic_file::remove(path)?;
        }
        return Err(failure);
    }
    for path in created.iter().chain([&spad]) {
        note(format_args!("wrote {}", path.display()));
    }
    Ok(())
}

fn write_sequences(paths: &Paths, imported: &Imported, created: &mut Vec<PathBuf>) -> CliResult {
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
        atomic_file::create_directory(directory, 0o750, owner)?;
        if !is_unchanged(&path, text)? {
            atomic_file::write(&path, text.as_bytes(), mode, owner, Existing::Refuse)?;
            created.push(path.clone());
        }
        // What the loader refuses to read would keep the next start from all of it.
        spad_config::one_time(&path).map_err(|finding| {
            note(finding);
            Failure::new("nothing was changed".to_owned())
        })?;
    }
    Ok(())
}

/// Whether the file is there already, the same.
fn is_unchanged(path: &Path, text: &str) -> Result<bool, Failure> {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn import_with(before: impl Fn(&Path), sequences: &str) -> (bool, String, bool) {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths {
            config: directory.path().to_owned(),
            state: directory.path().join("state"),
            run: directory.path().join("run"),
        };
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(paths.config_file(), "# old\n").unwrap();
        before(directory.path());
        let old = Source::new(&paths.config_file(), "# old\n".to_owned());
        let imported = Imported {
            spad: "# new\n".to_owned(),
            files: [("one-time/side".to_owned(), sequences.to_owned())].into(),
            ..Imported::default()
        };
        let done = write_import(&paths, &old, &imported).is_ok();
        let text = fs::read_to_string(paths.config_file()).unwrap();
        (done, text, directory.path().join("one-time/side").exists())
    }

    #[test]
    fn sequences_that_the_loader_would_not_read_leave_everything_as_it_was() {
        let nothing = |_: &Path| {};
        let (old, new) = ("# old\n".to_owned(), "# new\n".to_owned());
        assert_eq!(import_with(nothing, "1,20\n"), (true, new, true));
        let long = "1,20\n".repeat(14_000);
        assert_eq!(
            import_with(nothing, &long),
            (false, old.clone(), false),
            "long"
        );
        let open = |directory: &Path| {
            fs::create_dir(directory.join("one-time")).unwrap();
            let mode = fs::Permissions::from_mode(0o777);
            fs::set_permissions(directory.join("one-time"), mode).unwrap();
        };
        assert_eq!(
            import_with(open, "1,20\n"),
            (false, old.clone(), false),
            "open"
        );
        let edited = |directory: &Path| fs::write(directory.join("spad.toml"), "# x\n").unwrap();
        assert_eq!(
            import_with(edited, "1,20\n"),
            (false, "# x\n".to_owned(), false)
        );
        let link = |directory: &Path| {
            std::os::unix::fs::symlink("/tmp", directory.join("one-time")).unwrap();
        };
        assert_eq!(import_with(link, "1,20\n"), (false, old, false), "a link");
    }
}
