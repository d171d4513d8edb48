//! Any frame: refused with one fault, or a datagram that lies in it as its own
//! headers say, that no cut changes, and that comes out of plain headers again.
//!
//! The first two bytes of the input are the frame's type.

use std::net::{IpAddr, SocketAddr};

use spad_capture::frame;
use spad_model::{Carrier, Datagram, FrameFault};

const INTERFACE: u32 = 7;

pub fn run(data: &[u8]) {
    let Some((ethertype, bytes)) = data.split_first_chunk() else {
        return;
    };
    let ethertype = u16::from_be_bytes(*ethertype);
    let datagram = match frame::parse(ethertype, INTERFACE, bytes) {
        Ok(datagram) => datagram,
        Err(fault) => return assert!(FrameFault::ALL.contains(&fault)),
    };
    assert_eq!(datagram.interface(), INTERFACE);
    check_bounds(bytes, &datagram);
    for length in 0..bytes.len() {
        match frame::parse(ethertype, INTERFACE, &bytes[..length]) {
            Ok(cut) => assert_eq!(cut, datagram, "a cut changed it"),
            Err(fault) => assert_eq!(fault, FrameFault::Truncated),
        }
    }
    let (ethertype, plain) = plain_headers(&datagram);
    assert_eq!(
        frame::parse(ethertype, INTERFACE, &plain),
        Ok(datagram),
        "plain headers changed it"
    );
}

/// The payload is a part of the frame, right behind a header that says so.
fn check_bounds(bytes: &[u8], datagram: &Datagram<'_>) {
    let payload = datagram.payload();
    assert!((160..=512).contains(&payload.len()), "{}", payload.len());
    let start = payload.as_ptr().addr() - bytes.as_ptr().addr();
    assert!(start + payload.len() <= bytes.len(), "beyond the frame");
    let begins = header(datagram);
    let addresses = [datagram.source(), datagram.destination()]
        .map(octets)
        .concat();
    // A TCP header may have options, and these may look like another header.
    let (mut lengths, known_bytes) = match datagram.carrier() {
        Carrier::Udp => ((8..=8).step_by(4), 6),
        Carrier::Icmp => ((8..=8).step_by(4), 2),
        Carrier::Tcp => ((20..=60).step_by(4), 4),
    };
    let is_whole = |length: usize| {
        let Some((ip, header)) = bytes[..start].split_at_checked(start.wrapping_sub(length)) else {
            return false;
        };
        let is_header = header.starts_with(&begins[..known_bytes])
            && (datagram.carrier() != Carrier::Tcp || usize::from(header[12] >> 4) * 4 == length);
        is_header
            && if datagram.source().is_ipv6() {
                ip.ends_with(&addresses)
            } else {
                let mut ends =
                    (ip.len().saturating_sub(60)..=ip.len().saturating_sub(20)).step_by(4);
                ends.any(|at| ip.get(at + 12..at + 20) == Some(&addresses))
            }
    };
    assert!(lengths.any(is_whole), "other headers");
}

/// The datagram in headers without options, tags, padding or checksums.
fn plain_headers(datagram: &Datagram<'_>) -> (u16, Vec<u8>) {
    let payload = datagram.payload();
    let (source, destination) = (datagram.source(), datagram.destination());
    let begins = header(datagram);
    let inner = begins.len() + payload.len();
    let protocol = match (datagram.carrier(), source.is_ipv4()) {
        (Carrier::Udp, _) => 17,
        (Carrier::Tcp, _) => 6,
        (Carrier::Icmp, true) => 1,
        (Carrier::Icmp, false) => 58,
    };
    let mut bytes = Vec::new();
    let ethertype = if source.is_ipv4() {
        bytes.extend([0x45, 0]);
        bytes.extend(length(inner + 20));
        bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
        0x0800
    } else {
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend(length(inner));
        bytes.extend([protocol, 64]);
        0x86dd
    };
    bytes.extend(octets(source));
    bytes.extend(octets(destination));
    bytes.extend(begins);
    bytes.extend(payload);
    (ethertype, bytes)
}

/// The carrier's header, without options and checksum.
fn header(datagram: &Datagram<'_>) -> Vec<u8> {
    let (source, destination) = (datagram.source(), datagram.destination());
    let ports = [source.port(), destination.port()].map(u16::to_be_bytes);
    let ports = ports.concat();
    match datagram.carrier() {
        Carrier::Udp => {
            let length = length(datagram.payload().len() + 8);
            [&ports[..], &length, &[0, 0]].concat()
        }
        Carrier::Icmp if source.is_ipv4() => vec![8, 0, 0, 0, 0, 0, 0, 0],
        Carrier::Icmp => vec![128, 0, 0, 0, 0, 0, 0, 0],
        Carrier::Tcp => [&ports[..], &[0; 8], &[0x50, 0], &[0; 6]].concat(),
    }
}

fn octets(address: SocketAddr) -> Vec<u8> {
    match address.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn length(length: usize) -> [u8; 2] {
    u16::try_from(length)
        .expect("far below 65,536")
        .to_be_bytes()
}
