//! What somebody on the way can do to packets: send them again, from
//! elsewhere, altered, or made up. Bounded: one call, one packet.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use spa_proto::limits;

use crate::namespace::Namespace;

/// Sends one datagram from this source address.
pub fn send(namespace: &Namespace, source: IpAddr, to: SocketAddr, payload: &[u8]) {
    send_all(namespace, source, to, &[payload]);
}

/// Sends datagrams, one after the other, from this source address.
pub fn send_all(namespace: &Namespace, source: IpAddr, to: SocketAddr, payloads: &[&[u8]]) {
    namespace.enter(|| {
        let socket = UdpSocket::bind((source, 0)).expect("a socket");
        for payload in payloads {
            socket.send_to(payload, to).expect("a way to the server");
        }
    });
}

/// The packet with one bit changed.
#[must_use]
pub fn flip_bit(packet: &[u8], bit: usize) -> Vec<u8> {
    let mut flipped = packet.to_vec();
    let byte = flipped.get_mut(bit / 8).expect("a bit inside the packet");
    *byte ^= 1 << (bit % 8);
    flipped
}

/// The head of a genuine packet with something else behind it.
#[must_use]
pub fn copy_head(packet: &[u8]) -> Vec<u8> {
    let mut copied = random_packet(packet.len());
    let head = packet.get(..limits::HEAD_LEN).expect("a whole head");
    copied.splice(..limits::HEAD_LEN, head.iter().copied());
    copied
}

/// Random bytes of a genuine length.
#[must_use]
pub fn random_packet(length: usize) -> Vec<u8> {
    let mut bytes = spa_keys::random_bytes::<512>()
        .expect("randomness")
        .to_vec();
    bytes.truncate(length);
    bytes
}
