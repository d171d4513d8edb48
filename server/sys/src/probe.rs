//! Raw calls that a sandboxed process must be refused, for tests of the sandbox.
//!
//! The program itself calls none of these. A refused call leaves the process unchanged and
//! returns the kernel's error.
#![expect(
    unsafe_code,
    reason = "safe wrappers refuse what a compromised process would do"
)]

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::{io, ptr};

use libc::c_long;

const PAGE: usize = 4096;

/// Maps a page that is writable and executable.
///
/// # Errors
/// What the kernel says.
pub fn map_executable() -> io::Result<()> {
    map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, |_| {
        Ok(())
    })
}

/// Maps a page, writes to it, then makes it executable.
///
/// # Errors
/// What the kernel says.
pub fn make_executable() -> io::Result<()> {
    map(libc::PROT_READ | libc::PROT_WRITE, |page| {
        // SAFETY: the page is ours, and nothing else points into it.
        checked(unsafe { libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC) })
    })
}

fn map(
    protection: libc::c_int,
    then: impl FnOnce(*mut libc::c_void) -> io::Result<()>,
) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice; nothing of ours lies there.
    let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let done = then(page);
    // SAFETY: the mapping made above, with its length; nothing points into it any more.
    let _ = unsafe { libc::munmap(page, PAGE) };
    done
}

/// The process id, by the processor's second system call table (x32); `None` if there is
/// none.
#[must_use]
pub fn x32_syscall() -> Option<io::Result<()>> {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: takes nothing and changes nothing.
        let result = unsafe { libc::syscall(0x4000_0000 | libc::SYS_getpid) };
        Some(check_syscall(result))
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// Makes the call of this number with all arguments zero, which has no effect.
///
/// # Errors
/// The kernel's error; `EINVAL` for calls that would be harmful with zeros.
pub fn syscall_with_zeros(number: c_long) -> io::Result<()> {
    let harmless = [
        libc::SYS_shmget,
        libc::SYS_semget,
        libc::SYS_io_uring_setup,
        libc::SYS_io_setup,
        libc::SYS_splice,
        libc::SYS_tee,
        libc::SYS_vmsplice,
        libc::SYS_sendfile,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_listen,
        libc::SYS_memfd_create,
        libc::SYS_execve,
        libc::SYS_process_vm_readv,
        libc::SYS_pidfd_getfd,
        libc::SYS_bpf,
        libc::SYS_kcmp,
        libc::SYS_inotify_init1,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_mount_setattr,
    ];
    if !harmless.contains(&number) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let zero: c_long = 0;
    // SAFETY: with zeros these calls point at nothing, name no process but this one, and make at most an object that
    // nobody uses.
    check_syscall(unsafe { libc::syscall(number, zero, zero, zero, zero, zero, zero) })
}

/// Lets other processes of this user read this one's memory.
///
/// # Errors
/// What the kernel says.
pub fn set_dumpable() -> io::Result<()> {
    let one: libc::c_ulong = 1;
    // SAFETY: takes numbers only.
    checked(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, one, 0, 0, 0) })
}

/// Types a character on this terminal.
///
/// # Errors
/// What the kernel says.
pub fn inject_terminal_input(terminal: BorrowedFd<'_>) -> io::Result<()> {
    let character: libc::c_char = 0;
    // SAFETY: the pointer is to one byte, which the kernel only reads.
    checked(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSTI, &raw const character) })
}

/// Sends a frame on this interface through a packet socket, by `sendto`.
///
/// # Errors
/// What the kernel says.
pub fn send_frame(socket: BorrowedFd<'_>, interface: u32, frame: &[u8]) -> io::Result<()> {
    let address = link_address(interface);
    // SAFETY: pointers and lengths are those of `frame` and of one `sockaddr_ll`, which the call only reads.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Binds a packet socket to this interface, so that writes to it are sent there.
///
/// # Errors
/// What the kernel says.
pub fn bind_to(socket: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    let address = link_address(interface);
    // SAFETY: pointer and length are those of one `sockaddr_ll`, which the call only reads.
    checked(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })
}

const fn link_address(interface: u32) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_IP as u16).to_be(),
        sll_ifindex: interface.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    check_syscall(result.into())
}

fn check_syscall(result: c_long) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
