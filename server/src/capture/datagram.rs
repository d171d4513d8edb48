//! What the stage `frame` gives to the engine: one UDP datagram, still
//! believed in nothing.
//!
//! Holds addresses and bytes only; never reads a socket or a clock.

use std::net::SocketAddr;

/// One UDP datagram of 160 to 512 bytes, borrowed from the frame it came in.
/// Only [`super::frame::parse`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    source: SocketAddr,
    destination: SocketAddr,
    interface: u32,
    payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    pub(super) const fn new(
        source: SocketAddr,
        destination: SocketAddr,
        interface: u32,
        payload: &'a [u8],
    ) -> Self {
        Self {
            source,
            destination,
            interface,
            payload,
        }
    }

    /// A datagram that no frame carried, for tests of the later stages.
    #[doc(hidden)]
    #[must_use]
    pub const fn assume(
        source: SocketAddr,
        destination: SocketAddr,
        interface: u32,
        payload: &'a [u8],
    ) -> Self {
        Self::new(source, destination, interface, payload)
    }

    /// Where the packet says it came from. Port 0 is possible.
    #[must_use]
    pub const fn source(&self) -> SocketAddr {
        self.source
    }

    /// Where the packet was sent. On a router this may be another host's address.
    #[must_use]
    pub const fn destination(&self) -> SocketAddr {
        self.destination
    }

    /// Index of the interface it came in by.
    #[must_use]
    pub const fn interface(&self) -> u32 {
        self.interface
    }

    /// The UDP payload, 160 to 512 bytes.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}
