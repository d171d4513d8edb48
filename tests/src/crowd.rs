//! Addresses without number: each packet may come from one of its own, and what the kernel
//! holds for an address then tells what became of that packet.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, SERVER4};
use crate::namespace::Namespace;
use crate::settings::SPA_PORT;

/// Lets the client's machine speak from every address of 10.0.0.0/8.
pub fn add_local_route(lab: &Lab) {
    let local = ["route", "add", "local", "10.0.0.0/8", "dev", "lo"];
    let _ = lab.client.run_ok("ip", &local);
}

/// One of them: `kind` tells apart what is sent, `number` counts.
#[must_use]
pub fn address(kind: u8, number: u32) -> Ipv4Addr {
    let [_, high, middle, low] = number.to_be_bytes();
    assert!(high < 16, "fewer than a million");
    Ipv4Addr::new(10, (kind << 4) | high, middle, low)
}

/// Which kind an address of these is.
#[must_use]
pub fn kind(address: Ipv4Addr) -> u8 {
    address.octets()[1] >> 4
}

/// Sends one packet from this address; call it inside the client's namespace.
pub fn send_from(source: Ipv4Addr, packet: &[u8]) {
    let socket = UdpSocket::bind((source, 0)).expect("a socket");
    let _ = socket
        .send_to(packet, (SERVER4, SPA_PORT))
        .expect("a way to the server");
}

/// The IPv4 addresses that the kernel lets in now, each with the time it has left. `None` where
/// it cannot be listed: the table may be gone for the moment in which it is loaded again.
///
/// # Panics
/// The list has another shape than is read here.
#[must_use]
pub fn granted_addresses(server: &Namespace) -> Option<BTreeMap<Ipv4Addr, Duration>> {
    let listed = server.run("nft", &["-j", "list", "set", "inet", "spad", "grants4"]);
    let listed: Value = serde_json::from_str(&listed.stdout).ok()?;
    let set = listed.pointer("/nftables/1/set").expect("a set");
    let elements = set.get("elem").and_then(Value::as_array);
    let mut found = BTreeMap::new();
    for element in elements.into_iter().flatten() {
        let text = element
            .pointer("/elem/val/concat/0")
            .and_then(Value::as_str);
        let left = element.pointer("/elem/expires").and_then(Value::as_u64);
        let address = text.and_then(|text| text.parse::<IpAddr>().ok());
        let (Some(IpAddr::V4(address)), Some(left)) = (address, left) else {
            panic!("an element of another shape: {element}");
        };
        let _ = found.insert(address, Duration::from_secs(left));
    }
    Some(found)
}
