//! Runs the filters as the kernel does, against calls that no test can make because some of
//! them would be harmful.

use std::collections::BTreeSet;

use seccompiler::{BpfProgram, BpfProgramRef, TargetArch};

use super::{
    DENIED, DENIED_IN_ENGINE, KEXEC_FILE_LOAD, NEVER_IN_ENGINE_HERE, OPEN_TREE_ATTR, architecture,
    engine, writer,
};

const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | 1;
const MISSING: u32 = libc::SECCOMP_RET_ERRNO | 38;

/// The engine's process id.
const OWN_PID: u32 = 4711;

fn audit_arch(arch: TargetArch) -> u32 {
    match arch {
        TargetArch::x86_64 => 0xc000_003e,
        TargetArch::aarch64 => 0xc000_00b7,
        TargetArch::riscv64 => 0xc000_00f3,
    }
}

/// A call with these arguments, in the layout that a filter reads.
fn data(call: libc::c_long, arch: u32, arguments: &[u64]) -> Vec<u32> {
    // struct seccomp_data: number, architecture, instruction pointer, arguments.
    let mut data = vec![u32::try_from(call).unwrap(), arch, 0, 0];
    for index in 0..6 {
        let argument = arguments.get(index).copied().unwrap_or(0);
        data.push(u32::try_from(argument & 0xffff_ffff).unwrap());
        data.push(u32::try_from(argument >> 32).unwrap());
    }
    data
}

/// The kernel's answer: that of the first filter that objects.
fn evaluate(programs: &[BpfProgram], data: &[u32]) -> u32 {
    let mut ends = programs.iter().map(|program| run(program, data));
    ends.find(|end| *end != ALLOWED).unwrap_or(ALLOWED)
}

/// The kernel's answer to this call of the engine.
fn filter_verdict(call: libc::c_long, arguments: &[u64]) -> u32 {
    let arch = architecture().unwrap();
    let data = data(call, audit_arch(arch), arguments);
    evaluate(&engine(arch, OWN_PID).unwrap(), &data)
}

/// The kernel's answer to this call of the firewall writer.
fn writer_filter_verdict(call: libc::c_long, arguments: &[u64]) -> u32 {
    let arch = architecture().unwrap();
    let data = data(call, audit_arch(arch), arguments);
    evaluate(&writer(arch).unwrap(), &data)
}

fn run(program: BpfProgramRef<'_>, data: &[u32]) -> u32 {
    let (mut a, mut at) = (0_u32, 0_usize);
    loop {
        let one = &program[at];
        at += 1;
        let holds = match one.code {
            0x20 => {
                a = data.get(one.k as usize / 4).copied().unwrap_or(0);
                continue;
            }
            0x54 => {
                a &= one.k;
                continue;
            }
            0x05 => {
                at += one.k as usize;
                continue;
            }
            0x06 => return one.k,
            0x15 => a == one.k,
            0x25 => a > one.k,
            0x35 => a >= one.k,
            other => unreachable!("operation {other:#x}"),
        };
        at += usize::from(if holds { one.jt } else { one.jf });
    }
}

/// Calls for other processes, namespaces and rarely used parts of the kernel.
///
/// A copy of [`DENIED`], so that a call cannot be lost from both by one edit.
const ESCAPES: &[libc::c_long] = &[
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

/// Calls for other programs, sockets, processes of the same user and files of others. A
/// copy of [`DENIED_IN_ENGINE`], for the same reason.
const ENGINE_ESCAPES: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_memfd_create,
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
    libc::SYS_inotify_init1,
    libc::SYS_fanotify_init,
];

/// A copy of [`NEVER_IN_ENGINE_HERE`].
#[cfg(target_arch = "x86_64")]
const OF_THIS_PROCESSOR: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_modify_ldt,
    libc::SYS_inotify_init,
];
#[cfg(not(target_arch = "x86_64"))]
const OF_THIS_PROCESSOR: &[libc::c_long] = &[];

#[test]
fn a_taken_engine_may_ask_for_nothing_that_leads_out_of_it() {
    for calls in [ESCAPES, ENGINE_ESCAPES, OF_THIS_PROCESSOR] {
        for call in calls {
            assert_eq!(filter_verdict(*call, &[]), REFUSED, "{call}");
            assert_eq!(filter_verdict(*call, &[1; 6]), REFUSED, "{call}");
        }
    }
}

/// Checks that the copies are complete; otherwise nobody would try the missing calls.
#[test]
fn whatever_is_forbidden_is_tried() {
    for (forbidden, tried) in [
        (DENIED, ESCAPES),
        (DENIED_IN_ENGINE, ENGINE_ESCAPES),
        (NEVER_IN_ENGINE_HERE, OF_THIS_PROCESSOR),
    ] {
        let [forbidden, tried] = [forbidden, tried].map(BTreeSet::from_iter);
        let untried: Vec<_> = forbidden.difference(&tried).collect();
        assert!(untried.is_empty(), "{untried:?}");
    }
}

#[test]
fn nothing_can_be_sent_to_an_address() {
    let buffer = 0x7fff_0000_1000;
    assert_eq!(
        filter_verdict(libc::SYS_sendto, &[5, buffer, 9, 0, 0, 0]),
        ALLOWED
    );
    assert_eq!(
        filter_verdict(libc::SYS_sendto, &[5, buffer, 9, 0, buffer, 20]),
        REFUSED
    );
    // An address whose lower half is zero.
    let aligned = 0x7fff_0000_0000;
    assert_eq!(
        filter_verdict(libc::SYS_sendto, &[5, buffer, 9, 0, aligned, 0]),
        REFUSED
    );
}

#[test]
fn pairs_of_sockets_are_local_ones() {
    for (family, expected) in [
        (libc::AF_UNIX, ALLOWED),
        (libc::AF_INET, REFUSED),
        (libc::AF_TIPC, REFUSED),
    ] {
        let family = u64::try_from(family).unwrap();
        assert_eq!(filter_verdict(libc::SYS_socketpair, &[family, 1]), expected);
    }
}

#[test]
fn no_memory_becomes_executable() {
    for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        for harmless in [libc::PROT_NONE, libc::PROT_READ | libc::PROT_WRITE] {
            let harmless = u64::try_from(harmless).unwrap();
            assert_eq!(filter_verdict(call, &[0, 4096, harmless]), ALLOWED);
        }
        for executable in [libc::PROT_EXEC, libc::PROT_READ | libc::PROT_EXEC] {
            let executable = u64::try_from(executable).unwrap();
            assert_eq!(filter_verdict(call, &[0, 4096, executable]), REFUSED);
        }
    }
}

#[test]
fn it_opens_itself_to_nobody_types_on_no_terminal_and_ends_nobody_but_itself() {
    for option in [libc::PR_SET_DUMPABLE, libc::PR_SET_PTRACER, libc::PR_SET_MM] {
        let option = u64::try_from(option).unwrap();
        assert_eq!(
            filter_verdict(libc::SYS_prctl, &[option, 1]),
            REFUSED,
            "{option}"
        );
        assert_eq!(
            writer_filter_verdict(libc::SYS_prctl, &[option, 1]),
            REFUSED
        );
    }
    for option in [libc::PR_SET_NAME, libc::PR_SET_TIMERSLACK] {
        let option = u64::try_from(option).unwrap();
        assert_eq!(
            filter_verdict(libc::SYS_prctl, &[option, 1]),
            ALLOWED,
            "{option}"
        );
    }
    for (request, expected) in [
        (libc::TIOCSTI, REFUSED),
        (libc::TIOCLINUX, REFUSED),
        (libc::TIOCGWINSZ, ALLOWED),
        (libc::SIOCGIFNAME, ALLOWED),
    ] {
        assert_eq!(filter_verdict(libc::SYS_ioctl, &[0, request]), expected);
        assert_eq!(
            writer_filter_verdict(libc::SYS_ioctl, &[0, request]),
            expected
        );
    }
    let own = u64::from(OWN_PID);
    assert_eq!(
        filter_verdict(libc::SYS_tgkill, &[own, own, 6]),
        ALLOWED,
        "abort"
    );
    assert_eq!(
        filter_verdict(libc::SYS_tgkill, &[own + 1, own, 6]),
        REFUSED
    );
    assert_eq!(filter_verdict(libc::SYS_prlimit64, &[0, 7]), ALLOWED);
    assert_eq!(filter_verdict(libc::SYS_prlimit64, &[1, 7]), REFUSED);
    assert_eq!(filter_verdict(libc::SYS_sched_setattr, &[0]), ALLOWED);
    assert_eq!(filter_verdict(libc::SYS_sched_setattr, &[1]), REFUSED);
    let command = |command: i32| [3, u64::try_from(command).unwrap(), 1];
    assert_eq!(
        filter_verdict(libc::SYS_fcntl, &command(libc::F_SETOWN)),
        REFUSED
    );
    assert_eq!(
        filter_verdict(libc::SYS_fcntl, &command(libc::F_SETFL)),
        ALLOWED
    );
    for set_owner in [0x8901, 0x8902] {
        assert_eq!(filter_verdict(libc::SYS_ioctl, &[3, set_owner]), REFUSED);
    }
}

#[test]
fn the_engine_may_begin_threads_and_neither_namespaces_nor_processes() {
    let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_THREAD;
    let thread = u64::try_from(thread | libc::CLONE_SIGHAND).unwrap();
    assert_eq!(filter_verdict(libc::SYS_clone, &[thread]), ALLOWED);
    let process = u64::try_from(libc::SIGCHLD).unwrap();
    assert_eq!(filter_verdict(libc::SYS_clone, &[process]), REFUSED);
    assert_eq!(
        writer_filter_verdict(libc::SYS_clone, &[process]),
        ALLOWED,
        "nft"
    );
    for namespace in [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ] {
        let namespace = u64::try_from(namespace).unwrap();
        for flags in [namespace | process, namespace | thread] {
            assert_eq!(
                filter_verdict(libc::SYS_clone, &[flags]),
                REFUSED,
                "{flags:#x}"
            );
            assert_eq!(writer_filter_verdict(libc::SYS_clone, &[flags]), REFUSED);
        }
    }
    // Its flags are in memory, where no filter can read them; libc falls back to clone.
    assert_eq!(filter_verdict(libc::SYS_clone3, &[]), MISSING);
    assert_eq!(writer_filter_verdict(libc::SYS_clone3, &[]), MISSING);
}

#[test]
fn the_writer_has_the_kernels_firewall_and_nft_and_no_other_network() {
    for call in ESCAPES {
        assert_eq!(writer_filter_verdict(*call, &[]), REFUSED, "{call}");
    }
    for (family, expected) in [
        (libc::AF_UNIX, ALLOWED),
        (libc::AF_NETLINK, ALLOWED),
        (libc::AF_INET, REFUSED),
        (libc::AF_INET6, REFUSED),
        (libc::AF_PACKET, REFUSED),
    ] {
        let family = u64::try_from(family).unwrap();
        assert_eq!(
            writer_filter_verdict(libc::SYS_socket, &[family, 2]),
            expected,
            "{family}"
        );
    }
    for call in [
        libc::SYS_execve,
        libc::SYS_bind,
        libc::SYS_setsockopt,
        libc::SYS_sendmsg,
        libc::SYS_kill,
        libc::SYS_wait4,
    ] {
        assert_eq!(writer_filter_verdict(call, &[]), ALLOWED, "{call}");
    }
    let code = u64::try_from(libc::PROT_READ | libc::PROT_EXEC).unwrap();
    assert_eq!(
        writer_filter_verdict(libc::SYS_mmap, &[0, 1, code]),
        ALLOWED
    );
}

#[test]
fn calls_of_another_table_are_no_way_round() {
    let arch = architecture().unwrap();
    for programs in [engine(arch, OWN_PID).unwrap(), writer(arch).unwrap()] {
        // i386, arm, mips: tables for which the rules were not written.
        for other in [0x4000_0003, 0x4000_0028, 0x8] {
            let call = data(libc::SYS_getpid, other, &[]);
            assert_eq!(evaluate(&programs, &call), libc::SECCOMP_RET_KILL_PROCESS);
        }
        if arch == TargetArch::x86_64 {
            for call in [libc::SYS_socket, libc::SYS_getpid, 545] {
                let call = data(0x4000_0000 | call, audit_arch(arch), &[2, 2]);
                assert_eq!(evaluate(&programs, &call), REFUSED);
            }
        }
    }
}

#[test]
fn what_the_engine_lives_by_is_allowed() {
    for call in [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_pwrite64,
        libc::SYS_openat,
        libc::SYS_fsync,
        libc::SYS_sendto,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_getsockopt,
        libc::SYS_accept4,
        libc::SYS_ppoll,
        libc::SYS_futex,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_madvise,
        libc::SYS_timerfd_settime,
        libc::SYS_wait4,
        libc::SYS_exit_group,
    ] {
        assert_eq!(filter_verdict(call, &[]), ALLOWED, "{call}");
    }
}
