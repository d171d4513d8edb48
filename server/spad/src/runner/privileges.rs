//! [IO] What the runner keeps: the user `spad-run`, and what it takes to become the
//! users of commands and to end what runs as them. A failed step ends the start.

use std::collections::HashSet;

use caps::{CapSet, Capability};

use super::RunnerError;

fn syscall_error<E: std::fmt::Display>(step: &'static str) -> impl Fn(E) -> RunnerError {
    move |reason| RunnerError::Syscall {
        step,
        reason: reason.to_string(),
    }
}

/// The user to become, and the group that may read the configuration.
fn identity() -> Option<(spad_sys::users::User, Vec<u32>, bool)> {
    let readers = spad_sys::users::group("spad").ok().flatten();
    let readers = readers.iter().map(|group| group.gid).collect();
    let known = |name| spad_sys::users::user(name).ok().flatten();
    let own = known("spad-run").map(|user| (user, false));
    let (user, stand_in) = own.or_else(|| known("nobody").map(|user| (user, true)))?;
    Some((user, readers, stand_in))
}

/// The runner's user and groups, by number, where it can be told.
pub(crate) fn config_reader() -> Option<(u32, Vec<u32>)> {
    let (user, readers, _) = identity()?;
    Some((user.uid, [user.gid].into_iter().chain(readers).collect()))
}

/// Gives away everything but what it needs, for good.
pub(super) fn drop_privileges() -> Result<(), RunnerError> {
    let needed = HashSet::from([
        Capability::CAP_SETUID,
        Capability::CAP_SETGID,
        // A program of another user is ended by a signal.
        Capability::CAP_KILL,
    ]);
    let permitted = caps::read(None, CapSet::Permitted).unwrap_or_default();
    if !needed.is_subset(&permitted) {
        return Err(RunnerError::MissingCapability);
    }
    let (user, readers, stand_in) = identity().ok_or(RunnerError::MissingUser)?;
    if stand_in {
        super::warn("there is no user `spad-run`, so the command runner runs as `nobody`");
    }
    rustix::process::chdir("/").map_err(syscall_error("work in the root directory"))?;
    rustix::thread::set_keep_capabilities(true).map_err(syscall_error("keep CAP_SETUID"))?;
    spad_sys::process::become_user(user.uid, user.gid, &readers)
        .map_err(syscall_error("become the runner's user"))?;
    let nothing = HashSet::new();
    for (set, capabilities) in [
        (CapSet::Effective, &needed),
        (CapSet::Inheritable, &nothing),
        (CapSet::Ambient, &nothing),
        (CapSet::Permitted, &needed),
    ] {
        caps::set(None, set, capabilities)
            .map_err(syscall_error("keep CAP_SETUID, CAP_SETGID and CAP_KILL"))?;
    }
    spad_sys::process::set_no_new_privs().map_err(syscall_error("refuse new privileges"))?;
    spad_sys::process::set_undumpable().map_err(syscall_error("forbid core dumps"))
}
