//! The ways round a guard that were tried against its design: each one ends here.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};

use pnet::packet::Packet;
use pnet::packet::ethernet::{EtherType, EtherTypes, EthernetPacket};
use pnet::packet::icmp::{IcmpTypes, MutableIcmpPacket};
use pnet::packet::ipv4::Ipv4Packet;
use pnet::util::MacAddr;
use spa_tests::echo::Echo;
use spa_tests::lab::{CLIENT4, LINK, SERVER_MAC, SERVER4, STRANGER4};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{CHAT, EXPOSED, SPA_PORT, Settings, WEB};
use spa_tests::tap::{self, Tap};
use spa_tests::test_bed::TestBed;
use spa_tests::{frame, wait};

/// Like the hidden UDP service, but shown: what reaches it would have reached the other.
const UNUSED_PORT: u16 = 9998;

#[test]
fn hidden_ports_are_not_reached_by_a_redirect_of_another_port() {
    let bed = TestBed::new();
    bed.lab.server.nft(
        "table inet theirs {
  chain prerouting { type nat hook prerouting priority dstnat;
    tcp dport 8088 redirect to :8080
    tcp dport 8089 redirect to :8081
    udp dport 9989 redirect to :9999
    udp dport 9988 redirect to :9998
  }
}
",
    );
    let _beside = Echo::udp(&bed.lab.server, UNUSED_PORT);
    assert_eq!(
        (bed.tcp(8089), bed.udp(9988)),
        (Reachability::Open, Reachability::Open),
        "the redirect itself works"
    );
    assert_ne!(bed.tcp(8088), Reachability::Open);
    assert_ne!(bed.tcp6(8088), Reachability::Open);
    assert_ne!(bed.udp(9989), Reachability::Open);
    assert_ne!(bed.udp6(9989), Reachability::Open);
    assert_eq!([bed.echoes[0].received(), bed.echoes[1].received()], [0, 0]);
    bed.open(&["tcp/8080"]);
    assert_eq!(
        bed.tcp(WEB),
        Reachability::Open,
        "the hidden port by its own number"
    );
}

#[test]
fn hidden_tcp_is_not_reached_through_an_ftp_helper() {
    let bed = TestBed::new();
    // Whatever is sent to this service comes back: an FTP server's answer among it.
    let _control = Echo::tcp(&bed.lab.server, 21);
    bed.lab.server.nft(
        "table inet theirs {
  ct helper ftp { type \"ftp\" protocol tcp; }
  chain helpers { type filter hook prerouting priority filter; tcp dport 21 ct helper set \"ftp\"; }
}
",
    );
    let expect = |port: u16| {
        let mut control = reach::connect(&bed.lab.client, SERVER4.into(), 21);
        assert!(reach::echoes(&mut control));
        let (high, low) = (port / 256, port % 256);
        let answer = format!("227 Entering Passive Mode (192,0,2,1,{high},{low})\r\n");
        // The helper reads an answer only at the beginning of a line and of a segment.
        for part in ["hi\r\n", &answer] {
            control
                .write_all(part.as_bytes())
                .expect("a control connection");
            let mut received = vec![0; part.len()];
            control.read_exact(&mut received).expect("an answer");
        }
        wait::eventually("the kernel expects a related connection", || {
            let expected = bed
                .lab
                .server
                .enter(|| std::fs::read_to_string("/proc/thread-self/net/nf_conntrack_expect"));
            expected
                .ok()?
                .contains(&format!("dport={port}"))
                .then_some(())
        });
        control
    };
    let _kept = expect(WEB);
    assert_ne!(
        bed.tcp(WEB),
        Reachability::Open,
        "a related connection is a new one"
    );
    assert_eq!(bed.echoes[0].received(), 0);
}

#[test]
fn packets_without_ports_pass() {
    let bed = TestBed::new();
    let mut echo = vec![0; 64];
    let mut icmp = MutableIcmpPacket::new(&mut echo).expect("room");
    icmp.set_icmp_type(IcmpTypes::EchoRequest);
    let sum = pnet::packet::icmp::checksum(&icmp.to_immutable());
    icmp.set_checksum(sum);
    let tap = Tap::start(&bed.lab.client);
    let endpoints = frame::Endpoints::new((CLIENT4, 0), (SERVER4, 0));
    tap::inject(&bed.lab.client, &[frame::ip_frame(endpoints, 1, &echo)]);
    wait::eventually("an echo reply", || {
        let answered = tap.sent_by(SERVER_MAC).iter().any(|frame| {
            EthernetPacket::new(frame)
                .and_then(|frame| {
                    Ipv4Packet::new(frame.payload()).map(|ip| ip.get_next_level_protocol().0 == 1)
                })
                .unwrap_or(false)
        });
        answered.then_some(())
    });
    // Protocols that the host does not speak get the kernel's own answer.
    tap::inject(
        &bed.lab.client,
        &[frame::ip_frame(endpoints, 253, &[0; 40])],
    );
    wait::eventually("protocol unreachable", || {
        (tap.sent_by(SERVER_MAC).len() >= 2).then_some(())
    });
}

#[test]
fn segments_that_begin_no_connection_reach_nothing() {
    use pnet::packet::tcp::TcpFlags;
    let bed = TestBed::with(&Settings {
        answer: "drop",
        ..Settings::default()
    });
    let tap = Tap::start(&bed.lab.client);
    let endpoints = |to_port| frame::Endpoints::new((CLIENT4, 40_100), (SERVER4, to_port));
    let odd = [
        0,
        TcpFlags::FIN,
        TcpFlags::ACK,
        TcpFlags::SYN | TcpFlags::ACK,
        TcpFlags::SYN | TcpFlags::FIN,
        TcpFlags::RST,
        0xff,
    ];
    let frames: Vec<_> = odd
        .iter()
        .map(|flags| frame::ip_frame(endpoints(WEB), 6, &frame::tcp(endpoints(WEB), *flags)))
        .collect();
    tap::inject(&bed.lab.client, &frames);
    // An answer at the shown port proves that the others had their time.
    tap::inject(
        &bed.lab.client,
        &[frame::ip_frame(
            endpoints(EXPOSED),
            6,
            &frame::syn(endpoints(EXPOSED)),
        )],
    );
    wait::eventually("the shown port answers", || {
        (!tap.sent_by(SERVER_MAC).is_empty()).then_some(())
    });
    let answers = tap.sent_by(SERVER_MAC);
    let from_hidden = answers
        .iter()
        .filter(|frame| frame.get(34..36) == Some(&WEB.to_be_bytes()[..]))
        .count();
    assert_eq!(from_hidden, 0);
    assert_eq!(bed.echoes[0].received(), 0);
}

#[test]
fn an_interface_that_is_missing_keeps_nothing_from_being_hidden() {
    let bed = TestBed::with(&Settings {
        always_allow: &["lo", "wg9"],
        ..Settings::default()
    });
    assert_eq!([bed.tcp(WEB), bed.udp(CHAT)], [Reachability::Refused; 2]);
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn a_named_interface_that_comes_later_is_listened_at() {
    let mut bed = TestBed::stopped(&Settings {
        interfaces: Some(&[LINK]),
        ..Settings::default()
    });
    bed.lab.unplug();
    bed.spad.start();
    bed.lab.plug();
    wait::eventually("the way is back", || {
        (bed.tcp(EXPOSED) == Reachability::Open).then_some(())
    });
    assert_ne!(bed.tcp(WEB), Reachability::Open);
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn knocks_that_are_not_for_this_host_are_not_judged() {
    let bed = TestBed::new();
    let packet = bed.laptop.open(&["tcp/8080"]);
    let to = |to: Ipv4Addr| frame::Endpoints::new((CLIENT4, 40_200), (to, SPA_PORT));
    // Another card's frame that a switch floods.
    let other = frame::datagram(to(SERVER4), &packet);
    let other = frame::ethernet_to(
        MacAddr(2, 0, 0x5e, 0, 0x53, 9),
        EtherTypes::Ipv4,
        other.get(14..).expect("a packet"),
    );
    // A fragment, first or last.
    let datagram = frame::udp(to(SERVER4), &packet);
    let fragment = frame::ethernet(
        EtherTypes::Ipv4,
        &frame::ipv4(CLIENT4, SERVER4, 17, &datagram, 0, true),
    );
    let last = frame::ethernet(
        EtherTypes::Ipv4,
        &frame::ipv4(CLIENT4, SERVER4, 17, &datagram, 1, false),
    );
    tap::inject(&bed.lab.client, &[other, fragment, last]);
    bed.open(&["udp/9999"]);
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    assert_eq!(bed.spad.verdict_count("opened"), 1);
}

#[test]
fn odd_frames_harm_nothing() {
    let bed = TestBed::new();
    let packet = bed.laptop.open(&["tcp/8080"]);
    let endpoints = frame::Endpoints::new((CLIENT4, 40_300), (SERVER4, SPA_PORT));
    let whole = frame::datagram(endpoints, &packet);
    let mut frames: Vec<Vec<u8>> = (14..whole.len())
        .step_by(3)
        .filter_map(|end| whole.get(..end).map(<[u8]>::to_vec))
        .collect();
    for (at, value) in [
        (14, 0x4f),
        (14, 0x40),
        (14, 0x65),
        (16, 0xff),
        (17, 0),
        (20, 0x20),
        (21, 7),
        (38, 0xff),
        (39, 1),
    ] {
        let mut odd = whole.clone();
        if let Some(byte) = odd.get_mut(at) {
            *byte = value;
        }
        frames.push(odd);
    }
    frames.push(frame::tagged(
        &whole,
        &[(EtherTypes::Vlan, 7), (EtherTypes::Vlan, 8)],
    ));
    frames.push(frame::tagged(
        &whole,
        &[(EtherType(0x88a8), 7), (EtherTypes::Vlan, 8)],
    ));
    tap::inject(&bed.lab.client, &frames);
    bed.open(&["udp/9999"]);
    assert_eq!(bed.udp(CHAT), Reachability::Open);
}

#[test]
fn a_spoofed_source_opens_for_nobody_who_asked() {
    let bed = TestBed::new();
    let packet = bed.laptop.open(&["udp/9999"]);
    let spoofed = Ipv4Addr::new(192, 0, 2, 99);
    let endpoints = frame::Endpoints::new((spoofed, 40_400), (SERVER4, SPA_PORT));
    tap::inject(&bed.lab.client, &[frame::datagram(endpoints, &packet)]);
    bed.spad
        .wait_audited(&[("event", "grant"), ("src", &spoofed.to_string())]);
    let seen = bed.lab.client.enter(|| {
        [CLIENT4.into(), STRANGER4.into()]
            .map(|source: IpAddr| reach::udp_from(source, SERVER4.into(), CHAT))
    });
    assert_eq!(seen, [Reachability::Refused; 2]);
}
