//! Drops privileges of a process permanently.
//!
//! Order of the calls: [`become_user`] first, then [`set_undumpable`] and
//! [`set_parent_death_signal`] (a change of user clears both), then [`set_no_new_privs`].
#![expect(
    unsafe_code,
    reason = "rustix changes users a thread at a time; the C library changes the whole process"
)]

use std::collections::BTreeSet;
use std::io;

use rustix::process::{DumpableBehavior, Signal};

/// Changes the whole process to this user, with exactly these supplementary groups:
/// real, effective and saved ids. This drops the capabilities too, unless they were
/// retained beforehand (`PR_SET_KEEPCAPS`).
///
/// # Errors
/// Refuses root's ids. On a kernel error the process may have lost a part of its
/// privileges and must exit.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    if uid == 0 || gid == 0 || groups.contains(&0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "user or group 0 keeps root's files; name an ordinary user",
        ));
    }
    // SAFETY: the pointer and the length are those of one slice, which the call only reads.
    checked(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: takes numbers only.
    checked(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: takes numbers only.
    checked(unsafe { libc::setresuid(uid, uid, uid) })?;
    if !is_user(uid, gid, groups)? || can_regain_root() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "privileges were not given away: the former user can still be regained",
        ));
    }
    Ok(())
}

/// Whether all six ids and the groups are as requested.
fn is_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<bool> {
    let (mut uids, mut gids) = ([u32::MAX; 3], [u32::MAX; 3]);
    let [real, effective, saved] = &mut uids;
    // SAFETY: three valid places to write one number each.
    checked(unsafe { libc::getresuid(real, effective, saved) })?;
    let [real, effective, saved] = &mut gids;
    // SAFETY: three valid places to write one number each.
    checked(unsafe { libc::getresgid(real, effective, saved) })?;
    let actual: BTreeSet<u32> = rustix::process::getgroups()?
        .into_iter()
        .map(rustix::process::Gid::as_raw)
        .collect();
    let expected: BTreeSet<u32> = groups.iter().copied().collect();
    Ok(uids == [uid; 3] && gids == [gid; 3] && actual == expected)
}

/// Tries to become root again, which must fail.
fn can_regain_root() -> bool {
    // SAFETY: take numbers only.
    unsafe {
        libc::setresuid(u32::MAX, 0, u32::MAX) == 0 || libc::setresgid(u32::MAX, 0, u32::MAX) == 0
    }
}

/// Prevents programs that this process executes from gaining privileges
/// (`PR_SET_NO_NEW_PRIVS`). Unprivileged landlock and seccomp require it too.
///
/// # Errors
/// What the kernel reports.
pub fn set_no_new_privs() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Disables core files, and reading this process's memory by others of the same user.
///
/// # Errors
/// What the kernel reports.
pub fn set_undumpable() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(
        DumpableBehavior::NotDumpable,
    )?)
}

/// Prevents writable memory from becoming executable, and executable memory from becoming
/// writable (`PR_SET_MDWE`). Returns false on kernels before 6.3.
pub fn set_memory_deny_write_execute() -> bool {
    let none: libc::c_ulong = 0;
    let gain = libc::c_ulong::from(libc::PR_MDWE_REFUSE_EXEC_GAIN);
    // SAFETY: takes numbers only, as many as the kernel asks to be zero.
    unsafe { libc::prctl(libc::PR_SET_MDWE, gain, none, none, none) == 0 }
}

/// Makes the kernel kill this process when the thread that started it exits. A change of
/// user clears this. A parent that exited before the call goes unnoticed, so also watch for
/// the end of the socket to it.
///
/// # Errors
/// What the kernel reports.
pub fn set_parent_death_signal() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

/// Leaves the terminal: Ctrl-C is for the engine alone, which stops the other processes.
pub fn new_session() {
    // Fails only if this is done already.
    let _ = rustix::process::setsid();
}

/// Lets this process continue when the one that started it exits.
///
/// # Errors
/// What the kernel reports.
pub fn clear_parent_death_signal() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(None)?)
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes writes beyond the file size limit (`RLIMIT_FSIZE`) fail instead of ending this
/// process, because the file may be the log. Unlike an ignored signal, programs that this
/// process starts do not inherit it.
pub fn handle_sigxfsz() {
    extern "C" fn noop(_signal: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = noop;
    // SAFETY: the handler touches nothing, so it may run at any point of any thread.
    unsafe { libc::signal(libc::SIGXFSZ, handler as libc::sighandler_t) };
}
