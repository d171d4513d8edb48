//! [IO] System calls that the engine, or the firewall writer, never needs again, forbidden
//! for all its threads (seccomp).
//!
//! A list of what is forbidden, not of what is allowed: a newer libc must not stop
//! the service. What it forbids is what a compromised process would want: other
//! programs, other processes, new namespaces with their capabilities, a way to send
//! keys out, machine code of its own, the kernel's lesser known parts.
//!
//! The engine's packet sockets are bound to no interface, so a frame can leave through them
//! only to an address that names one. Calls that carry an address are refused, and so are
//! those that would bind a socket: `write`, `splice` and the like then fail with ENXIO.

use std::collections::BTreeMap;

use libc::c_long;
#[cfg(target_arch = "x86_64")]
use seccompiler::sock_filter;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

/// A filter, or why there is none.
type Built<T> = Result<T, seccompiler::Error>;

/// Forbidden to both, whatever the arguments.
const DENIED: &[c_long] = &[
    // Memory, files and fate of other processes.
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
    // Another view of the machine.
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
    // The kernel's lesser known parts.
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

/// Linux 6.15, with one number on every processor; libc does not name it yet.
const OPEN_TREE_ATTR: c_long = 467;

/// For this processor libc does not name it: asm-generic/unistd.h.
#[cfg(target_arch = "riscv64")]
const KEXEC_FILE_LOAD: c_long = 294;
#[cfg(not(target_arch = "riscv64"))]
const KEXEC_FILE_LOAD: c_long = libc::SYS_kexec_file_load;

/// Forbidden to the engine as well, whatever the arguments.
const DENIED_IN_ENGINE: &[c_long] = &[
    // Other programs, and what they could be made of.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_memfd_create,
    // Sockets, where they lead, and calls that carry an address or a descriptor.
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
    // What others do with their files.
    libc::SYS_inotify_init1,
    libc::SYS_fanotify_init,
];

/// The same, of calls that only this processor has.
#[cfg(target_arch = "x86_64")]
const NEVER_IN_ENGINE_HERE: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_modify_ldt,
    libc::SYS_inotify_init,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_IN_ENGINE_HERE: &[c_long] = &[];

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

/// What `prctl` may not do: open this process to others, or move its parts.
const PROCESS_OPTIONS: &[i32] = &[libc::PR_SET_DUMPABLE, libc::PR_SET_PTRACER, libc::PR_SET_MM];

/// What `ioctl` may not do: type on the terminal of whoever started this process.
const TERMINAL_REQUESTS: &[u64] = &[libc::TIOCSTI, libc::TIOCLINUX];

/// The same by `ioctl`, of a socket: FIOSETOWN and SIOCSPGRP (asm-generic/sockios.h).
const SIGNAL_OWNER_REQUESTS: &[u64] = &[0x8901, 0x8902];

/// What `fcntl` may not do: have the kernel send signals to others.
const SIGNAL_OWNERS: &[i32] = &[libc::F_SETOWN, F_SETOWN_EX, F_SETSIG];

/// asm-generic/fcntl.h.
const F_SETSIG: i32 = 10;
const F_SETOWN_EX: i32 = 15;

/// Calls with this bit are those of a second table, x32, that no rule above names.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// This processor, if its calls are known.
pub(super) fn architecture() -> Option<TargetArch> {
    TargetArch::try_from(std::env::consts::ARCH).ok()
}

/// Forbids them for every thread of the engine there is and will be.
///
/// # Errors
/// A kernel without seccomp filters.
pub(super) fn install_engine_filter(arch: TargetArch) -> Built<()> {
    apply(&engine(arch, std::process::id())?)
}

/// Forbids the writer, and every program that it runs, what `nft` and netlink do not need.
///
/// # Errors
/// A kernel without seccomp filters.
pub(super) fn install_writer_filter(arch: TargetArch) -> Built<()> {
    apply(&writer(arch)?)
}

fn apply(programs: &[BpfProgram]) -> Built<()> {
    programs
        .iter()
        .try_for_each(|program| apply_filter_all_threads(program))
}

/// The filters of the engine, whose process has this number; of several answers to a call
/// the kernel gives the strictest.
fn engine(arch: TargetArch, process: u32) -> Built<Vec<BpfProgram>> {
    let mut rules = deny(&[DENIED, DENIED_IN_ENGINE, NEVER_IN_ENGINE_HERE]);
    deny_common(&mut rules)?;
    let mut threads = namespaces()?;
    // A child would outlive the service.
    threads.push(one(masked(0, libc::CLONE_THREAD, 0)?)?);
    rules.insert(libc::SYS_clone, threads);
    // An address to send to.
    let addressed = SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_sendto, vec![one(addressed)?]);
    for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        let executable = masked(2, libc::PROT_EXEC, libc::PROT_EXEC)?;
        rules.insert(call, vec![one(executable)?]);
    }
    // To end by a signal of its own, it may.
    let others = compared(0, SeccompCmpOp::Ne, u64::from(process))?;
    rules.insert(libc::SYS_tgkill, vec![one(others)?]);
    for call in [libc::SYS_prlimit64, libc::SYS_sched_setattr] {
        rules.insert(call, vec![one(compared(0, SeccompCmpOp::Ne, 0)?)?]);
    }
    let owners = SIGNAL_OWNERS.iter().map(|owner| number(*owner));
    rules.insert(libc::SYS_fcntl, equal(1, owners)?);
    let requests = TERMINAL_REQUESTS.iter().chain(SIGNAL_OWNER_REQUESTS);
    rules.insert(libc::SYS_ioctl, equal(1, requests.copied())?);
    // Pairs of other families (TIPC) reach code of the kernel that nothing else would load.
    let other = compared(0, SeccompCmpOp::Ne, number(libc::AF_UNIX))?;
    rules.insert(libc::SYS_socketpair, vec![one(other)?]);
    programs(rules, arch)
}

/// The filters of the firewall writer, which `nft` inherits.
fn writer(arch: TargetArch) -> Built<Vec<BpfProgram>> {
    let mut rules = deny(&[DENIED]);
    deny_common(&mut rules)?;
    rules.insert(libc::SYS_clone, namespaces()?);
    // The kernel's firewall is netlink; a user's name may be asked for by a local socket.
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

/// What is forbidden to both by its arguments.
fn deny_common(rules: &mut Rules) -> Built<()> {
    let options = PROCESS_OPTIONS.iter().map(|option| number(*option));
    rules.insert(libc::SYS_prctl, equal(0, options)?);
    let requests = TERMINAL_REQUESTS.iter().copied();
    rules.insert(libc::SYS_ioctl, equal(1, requests)?);
    Ok(())
}

fn programs(rules: Rules, arch: TargetArch) -> Built<Vec<BpfProgram>> {
    let refused = u32::try_from(libc::EPERM).unwrap_or(1);
    // Its flags lie in memory, where no filter sees them: libc falls back to clone.
    let missing = u32::try_from(libc::ENOSYS).unwrap_or(38);
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    // Calls of another processor's table end the process: seccompiler begins a filter so.
    let mut programs = vec![
        program(rules, refused, arch)?,
        program(clone3, missing, arch)?,
    ];
    programs.extend(second_table(refused));
    Ok(programs)
}

/// Refuses the whole second table of this processor, where it has one.
#[cfg(target_arch = "x86_64")]
fn second_table(errno: u32) -> Option<BpfProgram> {
    let step = |code: u32, jt, jf, k| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    Some(vec![
        // The number of the call is the first word that a filter can look at.
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

/// One rule for each flag: any of them is enough.
fn namespaces() -> Built<Vec<SeccompRule>> {
    let rules = NAMESPACES.iter();
    rules
        .map(|flag| one(masked(0, *flag, *flag)?))
        .collect::<Built<_>>()
}

/// One rule for each value of this argument.
fn equal(argument: u8, values: impl Iterator<Item = u64>) -> Built<Vec<SeccompRule>> {
    values
        .map(|value| one(compared(argument, SeccompCmpOp::Eq, value)?))
        .collect::<Built<_>>()
}

fn one(condition: SeccompCondition) -> Built<SeccompRule> {
    Ok(SeccompRule::new(vec![condition])?)
}

/// The kernel looks at the lower half of such an argument, and so does this.
fn compared(argument: u8, how: SeccompCmpOp, value: u64) -> Built<SeccompCondition> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        how,
        value,
    )?)
}

/// These bits of the argument are so.
fn masked(argument: u8, mask: i32, bits: i32) -> Built<SeccompCondition> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(number(mask)),
        number(bits),
    )?)
}

/// A constant of libc's; none is negative.
fn number(constant: i32) -> u64 {
    u64::try_from(constant).unwrap_or(0)
}

#[cfg(test)]
mod tests;
