//! [IO] Plain port knocking, as knock(1) does it: one first segment or one datagram a
//! port, no answer awaited. No secret from whoever sees it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

/// A port to knock at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knock {
    /// The port.
    pub port: NonZeroU16,
    /// By UDP; otherwise by TCP.
    pub udp: bool,
}

/// Why a word is no knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a knock is a port from 1 to 65535, with :udp behind it for UDP: 7000 or 8000:udp")]
pub struct ParseKnockError;

impl FromStr for Knock {
    type Err = ParseKnockError;

    fn from_str(text: &str) -> Result<Self, ParseKnockError> {
        let (port, protocol) = text.split_once(':').unwrap_or((text, "tcp"));
        let udp = match protocol {
            "tcp" => false,
            "udp" => true,
            _ => return Err(ParseKnockError),
        };
        // `parse` would also take `+7000`.
        if port.starts_with('+') {
            return Err(ParseKnockError);
        }
        let port = port.parse().map_err(|_| ParseKnockError)?;
        Ok(Self { port, udp })
    }
}

impl Knock {
    /// Knocks once, at this address, whatever its port.
    ///
    /// # Errors
    /// Nothing could be sent. That nobody is there is none: doors look closed.
    pub fn send(self, server: SocketAddr) -> io::Result<()> {
        // With its zone, where it is a link-local address.
        let mut to = server;
        to.set_port(self.port.get());
        if self.udp {
            let any: SocketAddr = match server {
                SocketAddr::V4(_) => ([0; 4], 0).into(),
                SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
            };
            return UdpSocket::bind(any)?.send_to(&[0], to).map(|_| ());
        }
        let family = match server {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        // The first segment is sent by the time this returns; closed, it is not sent again.
        match connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::CONNREFUSED) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knock_is_a_port_and_perhaps_its_protocol() {
        let knock = |text: &str| {
            text.parse::<Knock>()
                .map(|knock| (knock.port.get(), knock.udp))
        };
        assert_eq!(knock("7000"), Ok((7000, false)));
        assert_eq!(knock("7000:tcp"), Ok((7000, false)));
        assert_eq!(knock("65535:udp"), Ok((65535, true)));
        for wrong in [
            "",
            "0",
            "65536",
            "-1",
            "+7",
            "ssh",
            "7000:sctp",
            "7000:",
            ":udp",
        ] {
            assert_eq!(knock(wrong), Err(ParseKnockError), "{wrong}");
        }
    }
}
