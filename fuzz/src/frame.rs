//! Any frame: refused with one fault, or a datagram that lies in it as its own
//! headers say, that no cut changes, and that comes out of plain headers again.
//!
//! The first two bytes of the input are the frame's type.

use std::net::{IpAddr, SocketAddr};

use spad::capture::{Datagram, FrameFault, frame};

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
    lies_in(bytes, &datagram);
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

/// The payload is a part of the frame, right behind a UDP header that says so.
fn lies_in(bytes: &[u8], datagram: &Datagram<'_>) {
    let payload = datagram.payload();
    assert!((160..=512).contains(&payload.len()), "{}", payload.len());
    let start = payload.as_ptr().addr() - bytes.as_ptr().addr();
    assert!(start + payload.len() <= bytes.len(), "beyond the frame");
    let mut header = Vec::new();
    header.extend(datagram.source().port().to_be_bytes());
    header.extend(datagram.destination().port().to_be_bytes());
    header.extend(length(payload.len() + 8));
    assert_eq!(bytes[start - 8..start - 2], header, "another UDP header");
    let addresses = [datagram.source(), datagram.destination()]
        .map(octets)
        .concat();
    let ip = &bytes[..start - 8];
    if datagram.source().is_ipv6() {
        assert!(ip.ends_with(&addresses), "other IPv6 addresses");
    } else {
        let mut ends = (ip.len().saturating_sub(60)..=ip.len() - 20).step_by(4);
        assert!(
            ends.any(|at| ip[at + 12..at + 20] == addresses),
            "other IPv4 addresses"
        );
    }
}

/// The datagram in headers without options, tags, padding or checksums.
fn plain_headers(datagram: &Datagram<'_>) -> (u16, Vec<u8>) {
    let payload = datagram.payload();
    let (source, destination) = (datagram.source(), datagram.destination());
    let udp = length(payload.len() + 8);
    let mut bytes = Vec::new();
    let ethertype = if source.is_ipv4() {
        bytes.extend([0x45, 0]);
        bytes.extend(length(payload.len() + 28));
        bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        0x0800
    } else {
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend(udp);
        bytes.extend([17, 64]);
        0x86dd
    };
    bytes.extend(octets(source));
    bytes.extend(octets(destination));
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    bytes.extend(udp);
    bytes.extend([0, 0]);
    bytes.extend(payload);
    (ethertype, bytes)
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
