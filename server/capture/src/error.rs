//! Why capture cannot start, and how to fix it.

use std::io;

/// Why [`super::Capture::open`] failed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The kernel refused a packet socket.
    #[error(
        "cannot watch for packets: the capability CAP_NET_RAW is missing\n\
         help: start spad as root (it gives its privileges away by itself), or let systemd start it with AmbientCapabilities=CAP_NET_RAW"
    )]
    Permission,
    /// The kernel knows no packet sockets.
    #[error(
        "cannot watch for packets: this kernel has no packet sockets\n\
         help: load the module af_packet (`modprobe af_packet`), or use a kernel with CONFIG_PACKET"
    )]
    NoPacketSockets,
    /// The requested size is invalid.
    #[error(
        "cannot watch for packets: a ring of {0} frames cannot be\n\
         help: ask for 1 to {max} frames; 2046 is usual", max = spad_sys::rx_ring::RingSize::MAX_FRAMES
    )]
    RingSize(u32),
    /// No memory for the ring.
    #[error(
        "cannot watch for packets: the kernel has no memory for a ring of {0} frames of 704 bytes\n\
         help: ask for fewer frames, or give this machine or container more memory"
    )]
    Memory(u32),
    /// Anything else that the kernel refused.
    #[error("cannot watch for packets: {step}: {error}")]
    Syscall {
        /// The failed step.
        step: &'static str,
        /// The kernel's error.
        error: io::Error,
    },
}
