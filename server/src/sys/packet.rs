//! Packet sockets: opened so that no frame is seen before the filter stands.
//!
//! Takes a filter program and ring sizes, gives a bound socket whose filter can
//! no longer be changed, and its [`Ring`].
#![expect(
    unsafe_code,
    reason = "no crate we use wraps the options of packet sockets"
)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use libc::{c_int, c_void, socklen_t};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::ring::{Ring, RingSize};
use crate::capture::filter::Instruction;

/// A packet socket that hears every interface, with a locked filter and a ring.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    ring: Ring,
}

/// Which step failed, and how.
#[derive(Debug)]
pub struct OpenError {
    /// The step, as what was being done.
    pub step: &'static str,
    /// What the kernel said.
    pub error: io::Error,
}

/// Frames that passed the filter since the last question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// All of them, the dropped ones among them.
    pub seen: u32,
    /// Those for which the ring had no room.
    pub dropped: u32,
}

impl PacketSocket {
    /// Opens the socket. The order matters: it is of no protocol, and so hears
    /// nothing, until it is bound, and by then filter and ring stand.
    ///
    /// # Errors
    /// The step that failed; `EPERM` at the first one where CAP_NET_RAW is missing.
    pub fn open(program: &[Instruction], size: RingSize) -> Result<Self, OpenError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)
                .map_err(|error| failed("open a packet socket", error.into()))?;
        attach_filter(socket.as_fd(), program)
            .map_err(|error| failed("attach the filter", error))?;
        // Spares the kernel the copies of what this host sends. The filter refuses
        // them as well, so a kernel before 4.20, which has no such option, serves.
        let _ = set(
            socket.as_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            1,
        );
        let ring =
            Ring::of(socket.as_fd(), size).map_err(|error| failed("make the ring", error))?;
        bind_everywhere(&socket).map_err(|error| failed("bind to all interfaces", error))?;
        set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_LOCK_FILTER, 1)
            .map_err(|error| failed("lock the filter", error))?;
        // A lock that does not hold would be worse than none: try it.
        match detach_filter(socket.as_fd()) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(Self { socket, ring }),
            Err(error) => Err(failed("try the filter's lock", error)),
            Ok(()) => Err(failed(
                "try the filter's lock",
                io::Error::other("it does not hold"),
            )),
        }
    }

    /// The frames, and the socket for questions while looking at one.
    pub fn parts(&mut self) -> (&mut Ring, BorrowedFd<'_>) {
        (&mut self.ring, self.socket.as_fd())
    }

    /// Counts since the last call; the kernel sets its own to zero.
    ///
    /// # Errors
    /// What the kernel reports.
    pub fn take_counts(&self) -> io::Result<Counts> {
        let mut stats = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut length = length_of::<libc::tpacket_stats>();
        // SAFETY: `stats` has room for `length` bytes, and any bytes are a valid value of it.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast::<c_void>(),
                &raw mut length,
            )
        };
        checked(result)?;
        Ok(Counts {
            seen: stats.tp_packets,
            dropped: stats.tp_drops,
        })
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Puts a filter program on a socket.
///
/// # Errors
/// `EINVAL` for a program that the kernel's check refuses, `EPERM` where the filter is locked.
pub fn attach_filter(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|&Instruction { code, jt, jf, k }| libc::sock_filter { code, jt, jf, k })
        .collect();
    let length = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `program` points to `length` instructions, which live until the end of this function; the kernel copies them.
    unsafe { set_raw(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program) }
}

/// Takes the filter off a socket.
///
/// # Errors
/// `EPERM` where the filter is locked.
pub fn detach_filter(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0)
}

/// Interface 0 is all of them, those that appear later too.
fn bind_everywhere(socket: &OwnedFd) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: family(),
        sll_protocol: every_protocol(),
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: pointer and length are those of one `sockaddr_ll`, which the call only reads.
    checked(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast::<libc::sockaddr>(),
            length_of::<libc::sockaddr_ll>(),
        )
    })
}

const fn family() -> u16 {
    libc::AF_PACKET as u16
}

/// `ETH_P_ALL` in network byte order.
const fn every_protocol() -> u16 {
    (libc::ETH_P_ALL as u16).to_be()
}

/// Values of socket options that are plain numbers, so that any of them is safe to give.
pub(super) trait Plain: Copy {}
impl Plain for c_int {}
impl Plain for libc::tpacket_req {}

/// Sets an option whose value is plain.
pub(super) fn set<T: Plain>(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: T,
) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a value that holds no pointer.
    unsafe { set_raw(socket, level, name, &value) }
}

/// Sets any option.
///
/// # Safety
/// What `value` points to, if anything, must be valid for the kernel to read during the call.
unsafe fn set_raw<T>(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: pointer and length are those of `value`, which the kernel only reads; the rest is the caller's promise.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast::<c_void>(),
            length_of::<T>(),
        )
    })
}

const fn length_of<T>() -> socklen_t {
    size_of::<T>() as socklen_t
}

pub(super) fn checked(result: c_int) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

const fn failed(step: &'static str, error: io::Error) -> OpenError {
    OpenError { step, error }
}
