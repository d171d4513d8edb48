//! [IO] The directories of the daemon, and who owns them.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

use spad_sandbox::Identity;

use super::start_error::StartError;

/// Warns of a state directory in which the engine could replace the files that root and the
/// firewall writer read. `spad init` makes it root's.
pub(super) fn state_owner_warning(state: &Path, engine: u32) -> Option<String> {
    let owner = std::fs::metadata(state).ok()?.uid();
    (owner == engine).then(|| {
        let state = state.display();
        format!(
            "{state} belongs to the engine's user, which could replace the firewall writer's files in it; help: chown root {state}, and chmod 750 {state} with the engine's group"
        )
    })
}

/// Makes the audit file's directory, owned by the engine, if it does not exist.
pub(super) fn make_audit_directory(audit: &Path, identity: &Identity) -> Result<(), StartError> {
    let Some(directory) = audit.parent() else {
        return Ok(());
    };
    let created = match DirBuilder::new().mode(0o750).create(directory) {
        Ok(()) => lchown(directory, Some(identity.uid), Some(identity.gid)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    created.map_err(|source| StartError::Audit {
        path: audit.to_owned(),
        source,
    })
}

/// Makes the run directory, owned by root, so that nobody else can replace the control socket.
pub(super) fn make_run_directory(run: &Path) -> Result<(), StartError> {
    let failed = |reason: std::io::Error| StartError::RunDirectory {
        path: run.to_owned(),
        reason: reason.to_string(),
    };
    if run.symlink_metadata().is_err() {
        DirBuilder::new()
            .recursive(true)
            .create(run)
            .map_err(failed)?;
        // Members of spad-admin must get through, whatever the umask is.
        std::fs::set_permissions(run, Permissions::from_mode(0o755)).map_err(failed)?;
    }
    let found = std::fs::symlink_metadata(run).map_err(failed)?;
    if !found.is_dir()
        || found.uid() != rustix::process::geteuid().as_raw()
        || found.mode() & 0o022 != 0
    {
        return Err(failed(std::io::Error::other(
            "it must be a directory that only root can write to",
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_run_directory_nobody_else_can_stand_in_the_control_sockets_place() {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path().join("run");
        make_run_directory(&run).unwrap();
        make_run_directory(&run).unwrap();
        for mode in [0o775, 0o757] {
            std::fs::set_permissions(&run, Permissions::from_mode(mode)).unwrap();
            assert!(make_run_directory(&run).is_err(), "{mode:o}");
        }
        std::fs::set_permissions(&run, Permissions::from_mode(0o755)).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&run, &link).unwrap();
        assert!(make_run_directory(&link).is_err(), "a link");
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        assert!(make_run_directory(&file).is_err(), "a file");
        // Needs root.
        lchown(&run, Some(4242), None).unwrap();
        assert!(make_run_directory(&run).is_err(), "another's");
    }

    #[test]
    fn a_state_directory_of_the_engine_is_complained_of() {
        let directory = tempfile::tempdir().unwrap();
        let owner = std::fs::metadata(directory.path()).unwrap().uid();
        let said = state_owner_warning(directory.path(), owner).unwrap();
        assert!(said.contains("help: chown root"), "{said}");
        assert_eq!(state_owner_warning(directory.path(), owner + 1), None);
    }
}
