//! [IO] Whether others can change a program, or put another into its place.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Links on the way to one program, at most: the kernel follows no more either.
const MAX_LINKS: usize = 40;

/// What others than its owner, and root's group, may change: the program, or else a
/// directory or link's directory on the way to it from the root on.
///
/// # Errors
/// Where the program cannot be looked at, or too many links lead to it.
pub fn writable_by_others(program: &Path) -> io::Result<Option<PathBuf>> {
    if others_may_write(&std::fs::metadata(program)?) {
        return Ok(Some(program.to_owned()));
    }
    let mut seen = BTreeSet::new();
    let mut paths = vec![program.to_owned()];
    let mut links = 0_usize;
    while let Some(path) = paths.pop() {
        for part in path.ancestors() {
            if !seen.insert(part.to_owned()) {
                continue;
            }
            if let Ok(target) = std::fs::read_link(part) {
                links = links.saturating_add(1);
                if links > MAX_LINKS {
                    return Err(io::Error::other("too many links lead to it"));
                }
                paths.push(part.parent().unwrap_or(part).join(target));
            }
            let status = std::fs::metadata(part)?;
            // Of a sticky directory, as /tmp, nobody takes out what is another's.
            let is_sticky = status.mode() & 0o1000 != 0;
            if status.is_dir() && !is_sticky && others_may_write(&status) {
                return Ok(Some(part.to_owned()));
            }
        }
    }
    Ok(None)
}

/// Whether somebody besides its owner, and root's group, may change the file.
fn others_may_write(status: &Metadata) -> bool {
    let by_group = status.mode() & 0o020 != 0 && status.gid() != 0;
    status.mode() & 0o002 != 0 || by_group
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    /// `real/sub/program`, with nothing of it open to others.
    fn fixture() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let sub = directory.path().join("real/sub");
        fs::create_dir_all(&sub).unwrap();
        let program = sub.join("program");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        for path in [directory.path(), sub.parent().unwrap(), &sub, &program] {
            set_mode(path, 0o755);
        }
        (directory, program)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_others_may_write_to_on_the_whole_way_to_a_program_is_found() {
        let (_directory, program) = fixture();
        assert_eq!(writable_by_others(&program).unwrap(), None);
        for part in program.ancestors().take(4) {
            for (mode, group, is_found) in [
                (0o757, 0, true),
                (0o775, 4242, true),
                (0o775, 0, false),
                (0o755, 4242, false),
            ] {
                chown(part, None, Some(group)).unwrap();
                set_mode(part, mode);
                let found = writable_by_others(&program).unwrap();
                let expected = is_found.then(|| part.to_owned());
                assert_eq!(found, expected, "{} {mode:o}", part.display());
            }
        }
    }

    #[test]
    fn in_a_sticky_directory_nobody_replaces_what_is_anothers() {
        let (directory, program) = fixture();
        set_mode(directory.path(), 0o1777);
        assert_eq!(writable_by_others(&program).unwrap(), None);
    }

    #[test]
    fn the_directories_of_links_and_of_what_they_lead_to_count() {
        let (directory, program) = fixture();
        let elsewhere = directory.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        set_mode(&elsewhere, 0o755);
        symlink(program.parent().unwrap(), elsewhere.join("bin")).unwrap();
        symlink("elsewhere/bin/program", directory.path().join("run")).unwrap();
        let link = directory.path().join("run");
        assert_eq!(writable_by_others(&link).unwrap(), None);
        let real = directory.path().join("real");
        for part in [&elsewhere, &real] {
            set_mode(part, 0o757);
            assert_eq!(writable_by_others(&link).unwrap().as_ref(), Some(part));
            set_mode(part, 0o755);
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_no_program_that_nobody_can_change() {
        let (directory, _program) = fixture();
        assert!(writable_by_others(&directory.path().join("none")).is_err());
        let endless = directory.path().join("endless");
        symlink("endless", &endless).unwrap();
        assert!(writable_by_others(&endless).is_err());
    }
}
