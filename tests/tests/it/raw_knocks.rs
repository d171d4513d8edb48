//! Doors of `[[knock]]`, by packets made by hand: repeated ones, other flags, other addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::tcp::TcpFlags;
use spa_tests::frame::{self, Endpoints};
use spa_tests::lab::{CLIENT4, CLIENT6, LINK, SERVER4, SERVER6};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{Settings, WEB};
use spa_tests::tap::inject;
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// Client and server of each family.
const FAMILIES: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(CLIENT4), IpAddr::V4(SERVER4)),
    (IpAddr::V6(CLIENT6), IpAddr::V6(SERVER6)),
];
const TCP: u8 = IpNextHeaderProtocols::Tcp.0;

/// A server with a door that opens `web` for a minute.
fn door(lines: &str) -> TestBed {
    let mut bed = TestBed::stopped(&Settings::default());
    let door = "[[knock]]\nname = \"side\"\nopen = [\"web\"]\nttl = \"1m\"\nwithin = \"1m\"";
    bed.append_config("spad.toml", &format!("{door}\n{lines}"));
    bed.spad.start();
    bed
}

/// Where a segment of a connection of its own goes, or a datagram.
fn endpoints((from, to): (IpAddr, IpAddr), port: u16) -> Endpoints {
    let own = 20_000 + port;
    Endpoints::new(SocketAddr::new(from, own), SocketAddr::new(to, port))
}

fn segment(between: (IpAddr, IpAddr), port: u16, flags: u8) -> Vec<u8> {
    let endpoints = endpoints(between, port);
    frame::ip_frame(endpoints, TCP, &frame::tcp(endpoints, flags))
}

fn knocks(between: (IpAddr, IpAddr), ports: &[u16]) -> Vec<Vec<u8>> {
    let knock = |port: &u16| segment(between, *port, TcpFlags::SYN);
    ports.iter().map(knock).collect()
}

/// Sends these; gives how many grants came of all that was sent so far.
fn opened_by(bed: &TestBed, frames: &[Vec<u8>]) -> u64 {
    inject(&bed.lab.client, frames);
    // What was sent before this packet was heard before it.
    bed.send_counted(&bed.laptop.open(&["tcp/22"]), "opened");
    bed.spad.verdict_count("knock_opened")
}

fn is_open(bed: &TestBed, server: IpAddr) -> bool {
    reach::tcp(&bed.lab.client, server, WEB) == Reachability::Open
}

/// Whether somebody at this address of the client's machine is let in.
fn is_open_from(bed: &TestBed, from: IpAddr, server: IpAddr) -> bool {
    let (from, server, port) = (from.to_string(), server.to_string(), WEB.to_string());
    let words = ["-z", "-w", "1", "-s", &from, &server, &port];
    bed.lab.client.run("nc", &words).success
}

#[test]
fn a_segment_that_comes_twice_byte_for_byte_breaks_no_attempt() {
    for between in FAMILIES {
        let bed = door("sequence = \"7000,8000,9000\"");
        // Beside each other, and late: the first one again behind the second.
        let frames = knocks(between, &[7000, 7000, 8000, 8000, 7000, 9000, 9000]);
        assert_eq!(opened_by(&bed, &frames), 1, "{between:?}");
        assert!(is_open(&bed, between.1));
    }
}

#[test]
fn a_segment_that_the_client_sends_again_for_want_of_an_answer_breaks_no_attempt() {
    for (client, server) in FAMILIES {
        let bed = door("sequence = \"7000,8000,9000\"");
        bed.lab.server.nft(
            "table inet silent { chain input { type filter hook input priority -50; tcp dport { 7000, 8000, 9000 } drop; }; }",
        );
        let received = |count: u64| {
            wait::eventually("it was sent again", || {
                (bed.spad.verdict_count("knock") >= count).then_some(())
            });
        };
        let knock = |port: u16| {
            bed.lab.client.spawn(move || {
                let to = SocketAddr::new(server, port);
                let _ = TcpStream::connect_timeout(&to, Duration::from_secs(5));
            })
        };
        // Each goes on being sent while the next is.
        let first = knock(7000);
        received(2);
        let second = knock(8000);
        received(4);
        let third = knock(9000);
        bed.spad.wait_verdict_count("knock_opened", 1);
        assert!(is_open(&bed, server), "{client}");
        for knock in [first, second, third] {
            knock.join().expect("a client");
        }
    }
}

#[test]
fn a_door_with_a_target_opens_by_knocks_at_that_address_alone() {
    let targets: [IpAddr; 2] = [
        Ipv4Addr::new(192, 0, 2, 9).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).into(),
    ];
    for ((client, server), target) in FAMILIES.into_iter().zip(targets) {
        let bed = door(&format!(
            "sequence = \"7000,8000,9000\"\ntarget = \"{target}\""
        ));
        let length = if target.is_ipv4() { 24 } else { 64 };
        let address = format!("{target}/{length}");
        let add = ["addr", "add", &address, "dev", LINK];
        let _ = bed.lab.server.run_ok("ip", &add);
        let elsewhere = knocks((client, server), &[7000, 8000, 9000]);
        assert_eq!(opened_by(&bed, &elsewhere), 0, "{target}");
        // What is sent to the other address is no wrong knock here.
        let mut there = knocks((client, target), &[7000, 8000, 9000]);
        there.insert(1, elsewhere[2].clone());
        assert_eq!(opened_by(&bed, &there), 1, "{target}");
        assert!(is_open(&bed, server));
    }
}

/// A strict door with looser flags, for whose sake the kernel passes all that it asks for.
const ANOTHER: &str =
    "\n[[knock]]\nname = \"other\"\nsequence = \"11,5\"\nopen = [\"web\"]\ntcp_flags = [\"syn\"]";

#[test]
fn a_door_that_is_not_strict_passes_over_other_ports_and_opens_to_a_scan() {
    for (between, other) in [(FAMILIES[0], ""), (FAMILIES[1], ""), (FAMILIES[0], ANOTHER)] {
        let bed = door(&format!(
            "sequence = \"7000,8000,9000\"\nstrict = false{other}"
        ));
        let other_order = knocks(between, &[7000, 9000, 8000, 9000]);
        assert_eq!(opened_by(&bed, &other_order), 0);
        let with_others = knocks(between, &[7000, 7500, 8000, 1, WEB, 9000]);
        assert_eq!(opened_by(&bed, &with_others), 1);
        assert!(is_open(&bed, between.1));
        let scan: Vec<u16> = (6990..=9010).collect();
        assert_eq!(opened_by(&bed, &knocks(between, &scan)), 2);
        if other.is_empty() {
            let received = bed.spad.verdict_count("knock");
            assert_eq!(received, 4 + 2 + 2, "other ports are not heard");
        }
    }
}

#[test]
fn segments_without_the_flags_asked_for_are_neither_knocks_nor_wrong_ones() {
    let (syn, psh, urg) = (TcpFlags::SYN, TcpFlags::PSH, TcpFlags::URG);
    for (between, other) in [(FAMILIES[0], ""), (FAMILIES[1], ""), (FAMILIES[0], ANOTHER)] {
        let with = |flags: &str| {
            let sequence = "sequence = \"7000,8000,9000\"";
            door(&format!("{sequence}\ntcp_flags = {flags}{other}"))
        };
        let bed = with("[\"syn\", \"!ack\", \"!psh\"]");
        let knock = |port, flags| segment(between, port, flags);
        let pushed = [
            knock(7000, syn),
            knock(8000, syn | urg),
            knock(1234, syn | psh),
            knock(1234, syn | TcpFlags::ACK),
            knock(1234, psh),
            knock(9000, syn | psh),
        ];
        assert_eq!(opened_by(&bed, &pushed), 0, "a flag that it must not have");
        assert_eq!(opened_by(&bed, &[knock(9000, syn)]), 1);

        let bed = with("[\"syn\", \"urg\"]");
        let bare = knocks(between, &[7000, 8000, 9000]);
        assert_eq!(opened_by(&bed, &bare), 0, "a flag that it must have");
        let urgent = [7000, 8000, 9000].map(|port| knock(port, syn | urg));
        assert_eq!(opened_by(&bed, &urgent), 1);
    }
}

#[test]
fn datagrams_and_segments_are_different_knocks_and_a_datagrams_length_does_not_matter() {
    for between in FAMILIES {
        let bed = door("sequence = \"7000,7000:udp,9000\"");
        let tcp = |port| segment(between, port, TcpFlags::SYN);
        let udp = |port, length| frame::datagram(endpoints(between, port), &vec![0; length]);
        let wrong = [tcp(7000), udp(9000, 1), udp(7000, 1), tcp(9000)];
        assert_eq!(opened_by(&bed, &wrong), 0, "a datagram at a segment's port");
        let wrong = [tcp(7000), tcp(7000), tcp(9000)];
        assert_eq!(opened_by(&bed, &wrong), 0, "a segment at a datagram's port");
        for (count, length) in (1..).zip([0, 1, 200, 1000]) {
            let right = [tcp(7000), udp(7000, length), tcp(9000)];
            assert_eq!(opened_by(&bed, &right), count, "{length} bytes");
        }
    }
}

#[test]
fn an_ipv6_client_opens_for_the_address_that_it_knocks_from_alone() {
    let temporary = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0xa1b2, 0xc3d4, 0xe5f6, 0x0718);
    let bed = door("sequence = \"7000,8000,9000\"");
    let address = format!("{temporary}/64");
    let add = ["addr", "add", &address, "dev", LINK, "nodad"];
    let _ = bed.lab.client.run_ok("ip", &add);
    let (first, second): (IpAddr, IpAddr) = (CLIENT6.into(), temporary.into());
    let server = SERVER6.into();
    // It changes in the midst: an attempt of each, and none is whole.
    let mut frames = knocks((first, server), &[7000, 8000]);
    frames.extend(knocks((second, server), &[9000]));
    assert_eq!(opened_by(&bed, &frames), 0);
    assert_eq!(
        opened_by(&bed, &knocks((second, server), &[7000, 8000, 9000])),
        1
    );
    assert!(is_open_from(&bed, second, server));
    assert!(!is_open_from(&bed, first, server));
}

#[test]
fn a_revoke_of_what_a_door_opened_leaves_the_session_and_a_cut_ends_it() {
    for between in FAMILIES {
        let bed = door("sequence = \"7000,8000,9000\"");
        let server = between.1;
        assert_eq!(opened_by(&bed, &knocks(between, &[7000, 8000, 9000])), 1);
        let mut session = reach::connect(&bed.lab.client, server, WEB);
        let output = bed.spad.cli(&["revoke", "side"]).ok().stdout;
        assert!(output.contains("1 grant closed"), "{output}");
        assert!(!is_open(&bed, server), "for a new connection");
        assert!(reach::echoes(&mut session), "the session lives");
        // The try above was a wrong knock, so from the beginning.
        assert_eq!(opened_by(&bed, &knocks(between, &[7000, 8000, 9000])), 2);
        let _ = bed.spad.cli(&["revoke", "side", "--cut"]).ok();
        assert!(!reach::echoes(&mut session), "cut");
        assert!(!is_open(&bed, server));
    }
}

/// What docs/port-knocking.md says of an address that several share.
#[test]
fn a_scanner_behind_the_same_nat_keeps_a_strict_door_shut_while_it_scans_and_gets_in_after_it() {
    let between = FAMILIES[0];
    let scan = |from: u16| knocks(between, &(from..from + 5).collect::<Vec<_>>());
    let mixed = || {
        let knocks = knocks(between, &[7000, 8000, 9000]).into_iter();
        let pairs = knocks.zip([scan(100), scan(200), scan(300)]);
        let frames = pairs.flat_map(|(knock, scan)| [vec![knock], scan].concat());
        frames.collect::<Vec<_>>()
    };
    let bed = door("sequence = \"7000,8000,9000\"");
    assert_eq!(opened_by(&bed, &mixed()), 0, "while it scans");
    assert_eq!(opened_by(&bed, &knocks(between, &[7000, 8000, 9000])), 1);
    // The firewall sees one address: whoever shares it is let in as well.
    assert!(is_open(&bed, between.1));

    let bed = door("sequence = \"7000,8000,9000\"\nstrict = false");
    assert_eq!(opened_by(&bed, &mixed()), 1, "at a door that is not strict");
}
