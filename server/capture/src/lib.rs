//! Stage `capture` [IO]: every interface's frames, few of them read.
//!
//! One packet socket bound to no interface sees all interfaces, also those that
//! appear later. A filter in the kernel ([`filter`]) lets pass what may be a
//! packet of ours; it stands before the socket hears anything, and is locked.
//! What passes lies in a ring shared with the kernel, so a flood costs no system
//! call a packet; [`frame`] makes a [`Datagram`] of it, or says why not.
//!
//! Never sends, never reads a clock. The daemon waits on the descriptor of an
//! [`Ingress`], drains it, and pauses as [`moderation`] says. Behind it stands one
//! ring, or a [`prefilter`] thread for each of several.
//!
//! One packet may come in twice: on a bridge or a VLAN interface and on the one
//! below it. The replay cache knows such a pair as a duplicate. Datagrams that the
//! host joined on receipt (`rx-udp-gro-forwarding`) or that a sender on the same
//! host left joined (UDP_SEGMENT) come as one long one, and are not ours any more.
#![forbid(unsafe_code)]

mod bpf;
mod classify;
mod error;
pub mod filter;
pub mod frame;
mod ingress;
mod interfaces;
mod ip;
mod knock;
pub mod moderation;
mod prefilter;
mod transport;
mod vlan;

#[cfg(test)]
mod craft;
#[cfg(test)]
mod filter_tests;
#[cfg(test)]
mod frame_tests;
#[cfg(test)]
mod interpreter;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

pub use classify::{check_destination, classify};
pub use error::CaptureError;
pub use ingress::Ingress;
use interfaces::Interfaces;
pub use interfaces::{InterfaceSetting, missing_interfaces};
use spad_model::{CarrierSet, FrameFault, Received};
use spad_sys::bpf::Instruction;
use spad_sys::packet_socket::{OpenError, PacketSocket, packet_statistics};
use spad_sys::rx_ring::RingSize;

/// Frames in a ring where nobody asks for another number: 1.4 MiB.
pub const RING_FRAMES: u32 = 2046;

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Where packets are looked for.
    pub carriers: CarrierSet,
    /// Names of the interfaces to judge; `None` judges all. They may appear later.
    pub interfaces: Option<Vec<String>>,
    /// Frames in the ring, 704 bytes each, rounded up to blocks of 93; [`RING_FRAMES`] is usual.
    pub ring_frames: u32,
}

/// Counts since the socket was opened, of what the kernel's filter let pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames, those dropped among them.
    pub seen: u64,
    /// Frames lost because the ring was full, or the queue behind several.
    pub dropped: u64,
}

/// The open packet socket and its ring. Its descriptor is readable while frames wait.
#[derive(Debug)]
pub struct Capture {
    socket: PacketSocket,
    carriers: CarrierSet,
    interfaces: Interfaces,
    statistics: Statistics,
}

impl Statistics {
    /// Adds what the kernel counted at a packet socket since it was last asked;
    /// nothing if it does not answer.
    fn add_packet_stats(&mut self, socket: BorrowedFd<'_>) {
        if let Ok(counts) = packet_statistics(socket) {
            self.seen = self.seen.saturating_add(u64::from(counts.seen));
            self.dropped = self.dropped.saturating_add(u64::from(counts.dropped));
        }
    }
}

impl Capture {
    /// Opens the socket with its filter locked. The only step that needs a
    /// capability (CAP_NET_RAW); everything after it needs none.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub fn open(options: &CaptureOptions) -> Result<Self, CaptureError> {
        let open = |program: &_, size| PacketSocket::open(program, size);
        Ok(Self::from_socket(options.open_with(open)?, options))
    }

    /// Opens so many sockets, each with a ring of its own, that share the frames:
    /// each frame comes in at one of them, those of one flow at the same.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub fn open_fanout_group(
        options: &CaptureOptions,
        count: usize,
    ) -> Result<Vec<Self>, CaptureError> {
        let open = |program: &_, size| PacketSocket::open_fanout_group(program, size, count);
        let sockets = options.open_with(open)?;
        Ok(sockets
            .into_iter()
            .map(|socket| Self::from_socket(socket, options))
            .collect())
    }

    fn from_socket(socket: PacketSocket, options: &CaptureOptions) -> Self {
        Self {
            socket,
            carriers: options.carriers.clone(),
            interfaces: Interfaces::new(options.interfaces.clone()),
            statistics: Statistics::default(),
        }
    }

    /// Judges at most `budget` waiting frames, one call of `each` a frame, without
    /// ever waiting. Gives how many there were; fewer than `budget` means the ring is empty.
    pub fn drain(
        &mut self,
        budget: usize,
        mut each: impl FnMut(Result<Received<'_>, FrameFault>),
    ) -> usize {
        let Self {
            socket,
            carriers,
            interfaces,
            ..
        } = self;
        let (ring, descriptor) = socket.split();
        let name = |index| rustix::net::netdevice::index_to_name(descriptor, index).ok();
        for done in 0..budget {
            let frame = ring.next(|frame| {
                if interfaces.is_enabled(frame.interface, name) {
                    each(classify(
                        carriers,
                        frame.ethertype,
                        frame.interface,
                        frame.bytes,
                    ));
                } else {
                    each(Err(FrameFault::OtherInterface));
                }
            });
            if frame.is_none() {
                return done;
            }
        }
        budget
    }

    /// Counts since the socket was opened; the last known ones if the kernel does not answer.
    pub fn statistics(&mut self) -> Statistics {
        self.statistics.add_packet_stats(self.socket.as_fd());
        self.statistics
    }

    /// Forgets which index has which name, for interfaces get renamed: call it
    /// about once a second. Costs nothing where all interfaces are judged.
    pub fn clear_interface_cache(&mut self) {
        self.interfaces.clear();
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl CaptureOptions {
    fn open_with<T>(
        &self,
        open: impl FnOnce(&[Instruction], RingSize) -> Result<T, OpenError>,
    ) -> Result<T, CaptureError> {
        let frames = self.ring_frames;
        let size = RingSize::with_frames(frames).ok_or(CaptureError::RingSize(frames))?;
        open(&filter::program(&self.carriers), size)
            .map_err(|refused| capture_error(refused, frames))
    }
}

fn capture_error(refused: OpenError, frames: u32) -> CaptureError {
    let OpenError { step, error } = refused;
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::PermissionDenied, _) => CaptureError::Permission,
        (_, Some(libc::EAFNOSUPPORT)) => CaptureError::NoPacketSockets,
        (_, Some(libc::ENOMEM)) => CaptureError::Memory(frames),
        _ => CaptureError::Syscall { step, error },
    }
}
