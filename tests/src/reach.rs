//! What somebody sees who tries a port.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::namespace::Namespace;

/// Long enough for an answer over the link; short enough to be tried often.
const PROBE_TIMEOUT: Duration = Duration::from_millis(400);

/// The outcome of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// The service answered.
    Open,
    /// Closed, and the host said so: reset, or port unreachable.
    Refused,
    /// Nothing came back.
    NoAnswer,
}

/// Tries a TCP connection to an echo or any service.
#[must_use]
pub fn tcp(from: &Namespace, to: IpAddr, port: u16) -> Reachability {
    from.enter(
        || match TcpStream::connect_timeout(&SocketAddr::new(to, port), PROBE_TIMEOUT) {
            Ok(_) => Reachability::Open,
            Err(error) => from_error_kind(error.kind()),
        },
    )
}

/// Tries a UDP echo.
#[must_use]
pub fn udp(from: &Namespace, to: IpAddr, port: u16) -> Reachability {
    let any: IpAddr = if to.is_ipv4() {
        [0; 4].into()
    } else {
        [0u16; 8].into()
    };
    from.enter(|| udp_from(any, to, port))
}

/// Tries a UDP echo from this source; call it inside a namespace.
#[must_use]
pub fn udp_from(source: IpAddr, to: IpAddr, port: u16) -> Reachability {
    let socket = UdpSocket::bind((source, 0)).expect("a socket");
    socket
        .set_read_timeout(Some(PROBE_TIMEOUT))
        .expect("a time limit");
    socket.connect((to, port)).expect("a route");
    let mut answer = [0; 16];
    match socket
        .send(b"there?")
        .and_then(|_| socket.recv(&mut answer))
    {
        Ok(_) => Reachability::Open,
        Err(error) => from_error_kind(error.kind()),
    }
}

fn from_error_kind(kind: ErrorKind) -> Reachability {
    match kind {
        // Reset: it closed between the two segments of the client's.
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Reachability::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Reachability::NoAnswer,
        other => panic!("the try itself failed: {other}"),
    }
}

/// Says something over a connection to an echo and hears it back.
#[must_use]
pub fn echoes(stream: &mut TcpStream) -> bool {
    let mut reply = [0; 4];
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .is_ok()
        && stream.write_all(b"ping").is_ok()
        && stream.read_exact(&mut reply).is_ok()
        && reply == *b"ping"
}

/// A connection that stays; call it when the port is open.
#[must_use]
#[track_caller]
pub fn connect(from: &Namespace, to: IpAddr, port: u16) -> TcpStream {
    from.enter(|| TcpStream::connect_timeout(&SocketAddr::new(to, port), PROBE_TIMEOUT))
        .expect("the port is open")
}
