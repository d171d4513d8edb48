//! Prepares a child process: another user, without any of our privileges.
#![expect(
    unsafe_code,
    reason = "what a process does between fork and exec is for the caller to answer for"
)]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Gid, Pid, Resource, Rlimit, Signal, Uid, getpid, getppid};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Maximum number of files that the child may have open.
const MAX_FILES: u64 = 1024;

/// Makes the command's process become this user before it executes its program. It gets
/// its own session, no capabilities and no means to gain any, and only the standard
/// descriptors. The kernel kills it when this process exits.
pub fn prepare_child(command: &mut Command, uid: u32, gid: u32, groups: &[u32]) {
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let parent = getpid();
    // SAFETY: between fork and exec the closure makes system calls and nothing else: it
    // takes no lock and allocates nothing, and frees nothing either.
    unsafe { command.pre_exec(move || become_child(uid, gid, &groups, parent)) };
}

fn become_child(uid: Uid, gid: Gid, groups: &[Gid], parent: Pid) -> io::Result<()> {
    rustix::process::setsid()?;
    lower_limit(Resource::Core, 0)?;
    lower_limit(Resource::Nofile, MAX_FILES)?;
    // The thread's own calls suffice because there is no other thread.
    rustix::thread::set_thread_groups(groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)?;
    rustix::thread::set_no_new_privs(true)?;
    // A change of user clears this, so it comes last.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(parent) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    close_on_exec()
}

fn lower_limit(resource: Resource, max: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(max),
        maximum: Some(max),
    };
    let now = rustix::process::getrlimit(resource);
    if now.maximum.is_none_or(|maximum| maximum > max) {
        rustix::process::setrlimit(resource, limit)?;
    }
    Ok(())
}

/// Marks everything but the standard descriptors to be closed by the following exec.
fn close_on_exec() -> io::Result<()> {
    // SAFETY: takes numbers only, and closes nothing now.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        return Ok(());
    }
    // Before Linux 5.11. No descriptor exceeds the limit.
    let hard_limit = rustix::process::getrlimit(Resource::Nofile).maximum;
    for descriptor in 3..hard_limit.unwrap_or(MAX_FILES).min(1 << 20) {
        let descriptor = i32::try_from(descriptor).unwrap_or(i32::MAX);
        // SAFETY: takes numbers only; fails for what is not open.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}
