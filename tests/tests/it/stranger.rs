//! Who has no key reaches nothing, and cannot tell that `spad` runs.

use std::net::IpAddr;

use pnet::packet::Packet;
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::ipv4::Ipv4Packet;
use spa_keys::ServerSecret;
use spa_tests::attacker::{copy_head, random_packet};
use spa_tests::identity::Identity;
use spa_tests::lab::{CLIENT4, CLIENT6, SERVER_MAC, SERVER4, SERVER6};
use spa_tests::namespace::Namespace;
use spa_tests::reach::Reachability;
use spa_tests::settings::{CHAT, SPA_PORT, Settings, WEB};
use spa_tests::tap::{self, Tap};
use spa_tests::test_bed::TestBed;
use spa_tests::{frame, wait};

/// A port that nothing hides and nothing serves.
const CLOSED: u16 = 40_404;

#[test]
fn without_a_packet_every_hidden_port_is_closed() {
    let bed = TestBed::new();
    assert_eq!(bed.probe_hidden(), [Reachability::Refused; 4]);
    assert_eq!([bed.echoes[0].received(), bed.echoes[1].received()], [0, 0]);
}

#[test]
fn a_sweep_over_all_ports_opens_nothing() {
    let bed = TestBed::with(&Settings {
        answer: "drop",
        ..Settings::default()
    });
    let endpoints = |to_port| frame::Endpoints::new((CLIENT4, 50_500), (SERVER4, to_port));
    for ports in (1..=u16::MAX).collect::<Vec<_>>().chunks(4096) {
        let frames: Vec<_> = ports
            .iter()
            .flat_map(|port| {
                [
                    frame::ip_frame(endpoints(*port), 6, &frame::syn(endpoints(*port))),
                    frame::datagram(endpoints(*port), &[7; 200]),
                ]
            })
            .collect();
        tap::inject(&bed.lab.client, &frames);
    }
    bed.spad.wait_verdict_count("head_tag", 1);
    assert_eq!([bed.tcp(WEB), bed.tcp6(WEB)], [Reachability::NoAnswer; 2]);
    assert_eq!([bed.echoes[0].received(), bed.echoes[1].received()], [0, 0]);
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn the_packet_of_an_unknown_key_opens_nothing() {
    let bed = TestBed::new();
    let unknown = Identity::new(&bed.server_public);
    bed.send_counted(&unknown.open(&["tcp/8080"]), "unknown_key");
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
}

#[test]
fn a_packet_for_another_server_opens_nothing() {
    let bed = TestBed::new();
    let other = Identity::new(&ServerSecret::generate().expect("a key").public());
    bed.send_counted(&other.open(&["tcp/8080"]), "head_tag");
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
}

#[test]
fn a_genuine_head_with_anything_behind_it_opens_nothing() {
    let bed = TestBed::new();
    let genuine = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&copy_head(&genuine), "hmac");
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    bed.send_counted(&genuine, "opened");
    assert_eq!(
        bed.tcp(WEB),
        Reachability::Open,
        "the owner is not locked out"
    );
}

#[test]
fn random_bytes_are_counted_and_leave_no_line() {
    let bed = TestBed::new();
    let lines = bed.spad.audit().len();
    let forged: Vec<Vec<u8>> = (0..200).map(|index| random_packet(160 + index)).collect();
    bed.send_all(&forged);
    bed.spad.wait_verdict_count("head_tag", 200);
    assert_eq!(bed.spad.audit().len(), lines);
    // Too short and too long ones never leave the kernel.
    for length in [0, 1, 159, 513, 1400] {
        bed.send(&vec![0x5a; length]);
    }
    bed.open(&["tcp/8080"]);
    let verdicts = bed.spad.verdicts();
    assert_eq!(verdicts.values().sum::<u64>(), 201, "{verdicts:?}");
}

#[test]
fn with_answer_drop_not_one_frame_comes_back() {
    let bed = TestBed::with(&Settings {
        answer: "drop",
        ..Settings::default()
    });
    let tap = Tap::start(&bed.lab.client);
    let everything = [
        bed.laptop.open(&["udp/9999"]),
        random_packet(200),
        Identity::new(&bed.server_public).open(&["tcp/8080"]),
    ];
    for packet in &everything {
        bed.send(packet);
        bed.send6(packet);
    }
    bed.spad.wait_verdict_count("head_tag", 2);
    bed.spad.wait_verdict_count("unknown_key", 2);
    assert_eq!([bed.tcp(WEB), bed.tcp6(WEB)], [Reachability::NoAnswer; 2]);
    assert_eq!(tap.sent_by(SERVER_MAC), Vec::<Vec<u8>>::new());
}

/// What one frame brings back from the server, without what differs from
/// one packet to the next (identification, checksums) and the quoted port.
fn answers(client: &Namespace, frames: &[Vec<u8>], expected: usize) -> Vec<Vec<u8>> {
    let tap = Tap::start(client);
    tap::inject(client, frames);
    wait::eventually("the host answers", || {
        (tap.sent_by(SERVER_MAC).len() >= expected).then_some(())
    });
    tap.sent_by(SERVER_MAC)
        .iter()
        .map(|frame| shape(frame))
        .collect()
}

fn shape(frame: &[u8]) -> Vec<u8> {
    let frame = EthernetPacket::new(frame).expect("a frame");
    let mut bytes = frame.payload().to_vec();
    let blank = |bytes: &mut Vec<u8>, at: usize, count: usize| {
        for byte in bytes.iter_mut().skip(at).take(count) {
            *byte = 0;
        }
    };
    if frame.get_ethertype() == EtherTypes::Ipv4 {
        let header = Ipv4Packet::new(frame.payload()).expect("an IPv4 header");
        let icmp = header.get_next_level_protocol().0 == 1;
        blank(&mut bytes, 4, 2);
        blank(&mut bytes, 10, 2);
        // ICMP quotes the datagram: its checksum, the quoted header's, the quoted port and sum.
        let places: &[(usize, usize)] = if icmp {
            &[(22, 2), (38, 2), (50, 2), (54, 2)]
        } else {
            &[(20, 2), (36, 2)]
        };
        places
            .iter()
            .for_each(|(at, count)| blank(&mut bytes, *at, *count));
    } else {
        blank(&mut bytes, 1, 3);
        let icmp = bytes.get(6) == Some(&58);
        let places: &[(usize, usize)] = if icmp {
            &[(42, 2), (90, 2), (94, 2)]
        } else {
            &[(40, 2), (56, 2)]
        };
        places
            .iter()
            .for_each(|(at, count)| blank(&mut bytes, *at, *count));
    }
    bytes
}

#[test]
fn a_stranger_cannot_tell_hidden_ports_from_closed_ones() {
    let bed = TestBed::new();
    let pairs: [(IpAddr, IpAddr); 2] = [
        (CLIENT4.into(), SERVER4.into()),
        (CLIENT6.into(), SERVER6.into()),
    ];
    for (from, to) in pairs {
        let endpoints = |to_port| frame::Endpoints {
            from,
            to,
            from_port: 50_505,
            to_port,
        };
        let syn = |port| frame::ip_frame(endpoints(port), 6, &frame::syn(endpoints(port)));
        let closed = answers(&bed.lab.client, &[syn(CLOSED)], 1);
        assert_eq!(
            answers(&bed.lab.client, &[syn(WEB)], 1),
            closed,
            "TCP at a hidden port, from {from}"
        );
        let datagram = |port| frame::datagram(endpoints(port), &[7; 200]);
        let closed = answers(&bed.lab.client, &[datagram(CLOSED)], 1);
        assert_eq!(
            answers(&bed.lab.client, &[datagram(CHAT)], 1),
            closed,
            "UDP at a hidden port, from {from}"
        );
        assert_eq!(
            answers(&bed.lab.client, &[datagram(SPA_PORT)], 1),
            closed,
            "the knock port, from {from}"
        );
    }
}

#[test]
fn a_genuine_packet_gets_the_same_answer_as_any_other() {
    let bed = TestBed::new();
    let endpoints = |to_port| frame::Endpoints::new((CLIENT4, 50_506), (SERVER4, to_port));
    let genuine = bed.laptop.open(&["tcp/8080"]);
    let other = random_packet(genuine.len());
    // An answer quotes the packet: of equal lengths, cut to what all quotes share.
    let head = |frames: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        frames
            .into_iter()
            .map(|frame| frame.into_iter().take(54).collect())
            .collect()
    };
    let closed = answers(
        &bed.lab.client,
        &[frame::datagram(endpoints(CLOSED), &other)],
        1,
    );
    let opened = answers(
        &bed.lab.client,
        &[frame::datagram(endpoints(SPA_PORT), &genuine)],
        1,
    );
    bed.spad.wait_verdict_count("opened", 1);
    assert_eq!(head(opened), head(closed));
}
