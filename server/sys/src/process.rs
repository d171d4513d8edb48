//! What a process may still do: privileges given away, for good.
//!
//! The order that works: [`become_user`] first, then [`set_undumpable`] and
//! [`set_parent_death_signal`] (a change of user undoes both), then [`set_no_new_privs`].
#![expect(
    unsafe_code,
    reason = "rustix changes users a thread at a time; the C library changes the whole process"
)]

use std::collections::BTreeSet;
use std::io;

use rustix::process::{DumpableBehavior, Signal};

/// Turns the whole process into this user, with these supplementary groups and
/// no others: real, effective and saved numbers alike. Capabilities go with it,
/// unless kept on purpose beforehand (`PR_SET_KEEPCAPS`).
///
/// # Errors
/// Root's numbers are refused. What the kernel refuses is reported; then the process may have lost a part of
/// its privileges and must end.
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

/// Whether all six numbers and the groups are what was asked for.
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

/// Tries what must fail.
fn can_regain_root() -> bool {
    // SAFETY: take numbers only.
    unsafe {
        libc::setresuid(u32::MAX, 0, u32::MAX) == 0 || libc::setresgid(u32::MAX, 0, u32::MAX) == 0
    }
}

/// No program that this process executes gains privileges any more
/// (`PR_SET_NO_NEW_PRIVS`); also what unprivileged landlock and seccomp ask for.
///
/// # Errors
/// What the kernel reports.
pub fn set_no_new_privs() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// No core file, and no other process of the same user may read its memory.
///
/// # Errors
/// What the kernel reports.
pub fn set_undumpable() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(
        DumpableBehavior::NotDumpable,
    )?)
}

/// No memory of this process becomes executable any more, nor what is executable writable
/// (`PR_SET_MDWE`). False where the kernel is older than 6.3.
pub fn set_memory_deny_write_execute() -> bool {
    let none: libc::c_ulong = 0;
    let gain = libc::c_ulong::from(libc::PR_MDWE_REFUSE_EXEC_GAIN);
    // SAFETY: takes numbers only, as many as the kernel asks to be zero.
    unsafe { libc::prctl(libc::PR_SET_MDWE, gain, none, none, none) == 0 }
}

/// The kernel kills this process when the thread that started it ends. Undone by
/// a change of user. A parent that ended before the call is not noticed: also
/// watch for the end of the socket to it.
///
/// # Errors
/// What the kernel reports.
pub fn set_parent_death_signal() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

/// Leaves the terminal: Ctrl-C is for the engine alone, which tells the others to end.
pub fn new_session() {
    // Refused only to one that left it already.
    let _ = rustix::process::setsid();
}

/// This process goes on when the one that started it ends.
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

/// A file that has reached its limit (`RLIMIT_FSIZE`) takes nothing more, and does not end this
/// process: it may be the log. As if the signal were ignored, and not for the programs that
/// this process starts, where it ends what cannot go on.
pub fn handle_sigxfsz() {
    extern "C" fn noop(_signal: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = noop;
    // SAFETY: the handler touches nothing, so it may run at any point of any thread.
    unsafe { libc::signal(libc::SIGXFSZ, handler as libc::sighandler_t) };
}
