//! A hidden UDP port hears nothing, whatever address or form a datagram comes in:
//! what a shown port beside it hears that way, it does not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::time::Duration;

use pnet::packet::ethernet::EtherTypes;
use pnet::util::MacAddr;
use spa_tests::echo::Echo;
use spa_tests::lab::{CLIENT4, CLIENT6, LINK, Lab, SERVER4, SERVER6};
use spa_tests::settings::{CHAT, EXPOSED, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::{frame, tap, wait};

/// Like the hidden UDP service, but shown: what reaches it would have reached the other.
const UNUSED_PORT: u16 = 9998;

/// Which family the services listen with; a dual one does not hear IPv4 multicast.
const V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Sends the same to the shown port, the hidden one, and the shown one again.
/// When the shown one heard both, the hidden one had its chance.
fn only_exposed_port_receives(listening: IpAddr, send: impl Fn(&Lab, u16)) {
    let mut bed = TestBed::new();
    let listen = |port| Echo::udp_on(&bed.lab.server, (listening, port).into());
    let beside = listen(UNUSED_PORT);
    drop(std::mem::replace(&mut bed.echoes[1], listen(9990)));
    let hidden = Echo::udp_on(&bed.lab.server, (listening, CHAT).into());
    for (port, received) in [(UNUSED_PORT, 1), (CHAT, 1), (UNUSED_PORT, 2)] {
        send(&bed.lab, port);
        wait::eventually("the shown port hears it", || {
            (beside.received() >= received).then_some(())
        });
    }
    assert_eq!(hidden.received(), 0, "the hidden port heard it");
}

fn send_to(lab: &Lab, to: SocketAddr) {
    lab.client.enter(|| {
        let any: IpAddr = if to.is_ipv4() {
            [0; 4].into()
        } else {
            [0u16; 8].into()
        };
        let socket = UdpSocket::bind((any, 0)).expect("a socket");
        socket.set_broadcast(true).expect("broadcasts");
        socket.send_to(b"there?", to).expect("a route");
    });
}

/// The link's index at the client, for addresses that need one.
fn scope(lab: &Lab) -> u32 {
    let text = lab.client.enter(|| {
        pnet::datalink::interfaces()
            .into_iter()
            .find(|found| found.name == LINK)
            .map(|found| found.index)
    });
    text.expect("the link")
}

#[test]
fn hidden_udp_is_not_reached_by_broadcast() {
    only_exposed_port_receives(V4, |lab, port| {
        send_to(lab, (Ipv4Addr::new(192, 0, 2, 255), port).into())
    });
}

#[test]
fn hidden_udp_is_not_reached_by_the_limited_broadcast() {
    only_exposed_port_receives(V4, |lab, to_port| {
        let endpoints = frame::Endpoints::new((CLIENT4, 40_000), (Ipv4Addr::BROADCAST, to_port));
        let datagram = frame::udp(endpoints, b"there?");
        let packet = frame::ipv4(CLIENT4, Ipv4Addr::BROADCAST, 17, &datagram, 0, false);
        tap::inject(
            &lab.client,
            &[frame::ethernet_to(
                MacAddr::broadcast(),
                EtherTypes::Ipv4,
                &packet,
            )],
        );
    });
}

#[test]
fn hidden_udp_is_not_reached_by_multicast() {
    only_exposed_port_receives(V4, |lab, to_port| {
        let group = Ipv4Addr::new(224, 0, 0, 1);
        let endpoints = frame::Endpoints::new((CLIENT4, 40_000), (group, to_port));
        let packet = frame::ipv4(
            CLIENT4,
            group,
            17,
            &frame::udp(endpoints, b"there?"),
            0,
            false,
        );
        let card = MacAddr(1, 0, 0x5e, 0, 0, 1);
        tap::inject(
            &lab.client,
            &[frame::ethernet_to(card, EtherTypes::Ipv4, &packet)],
        );
    });
}

#[test]
fn hidden_udp_is_not_reached_by_multicast_over_ipv6() {
    only_exposed_port_receives(V6, |lab, port| {
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        send_to(lab, SocketAddrV6::new(group, port, 0, scope(lab)).into());
    });
}

#[test]
fn hidden_udp_is_not_reached_by_the_subnets_anycast_address() {
    only_exposed_port_receives(V6, |lab, port| {
        // Only a router has that address.
        lab.server.enter(|| {
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("forwarding")
        });
        send_to(
            lab,
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), port).into(),
        );
    });
}

#[test]
fn hidden_ports_are_not_reached_by_the_link_local_address() {
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5eff, 0xfe00, 0x5301);
    let to = |lab: &Lab, port| SocketAddrV6::new(own, port, 0, scope(lab)).into();
    only_exposed_port_receives(V6, |lab, port| send_to(lab, to(lab, port)));
    let bed = TestBed::new();
    let connect = |port| {
        let to: SocketAddr = to(&bed.lab, port);
        let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(400));
        bed.lab.client.enter(connect).is_ok()
    };
    assert!(connect(EXPOSED), "the address itself works");
    assert!(!connect(WEB));
}

#[test]
fn hidden_udp_is_not_reached_behind_extension_headers() {
    // Hop-by-hop options, destination options, an empty routing header, and all of them.
    let routing = |next: u8, rest: &[u8]| [&[next, 0, 0, 0, 0, 0, 0, 0][..], rest].concat();
    for kind in 0..4 {
        only_exposed_port_receives(V6, |lab, to_port| {
            let endpoints = frame::Endpoints::new((CLIENT6, 40_000), (SERVER6, to_port));
            let udp = frame::udp(endpoints, b"there?");
            let (next, payload) = match kind {
                0 => (0, frame::padding_header(17, &udp)),
                1 => (60, frame::padding_header(17, &udp)),
                2 => (43, routing(17, &udp)),
                _ => (
                    0,
                    frame::padding_header(60, &frame::padding_header(17, &udp)),
                ),
            };
            tap::inject(
                &lab.client,
                &[frame::ethernet(
                    EtherTypes::Ipv6,
                    &frame::ipv6(CLIENT6, SERVER6, next, &payload),
                )],
            );
        });
    }
}

#[test]
fn hidden_udp_is_not_reached_in_fragments() {
    only_exposed_port_receives(V4, |lab, to_port| {
        let endpoints = frame::Endpoints::new((CLIENT4, 40_000), (SERVER4, to_port));
        let datagram = frame::udp(endpoints, &[7; 40]);
        let (first, rest) = datagram.split_at(8);
        let parts = [
            frame::ipv4(CLIENT4, SERVER4, 17, first, 0, true),
            frame::ipv4(CLIENT4, SERVER4, 17, rest, 1, false),
        ];
        tap::inject(
            &lab.client,
            &parts.map(|part| frame::ethernet(EtherTypes::Ipv4, &part)),
        );
    });
}

#[test]
fn hidden_udp_is_not_reached_in_fragments_over_ipv6() {
    only_exposed_port_receives(V6, |lab, to_port| {
        let endpoints = frame::Endpoints::new((CLIENT6, 40_000), (SERVER6, to_port));
        let datagram = frame::udp(endpoints, &[7; 40]);
        let (first, rest) = datagram.split_at(8);
        let parts = [
            frame::fragment_header(17, 0, true, first),
            frame::fragment_header(17, 1, false, rest),
        ];
        let frames = parts.map(|part| {
            frame::ethernet(EtherTypes::Ipv6, &frame::ipv6(CLIENT6, SERVER6, 44, &part))
        });
        tap::inject(&lab.client, &frames);
    });
}
