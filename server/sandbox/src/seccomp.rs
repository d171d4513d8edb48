//! [IO] Forbids system calls that the engine, or the firewall writer, never needs again, for
//! all of their threads (seccomp).
//!
//! A list of forbidden calls, not of allowed ones, because a newer libc must not stop the
//! service. It forbids what a compromised process would want: other programs and processes,
//! new namespaces with their capabilities, sending keys out, its own machine code, rarely
//! used parts of the kernel.
//!
//! The engine's packet sockets are bound to no interface, so a frame can be sent through them
//! only to an address that names one. Calls with an address are forbidden, and so are calls
//! that bind a socket: `write`, `splice` and the like then fail with ENXIO.

use std::collections::BTreeMap;

use libc::c_long;
#[cfg(target_arch = "x86_64")]
use seccompiler::sock_filter;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

/// A filter, or the error of building it.
type Built<T> = Result<T, seccompiler::Error>;

/// Forbidden to both, with any arguments.
const DENIED: &[c_long] = &[
    // Other processes: their memory, files and execution.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_open_by_handle_at,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    // Namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_personality,
    // Rarely used parts of the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
    libc::SYS_io_submit,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    KEXEC_FILE_LOAD,
];

/// Linux 6.15, with one number on every processor; libc does not define it yet.
const OPEN_TREE_ATTR: c_long = 467;

/// libc does not define it for this processor: asm-generic/unistd.h.
#[cfg(target_arch = "riscv64")]
const KEXEC_FILE_LOAD: c_long = 294;
#[cfg(not(target_arch = "riscv64"))]
const KEXEC_FILE_LOAD: c_long = libc::SYS_kexec_file_load;

/// Also forbidden to the engine, with any arguments.
const DENIED_IN_ENGINE: &[c_long] = &[
    // Other programs, and memory to build them in.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_memfd_create,
    // Sockets, their destinations, and calls that carry an address or a descriptor.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_setsockopt,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_vmsplice,
    // Other processes of the same user.
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    libc::SYS_setpriority,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_ioprio_set,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Watching files.
    libc::SYS_inotify_init1,
    libc::SYS_fanotify_init,
];

/// Calls forbidden to the engine that only this processor has.
#[cfg(target_arch = "x86_64")]
const NEVER_IN_ENGINE_HERE: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_modify_ldt,
    libc::SYS_inotify_init,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_IN_ENGINE_HERE: &[c_long] = &[];

/// Forbidden flags of `clone`: it may create threads, but no namespaces.
const NAMESPACES: &[i32] = &[
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Forbidden options of `prctl`: opening this process to others, or moving its memory areas.
const PROCESS_OPTIONS: &[i32] = &[libc::PR_SET_DUMPABLE, libc::PR_SET_PTRACER, libc::PR_SET_MM];

/// Forbidden requests of `ioctl`: typing on the terminal.
const TERMINAL_REQUESTS: &[u64] = &[libc::TIOCSTI, libc::TIOCLINUX];

/// Requests of `ioctl` that set a socket's signal owner: FIOSETOWN and SIOCSPGRP (asm-generic/sockios.h).
const SIGNAL_OWNER_REQUESTS: &[u64] = &[0x8901, 0x8902];

/// Forbidden commands of `fcntl`: making the kernel send signals to other processes.
const SIGNAL_OWNERS: &[i32] = &[libc::F_SETOWN, F_SETOWN_EX, F_SETSIG];

/// asm-generic/fcntl.h.
const F_SETSIG: i32 = 10;
const F_SETOWN_EX: i32 = 15;

/// Calls with this bit belong to a second table, x32, which no rule above covers.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// This processor, if its system calls are known.
pub(super) fn architecture() -> Option<TargetArch> {
    TargetArch::try_from(std::env::consts::ARCH).ok()
}

/// Installs the engine's filters for all its present and future threads.
///
/// # Errors
/// The kernel lacks seccomp filters.
pub(super) fn install_engine_filter(arch: TargetArch) -> Built<()> {
    apply(&engine(arch, std::process::id())?)
}

/// Installs the writer's filters, which the programs that it runs inherit.
///
/// # Errors
/// The kernel lacks seccomp filters.
pub(super) fn install_writer_filter(arch: TargetArch) -> Built<()> {
    apply(&writer(arch)?)
}

fn apply(programs: &[BpfProgram]) -> Built<()> {
    programs
        .iter()
        .try_for_each(|program| apply_filter_all_threads(program))
}

/// The engine's filters, for a process with this id. Of several answers to a call the
/// kernel uses the strictest.
fn engine(arch: TargetArch, process: u32) -> Built<Vec<BpfProgram>> {
    let mut rules = deny(&[DENIED, DENIED_IN_ENGINE, NEVER_IN_ENGINE_HERE]);
    deny_common(&mut rules)?;
    let mut threads = namespaces()?;
    // A child would survive the service.
    threads.push(one(masked(0, libc::CLONE_THREAD, 0)?)?);
    rules.insert(libc::SYS_clone, threads);
    // A destination address.
    let addressed = SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_sendto, vec![one(addressed)?]);
    for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        let executable = masked(2, libc::PROT_EXEC, libc::PROT_EXEC)?;
        rules.insert(call, vec![one(executable)?]);
    }
    // It may end itself by a signal.
    let others = compared(0, SeccompCmpOp::Ne, u64::from(process))?;
    rules.insert(libc::SYS_tgkill, vec![one(others)?]);
    for call in [libc::SYS_prlimit64, libc::SYS_sched_setattr] {
        rules.insert(call, vec![one(compared(0, SeccompCmpOp::Ne, 0)?)?]);
    }
    let owners = SIGNAL_OWNERS.iter().map(|owner| number(*owner));
    rules.insert(libc::SYS_fcntl, equal(1, owners)?);
    let requests = TERMINAL_REQUESTS.iter().chain(SIGNAL_OWNER_REQUESTS);
    rules.insert(libc::SYS_ioctl, equal(1, requests.copied())?);
    // Pairs of other families (TIPC) reach kernel code that nothing else would load.
    let other = compared(0, SeccompCmpOp::Ne, number(libc::AF_UNIX))?;
    rules.insert(libc::SYS_socketpair, vec![one(other)?]);
    programs(rules, arch)
}

/// The filters of the firewall writer, which `nft` inherits.
fn writer(arch: TargetArch) -> Built<Vec<BpfProgram>> {
    let mut rules = deny(&[DENIED]);
    deny_common(&mut rules)?;
    rules.insert(libc::SYS_clone, namespaces()?);
    // The kernel's firewall uses netlink; looking up a user may use a local socket.
    let families = [libc::AF_UNIX, libc::AF_NETLINK];
    let families = families.map(|family| compared(0, SeccompCmpOp::Ne, number(family)));
    let [local, netlink] = families;
    let other = SeccompRule::new(vec![local?, netlink?])?;
    rules.insert(libc::SYS_socket, vec![other]);
    programs(rules, arch)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn deny(lists: &[&[c_long]]) -> Rules {
    let calls = lists.iter().copied().flatten();
    calls.map(|call| (*call, Vec::new())).collect()
}

/// Adds what is forbidden to both by its arguments.
fn deny_common(rules: &mut Rules) -> Built<()> {
    let options = PROCESS_OPTIONS.iter().map(|option| number(*option));
    rules.insert(libc::SYS_prctl, equal(0, options)?);
    let requests = TERMINAL_REQUESTS.iter().copied();
    rules.insert(libc::SYS_ioctl, equal(1, requests)?);
    Ok(())
}

fn programs(rules: Rules, arch: TargetArch) -> Built<Vec<BpfProgram>> {
    let refused = u32::try_from(libc::EPERM).unwrap_or(1);
    // Its flags are in memory, where no filter sees them: libc falls back to clone.
    let missing = u32::try_from(libc::ENOSYS).unwrap_or(38);
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    // Calls of another processor's table end the process; seccompiler adds that itself.
    let mut programs = vec![
        program(rules, refused, arch)?,
        program(clone3, missing, arch)?,
    ];
    programs.extend(second_table(refused));
    Ok(programs)
}

/// Refuses this processor's second table completely, if there is one.
#[cfg(target_arch = "x86_64")]
fn second_table(errno: u32) -> Option<BpfProgram> {
    let step = |code: u32, jt, jf, k| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    Some(vec![
        // The call's number is the first word of a filter's input.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        step(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ERRNO | errno),
        step(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ALLOW),
    ])
}
#[cfg(not(target_arch = "x86_64"))]
const fn second_table(_errno: u32) -> Option<BpfProgram> {
    None
}

fn program(rules: Rules, errno: u32, arch: TargetArch) -> Built<BpfProgram> {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        arch,
    )?;
    filter.try_into().map_err(seccompiler::Error::from)
}

/// One rule per flag; any of them matches.
fn namespaces() -> Built<Vec<SeccompRule>> {
    let rules = NAMESPACES.iter();
    rules
        .map(|flag| one(masked(0, *flag, *flag)?))
        .collect::<Built<_>>()
}

/// One rule per value of this argument.
fn equal(argument: u8, values: impl Iterator<Item = u64>) -> Built<Vec<SeccompRule>> {
    values
        .map(|value| one(compared(argument, SeccompCmpOp::Eq, value)?))
        .collect::<Built<_>>()
}

fn one(condition: SeccompCondition) -> Built<SeccompRule> {
    Ok(SeccompRule::new(vec![condition])?)
}

/// Compares the lower half of the argument, because the kernel uses only that.
fn compared(argument: u8, how: SeccompCmpOp, value: u64) -> Built<SeccompCondition> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        how,
        value,
    )?)
}

/// Compares these bits of the argument.
fn masked(argument: u8, mask: i32, bits: i32) -> Built<SeccompCondition> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(number(mask)),
        number(bits),
    )?)
}

/// A constant of libc as a number; none is negative.
fn number(constant: i32) -> u64 {
    u64::try_from(constant).unwrap_or(0)
}

#[cfg(test)]
mod tests;
