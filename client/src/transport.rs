//! [IO] Hands one packet to the network by its carrier. Waits for no answer.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with};

use crate::carrier::Carrier;

/// How long a TCP connection may take to begin.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Sends the packet; `udp` is connected to the server's address and port.
///
/// # Errors
/// What the system says, with its mend where there is one.
pub(crate) fn send_datagram(
    carrier: Carrier,
    udp: &UdpSocket,
    server: SocketAddr,
    packet: &[u8],
) -> io::Result<()> {
    match carrier {
        Carrier::Udp => udp.send(packet).map(drop),
        Carrier::Icmp => echo_request(server, packet),
        Carrier::Tcp(port) => {
            let server = with_port(server, port.get());
            let mut connection =
                TcpStream::connect_timeout(&server, CONNECT_TIMEOUT).map_err(|error| {
                    with_context(&error, format_args!("no connection to TCP port {port}"))
                })?;
            // The packet must be alone in its segment, and at once.
            connection.set_nodelay(true)?;
            connection.write_all(packet)
        }
    }
}

fn with_port(mut server: SocketAddr, port: u16) -> SocketAddr {
    server.set_port(port);
    server
}

/// The system's own ping socket, which needs no privilege where the system allows it to
/// this user's group; otherwise a raw one, which needs CAP_NET_RAW.
fn echo_request(server: SocketAddr, packet: &[u8]) -> io::Result<()> {
    let (family, protocol, kind) = match server {
        SocketAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, 8),
        SocketAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, 128),
    };
    let socket = |kind| icmp_socket(family, kind, protocol);
    let socket = socket(SocketType::DGRAM).or_else(|first| match socket(SocketType::RAW) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(ping_not_permitted()),
        // What the first one said is of no use where the second works.
        Err(_) => Err(first),
        opened => opened,
    })?;
    // No type of std's for such sockets; what it does with one is the same for every datagram.
    let socket = UdpSocket::from(socket);
    socket.connect(with_port(server, 0))?;
    let mut bytes = vec![kind, 0, 0, 0, 0, 0, 0, 1];
    bytes.extend_from_slice(packet);
    let sum = checksum(&bytes).to_be_bytes();
    // The kernel does so itself, but not for a raw IPv4 socket.
    bytes.splice(2..4, sum);
    socket.send(&bytes).map(drop)
}

fn icmp_socket(family: AddressFamily, kind: SocketType, protocol: Protocol) -> io::Result<OwnedFd> {
    Ok(socket_with(
        family,
        kind,
        SocketFlags::CLOEXEC,
        Some(protocol),
    )?)
}

fn ping_not_permitted() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "this user may send no echo requests; allow it to everybody: `sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"` (IPv6 too), or give spa the capability CAP_NET_RAW",
    )
}

fn with_context(error: &io::Error, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        let high = pair.first().copied().unwrap_or(0);
        let low = pair.get(1).copied().unwrap_or(0);
        sum = sum.wrapping_add(u32::from(u16::from_be_bytes([high, low])));
    }
    while let Ok(carry) = u16::try_from(sum >> 16)
        && carry > 0
    {
        sum = (sum & 0xffff).wrapping_add(u32::from(carry));
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_makes_the_whole_sum_up_to_nothing() {
        for length in [0, 1, 2, 155, 160, 511, 512] {
            let mut bytes: Vec<u8> = (0..length)
                .map(|n: u16| (n * 7 % 251).to_le_bytes()[0])
                .collect();
            bytes.splice(0..0, [8, 0, 0, 0, 0, 0, 0, 1]);
            let sum = checksum(&bytes).to_be_bytes();
            bytes.splice(2..4, sum);
            assert_eq!(checksum(&bytes), 0, "{length}");
        }
    }
}
