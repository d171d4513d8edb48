//! knock(1) and `spa knock`: what is sent for words that are no ports.

use std::process::Command;

use pnet::packet::Packet;
use pnet::packet::ethernet::EthernetPacket;
use pnet::packet::ipv4::Ipv4Packet;
use spa_tests::binaries;
use spa_tests::lab::{CLIENT_MAC, Lab, SERVER4};
use spa_tests::process::{Finished, run};
use spa_tests::tap::Tap;
use spa_tests::wait;

const TCP: u8 = 6;
/// What is sent behind all the rest.
const LAST: (u8, u16) = (TCP, 1);

/// Protocol and port of what the client's machine sent, and what its command said.
fn sent(command: &mut Command, lab: &Lab) -> (Vec<(u8, u16)>, Finished) {
    let tap = Tap::start(&lab.client);
    let finished = run(command);
    // Behind all that it sent.
    let _ = lab
        .client
        .run("nc", &["-z", "-w", "5", &SERVER4.to_string(), "1"]);
    let ports = wait::eventually("the last one passes", || {
        let ports: Vec<_> = tap
            .sent_by(CLIENT_MAC)
            .iter()
            .filter_map(|frame| port(frame))
            .collect();
        ports.contains(&LAST).then_some(ports)
    });
    (
        ports.into_iter().filter(|sent| *sent != LAST).collect(),
        finished,
    )
}

fn port(frame: &[u8]) -> Option<(u8, u16)> {
    let ethernet = EthernetPacket::new(frame)?;
    let ip = Ipv4Packet::new(ethernet.payload())?;
    let bytes = ip.payload().get(2..4)?;
    let port = u16::from_be_bytes(bytes.try_into().ok()?);
    Some((ip.get_next_level_protocol().0, port))
}

#[test]
fn words_that_are_no_knocks_are_sent_by_knock_all_the_same_and_refused_by_spa() {
    let lab = Lab::new();
    let server = SERVER4.to_string();
    for (word, instead) in [
        ("7000:sctp", 7000),
        ("7000:UDP", 7000),
        ("70000", 4464),
        ("0", 0),
    ] {
        let (knocks, output) = sent(lab.client.command("knock").args([&server, word]), &lab);
        assert!(output.success, "{word}: {}", output.stderr);
        assert_eq!(knocks, [(TCP, instead)], "{word}");
        let mut spa = lab.client.command(binaries::spa());
        let (knocks, output) = sent(spa.args(["knock", &server, word]), &lab);
        assert!(
            output.stderr.contains("a knock is a port from 1 to 65535"),
            "{}",
            output.stderr
        );
        assert!(
            knocks.is_empty() && output.code == Some(2),
            "{word}: {knocks:?}"
        );
    }
}
