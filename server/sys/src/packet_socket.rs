//! Packet sockets that receive no frame before their filter is attached.
//!
//! Takes a filter program and ring sizes; returns a bound socket with a locked filter and
//! its [`RxRing`], or a fanout group of them.
#![expect(
    unsafe_code,
    reason = "no crate we use wraps the options of packet sockets"
)]

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::{io, ptr};

use libc::{c_int, c_void, socklen_t};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::bpf::Instruction;
use super::rx_ring::{RingSize, RxRing};

/// A packet socket on all interfaces, with a locked filter and a ring.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    ring: RxRing,
}

/// How a group distributes frames: one flow goes to one socket, and to another while its
/// ring is full. The flag about outgoing frames: see [`PacketSocket::open_unlocked`].
const FANOUT_FLAGS: u32 = libc::PACKET_FANOUT_HASH
    | libc::PACKET_FANOUT_FLAG_ROLLOVER
    | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;

/// The first socket joins with this, which makes the kernel choose an unused group id. The
/// id is the lower half, 0 here.
const NEW_FANOUT_GROUP: c_int =
    ((FANOUT_FLAGS | libc::PACKET_FANOUT_FLAG_UNIQUEID) << 16).cast_signed();

/// A filter that drops every frame: `ret 0`.
const DROP_ALL: [Instruction; 1] = [Instruction {
    code: (libc::BPF_RET | libc::BPF_K) as u16,
    jt: 0,
    jf: 0,
    k: 0,
}];

/// The step that failed, and its error.
#[derive(Debug)]
pub struct OpenError {
    /// The step, as a phrase for messages.
    pub step: &'static str,
    /// The kernel's error.
    pub error: io::Error,
}

/// Frames that passed the filter since the last call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketStats {
    /// All of them, including dropped ones.
    pub seen: u32,
    /// Frames dropped because the ring was full.
    pub dropped: u32,
}

impl PacketSocket {
    /// Opens a socket with a locked filter.
    ///
    /// # Errors
    /// The step that failed; `EPERM` at the first one if CAP_NET_RAW is missing.
    pub fn open(program: &[Instruction], size: RingSize) -> Result<Self, OpenError> {
        let socket = Self::open_unlocked(program, size)?;
        socket.lock_filter()?;
        Ok(socket)
    }

    /// Opens this many sockets that share the frames. Only a bound socket may join a group, and
    /// before it joins it would receive the other sockets' frames as well. So the filter drops
    /// everything until all have joined.
    ///
    /// # Errors
    /// The step that failed.
    pub fn open_fanout_group(
        program: &[Instruction],
        size: RingSize,
        count: usize,
    ) -> Result<Vec<Self>, OpenError> {
        let mut group = NEW_FANOUT_GROUP;
        let mut sockets = Vec::new();
        for _ in 0..count {
            let socket = Self::open_unlocked(&DROP_ALL, size)?;
            group = join_fanout(socket.as_fd(), group)
                .map_err(|error| open_error("share the frames among threads", error))?;
            sockets.push(socket);
        }
        for socket in &sockets {
            attach_filter(socket.as_fd(), program)
                .map_err(|error| open_error("attach the filter", error))?;
            socket.lock_filter()?;
        }
        Ok(sockets)
    }

    /// Opens a bound socket. The order matters: until it is bound, the socket has no protocol
    /// and receives nothing; by then filter and ring are in place.
    fn open_unlocked(program: &[Instruction], size: RingSize) -> Result<Self, OpenError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)
                .map_err(|error| open_error("open a packet socket", error.into()))?;
        attach_filter(socket.as_fd(), program)
            .map_err(|error| open_error("attach the filter", error))?;
        // Saves copies of outgoing frames. The filter drops them as well, so kernels before 4.20,
        // which lack this option, work too.
        let _ = setsockopt(
            socket.as_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            1,
        );
        let ring = RxRing::new(socket.as_fd(), size)
            .map_err(|error| open_error("make the ring", error))?;
        bind_all_interfaces(&socket)
            .map_err(|error| open_error("bind to all interfaces", error))?;
        Ok(Self { socket, ring })
    }

    fn lock_filter(&self) -> Result<(), OpenError> {
        setsockopt(self.as_fd(), libc::SOL_SOCKET, libc::SO_LOCK_FILTER, 1)
            .map_err(|error| open_error("lock the filter", error))?;
        // A lock without effect would be worse than none, so test it.
        match detach_filter(self.as_fd()) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
            Err(error) => Err(open_error("try the filter's lock", error)),
            Ok(()) => Err(open_error(
                "try the filter's lock",
                io::Error::other("it does not hold"),
            )),
        }
    }

    /// Splits the socket into the ring and a descriptor for use while a frame is borrowed.
    pub fn split(&mut self) -> (&mut RxRing, BorrowedFd<'_>) {
        (&mut self.ring, self.socket.as_fd())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Frame counts since the last call, which the kernel resets on reading.
///
/// # Errors
/// What the kernel reports.
pub fn packet_statistics(socket: BorrowedFd<'_>) -> io::Result<PacketStats> {
    let none = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let stats = getsockopt(socket, libc::SOL_PACKET, libc::PACKET_STATISTICS, none)?;
    Ok(PacketStats {
        seen: stats.tp_packets,
        dropped: stats.tp_drops,
    })
}

/// Adds a bound socket to this group; returns the value with which the next one joins.
fn join_fanout(socket: BorrowedFd<'_>, group: c_int) -> io::Result<c_int> {
    setsockopt(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, group)?;
    getsockopt(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, 0)
}

/// Attaches a filter program to a socket.
///
/// # Errors
/// `EINVAL` for a program that the kernel rejects, `EPERM` if the filter is locked.
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
    unsafe { setsockopt_raw(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program) }
}

/// Detaches the filter of a socket.
///
/// # Errors
/// `EPERM` if the filter is locked.
pub fn detach_filter(socket: BorrowedFd<'_>) -> io::Result<()> {
    setsockopt(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0)
}

/// Binds to interface 0, which means all interfaces, including later ones.
fn bind_all_interfaces(socket: &OwnedFd) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: family(),
        sll_protocol: all_protocols(),
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
            socklen::<libc::sockaddr_ll>(),
        )
    })
}

const fn family() -> u16 {
    libc::AF_PACKET as u16
}

/// `ETH_P_ALL` in network byte order.
const fn all_protocols() -> u16 {
    (libc::ETH_P_ALL as u16).to_be()
}

/// Plain values of socket options: the kernel may read or write any of them.
pub(super) trait SockoptValue: Copy {}
impl SockoptValue for c_int {}
impl SockoptValue for libc::tpacket_req {}
impl SockoptValue for libc::tpacket_stats {}

/// Sets an option with a plain value.
pub(super) fn setsockopt<T: SockoptValue>(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: T,
) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a value that holds no pointer.
    unsafe { setsockopt_raw(socket, level, name, &value) }
}

/// Reads an option with a plain value; `room` is its default where the kernel writes less.
fn getsockopt<T: SockoptValue>(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    mut value: T,
) -> io::Result<T> {
    let mut length = socklen::<T>();
    // SAFETY: `room` has room for `length` bytes, and any bytes are a valid value of a plain type.
    checked(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast::<c_void>(),
            &raw mut length,
        )
    })?;
    Ok(value)
}

/// Sets an option of any type.
///
/// # Safety
/// What `value` points to, if anything, must be valid for the kernel to read during the call.
unsafe fn setsockopt_raw<T>(
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
            socklen::<T>(),
        )
    })
}

const fn socklen<T>() -> socklen_t {
    size_of::<T>() as socklen_t
}

pub(super) fn checked(result: c_int) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

const fn open_error(step: &'static str, error: io::Error) -> OpenError {
    OpenError { step, error }
}
