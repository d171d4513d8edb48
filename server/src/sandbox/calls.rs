//! [IO] System calls that the engine never needs again, forbidden for all its
//! threads (seccomp).
//!
//! A list of what is forbidden, not of what is allowed: a new libc must not stop
//! the door from opening. What stands here is what a taken engine would want:
//! other programs, other processes, new namespaces with their capabilities,
//! sockets to send keys away or to reach the kernel's lesser known parts.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;

/// Forbidden whatever the arguments.
const NEVER: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_by_handle_at,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_personality,
];

/// `clone` may make threads, and nothing with namespaces of its own.
const NAMESPACES: &[i32] = &[
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// This processor, if its calls are known.
pub(super) fn architecture() -> Option<TargetArch> {
    TargetArch::try_from(std::env::consts::ARCH).ok()
}

/// Forbids them for every thread there is and will be.
///
/// # Errors
/// A kernel without seccomp filters.
pub(super) fn forbid(arch: TargetArch) -> Result<(), seccompiler::Error> {
    programs(arch)?
        .iter()
        .try_for_each(|program| apply_filter_all_threads(program))
}

/// The filters, each with the answer that its calls get.
fn programs(arch: TargetArch) -> Result<[BpfProgram; 2], seccompiler::Error> {
    let never = NEVER.iter().map(|call| (*call, Vec::new()));
    let refused = u32::try_from(libc::EPERM).unwrap_or(1);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = never.collect();
    rules.insert(libc::SYS_clone, namespaces()?);
    // Its flags lie in memory, where no filter sees them: libc falls back to clone.
    let missing = u32::try_from(libc::ENOSYS).unwrap_or(38);
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok([
        program(rules, refused, arch)?,
        program(clone3, missing, arch)?,
    ])
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: u32,
    arch: TargetArch,
) -> Result<BpfProgram, seccompiler::Error> {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        arch,
    )?;
    filter.try_into().map_err(seccompiler::Error::from)
}

/// One rule for each flag: any of them is enough.
fn namespaces() -> Result<Vec<SeccompRule>, seccompiler::Error> {
    let rules = NAMESPACES.iter().map(|flag| {
        let flag = u64::try_from(*flag).unwrap_or(0);
        let set = SeccompCondition::new(
            0,
            SeccompCmpArgLen::Qword,
            SeccompCmpOp::MaskedEq(flag),
            flag,
        )?;
        SeccompRule::new(vec![set])
    });
    rules
        .collect::<Result<_, _>>()
        .map_err(seccompiler::Error::from)
}
