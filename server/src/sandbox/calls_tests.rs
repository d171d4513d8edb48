//! The filters, run as the kernel runs them, against calls that nobody can make in a
//! test: with some of them it would not end well.

use seccompiler::{BpfProgramRef, TargetArch};

use super::{architecture, programs};

const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | 1;
const MISSING: u32 = libc::SECCOMP_RET_ERRNO | 38;

/// What the kernel does with this call of this first argument: the first filter that objects.
fn fate(call: libc::c_long, argument: u64) -> u32 {
    let arch = architecture().unwrap();
    let audit = match arch {
        TargetArch::x86_64 => 0xc000_003e,
        TargetArch::aarch64 => 0xc000_00b7,
        TargetArch::riscv64 => 0xc000_00f3,
    };
    // struct seccomp_data: number, architecture, instruction pointer, arguments.
    let mut data = vec![u32::try_from(call).unwrap(), audit, 0, 0, 0, 0];
    for (place, word) in [(4, argument), (5, argument >> 32)] {
        data[place] = u32::try_from(word & 0xffff_ffff).unwrap();
    }
    let ends = programs(arch).unwrap();
    let mut ends = ends.iter().map(|program| run(program, &data));
    ends.find(|end| *end != ALLOWED).unwrap_or(ALLOWED)
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

#[test]
fn a_taken_engine_may_ask_for_nothing_that_leads_out_of_it() {
    let programs = [libc::SYS_execve, libc::SYS_execveat];
    let memory_and_files_of_others = [
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_open_by_handle_at,
    ];
    let another_view = [
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
    ];
    let sockets = [libc::SYS_socket, libc::SYS_connect];
    let the_kernels_lesser_known_parts = [
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
    for calls in [
        &programs[..],
        &memory_and_files_of_others,
        &another_view,
        &sockets,
        &the_kernels_lesser_known_parts,
    ] {
        for call in calls {
            assert_eq!(fate(*call, 0), REFUSED, "{call}");
        }
    }
}

#[test]
fn the_engine_may_begin_threads_and_no_namespaces() {
    let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_THREAD;
    let thread = u64::try_from(thread | libc::CLONE_SIGHAND).unwrap();
    assert_eq!(fate(libc::SYS_clone, thread), ALLOWED);
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
        assert_eq!(fate(libc::SYS_clone, namespace), REFUSED, "{namespace:#x}");
        assert_eq!(fate(libc::SYS_clone, namespace | thread), REFUSED);
    }
    // Where its flags lie no filter can look; libc takes the other call then.
    assert_eq!(fate(libc::SYS_clone3, 0), MISSING);
}

#[test]
fn what_the_engine_lives_by_is_allowed() {
    for call in [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_pwrite64,
        libc::SYS_openat,
        libc::SYS_fsync,
        libc::SYS_sendto,
        libc::SYS_recvfrom,
        libc::SYS_sendmsg,
        libc::SYS_recvmsg,
        libc::SYS_accept4,
        libc::SYS_socketpair,
        libc::SYS_ppoll,
        libc::SYS_futex,
        libc::SYS_mmap,
        libc::SYS_timerfd_settime,
        libc::SYS_exit_group,
    ] {
        assert_eq!(fate(call, 0), ALLOWED, "{call}");
    }
}
