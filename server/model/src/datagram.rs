//! One datagram as the stage `frame` passes it to the engine; nothing in it is authenticated.
//!
//! Holds addresses and bytes only; never reads a socket or a clock.

use std::net::SocketAddr;

use spa_proto::limits::{MAX_PACKET, MIN_PACKET};

use crate::carrier::Carrier;
use crate::knock::ObservedKnock;

/// One payload of 160 to 512 bytes, borrowed from the frame it came in.
/// Only [`spad_capture::frame::parse`] makes one, and [`OwnedDatagram`] lends it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    carrier: Carrier,
    source: SocketAddr,
    destination: SocketAddr,
    interface: u32,
    payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Makes a datagram; `None` unless the payload has 160 to 512 bytes.
    #[must_use]
    pub const fn new(
        carrier: Carrier,
        source: SocketAddr,
        destination: SocketAddr,
        interface: u32,
        payload: &'a [u8],
    ) -> Option<Self> {
        if payload.len() < MIN_PACKET || payload.len() > MAX_PACKET {
            return None;
        }
        Some(Self {
            carrier,
            source,
            destination,
            interface,
            payload,
        })
    }

    /// Makes a UDP datagram with a payload of any length, for tests of later stages.
    #[doc(hidden)]
    #[must_use]
    pub const fn new_for_test(
        source: SocketAddr,
        destination: SocketAddr,
        interface: u32,
        payload: &'a [u8],
    ) -> Self {
        Self {
            carrier: Carrier::Udp,
            source,
            destination,
            interface,
            payload,
        }
    }

    /// The carrier.
    #[must_use]
    pub const fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// The source that the packet states. The port may be 0; for ICMP it always is.
    #[must_use]
    pub const fn source(&self) -> SocketAddr {
        self.source
    }

    /// The destination of the packet. On a router this may be another host's address.
    #[must_use]
    pub const fn destination(&self) -> SocketAddr {
        self.destination
    }

    /// Index of the interface that received it.
    #[must_use]
    pub const fn interface(&self) -> u32 {
        self.interface
    }

    /// The payload, 160 to 512 bytes.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// The content of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A possible packet.
    Datagram(Datagram<'a>),
    /// A possible knock at a door of `[[knock]]`.
    Knock(ObservedKnock),
}

impl<'a> Received<'a> {
    /// The datagram, if it is one.
    #[must_use]
    pub const fn datagram(self) -> Option<Datagram<'a>> {
        match self {
            Self::Datagram(datagram) => Some(datagram),
            Self::Knock(_) => None,
        }
    }
}

/// A datagram copied out of its frame, so that another thread can process it.
#[derive(Debug)]
pub struct OwnedDatagram {
    carrier: Carrier,
    source: SocketAddr,
    destination: SocketAddr,
    interface: u32,
    length: usize,
    bytes: [u8; MAX_PACKET],
}

impl OwnedDatagram {
    pub fn from_datagram(datagram: &Datagram<'_>) -> Self {
        let mut bytes = [0; MAX_PACKET];
        for (to, from) in bytes.iter_mut().zip(datagram.payload) {
            *to = *from;
        }
        Self {
            carrier: datagram.carrier,
            source: datagram.source,
            destination: datagram.destination,
            interface: datagram.interface,
            length: datagram.payload.len(),
            bytes,
        }
    }

    pub fn as_datagram(&self) -> Datagram<'_> {
        Datagram {
            carrier: self.carrier,
            source: self.source,
            destination: self.destination,
            interface: self.interface,
            payload: self.bytes.get(..self.length).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_of_a_datagram_is_all_of_it() {
        let bytes: Vec<u8> = (0..512_u16).map(|it| it.to_le_bytes()[0]).collect();
        for length in [160, 333, 512] {
            let [source, destination] =
                ["192.0.2.7:40000", "[2001:db8::1]:62201"].map(|it| it.parse().unwrap());
            let datagram =
                Datagram::new(Carrier::Tcp, source, destination, 7, &bytes[..length]).unwrap();
            assert_eq!(
                OwnedDatagram::from_datagram(&datagram).as_datagram(),
                datagram
            );
        }
    }
}
