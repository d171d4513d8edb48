//! Who reaches a hidden port without a grant: nobody, whichever way he tries.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

use spad_model::Step;

use crate::firewall::netns::{
    CLIENT4, CLIENT6, GHOST4, GHOST6, SERVER4, SERVER6, TestNetns, answers, echo, element,
    in_netns, nft, put, receives, sh, udp,
};
use crate::firewall::wire::{SYN, Wire, datagram, packet4, packet6, segment, tcp, tcp_flags};

const HIDE: &str = "\"ssh\", \"dns\"";
const GUARD: &str = "trial = \"0s\"";
const SYN_ACK: u8 = 0x12;

in_netns! {
    fn strangers_reach_hidden_ports_over_neither_family_and_other_ports_as_ever() {
        let world = TestNetns::new(HIDE, GUARD);
        for port in [22, 80] {
            echo(port);
        }
        let (dns4, dns6) = (udp(SERVER4, 53), udp(SERVER6, 53));
        let (other4, other6) = (udp(SERVER4, 54), udp(SERVER6, 54));
        assert!(world.connects(SERVER4, 22) && world.connects(SERVER6, 22));
        assert!(world.datagram_arrives(&dns4, SERVER4, 53) && world.datagram_arrives(&dns6, SERVER6, 53));
        let _writer = world.writer();
        assert!(!world.connects(SERVER4, 22) && !world.connects(SERVER6, 22));
        assert!(!world.datagram_arrives(&dns4, SERVER4, 53) && !world.datagram_arrives(&dns6, SERVER6, 53));
        assert!(world.connects(SERVER4, 80) && world.connects(SERVER6, 80));
        assert!(world.datagram_arrives(&other4, SERVER4, 54) && world.datagram_arrives(&other6, SERVER6, 54));
    }

    fn a_grant_opens_one_port_to_one_address_and_to_no_other() {
        let world = TestNetns::new("\"ssh\", \"web\", \"dns\"", GUARD);
        for port in [22, 80] {
            echo(port);
        }
        sh("ip addr add 10.9.0.3/24 dev s0");
        let dns = udp(Ipv4Addr::UNSPECIFIED, 53);
        let mut writer = world.writer();
        let steps = ["tcp/22", "udp/53"].map(|port| put(element(CLIENT4, port), 60_000));
        writer.change(steps.to_vec()).unwrap();
        assert!(world.connects(SERVER4, 22), "the grant");
        assert!(world.connects(Ipv4Addr::new(10, 9, 0, 3), 22), "at each address of the host");
        assert!(world.datagram_arrives(&dns, SERVER4, 53), "the grant for UDP");
        assert!(!world.connects(SERVER4, 80), "another port");
        assert!(!world.connects(SERVER6, 22), "the other family");
        let mut wire = Wire::new(&world);
        assert_ne!(tcp_flags(&wire.exchange(&tcp(GHOST4, SERVER4, (4000, 22), SYN))), Some(SYN_ACK));
        writer.change(vec![put(element(CLIENT6, "tcp/22"), 60_000)]).unwrap();
        assert!(world.connects(SERVER6, 22));
        assert_ne!(tcp_flags(&wire.exchange(&tcp(GHOST6, SERVER6, (4000, 22), SYN))), Some(SYN_ACK));
    }

    fn broadcast_multicast_and_anycast_reach_no_hidden_udp_port_and_are_not_answered() {
        let world = TestNetns::new(HIDE, GUARD);
        // A router answers to its subnets' own address, RFC 4291 section 2.6.1.
        sh("sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_echo_ignore_broadcasts=0");
        let group4 = Ipv4Addr::new(239, 1, 2, 3);
        let group6: Ipv6Addr = "ff02::4242".parse().unwrap();
        let anycast: Ipv6Addr = "fd09::".parse().unwrap();
        let services = [53, 54].map(|port| {
            let (four, six) = (udp(Ipv4Addr::UNSPECIFIED, port), udp(Ipv6Addr::UNSPECIFIED, 1000 + port));
            four.join_multicast_v4(&group4, &SERVER4).unwrap();
            drop(six);
            four
        });
        let [hidden, open] = services;
        let mut wire = Wire::new(&world);
        let targets4: [(Ipv4Addr, [u8; 6]); 4] = [
            (Ipv4Addr::BROADCAST, [0xff; 6]),
            (Ipv4Addr::new(10, 9, 0, 255), [0xff; 6]),
            (group4, [1, 0, 0x5e, 1, 2, 3]),
            (Ipv4Addr::new(224, 0, 0, 1), [1, 0, 0x5e, 0, 0, 1]),
        ];
        let send4 = |wire: &mut Wire, (to, station): (Ipv4Addr, [u8; 6]), port| {
            let inner = datagram(CLIENT4.into(), to.into(), (4000, port), b"hello");
            wire.send_to(station, &packet4(CLIENT4, to, 17, &inner, 0));
        };
        for target in targets4 {
            send4(&mut wire, target, 54);
            // 224.0.0.1 was not joined by the socket, which gets it all the same on Linux.
            assert!(receives(&open), "without a guard {target:?} arrives, or this test shows nothing");
            send4(&mut wire, target, 53);
            assert!(receives(&hidden), "before the guard stands {target:?} arrives");
        }
        let _writer = world.writer();
        wire.receive(std::time::Duration::from_millis(200));
        for target in targets4 {
            send4(&mut wire, target, 53);
            assert!(!receives(&hidden), "{target:?}");
            send4(&mut wire, target, 54);
            assert!(receives(&open), "{target:?}");
        }
        drop((hidden, open));
        let (hidden, open) = (udp(Ipv6Addr::UNSPECIFIED, 53), udp(Ipv6Addr::UNSPECIFIED, 54));
        let index = std::fs::read_to_string("/proc/net/if_inet6").unwrap();
        let index = index.lines().find(|line| line.ends_with("s0")).unwrap();
        let index = u32::from_str_radix(index.split_ascii_whitespace().nth(1).unwrap(), 16).unwrap();
        for service in [&hidden, &open] {
            service.join_multicast_v6(&group6, index).unwrap();
        }
        let targets6 = [
            (group6, [0x33, 0x33, 0, 0, 0x42, 0x42]),
            ("ff02::1".parse().unwrap(), [0x33, 0x33, 0, 0, 0, 1]),
            (anycast, [2, 0, 0, 0, 0, 2]),
        ];
        for (to, station) in targets6 {
            for (port, service, should) in [(54, &open, true), (53, &hidden, false)] {
                let inner = datagram(CLIENT6.into(), to.into(), (4000, port), b"hello");
                wire.send_to(station, &packet6(CLIENT6, to, 17, &inner));
                assert_eq!(receives(service), should, "{to} port {port}");
            }
        }
        drop(hidden);
        let replies = wire.receive(std::time::Duration::from_millis(300));
        // The anycast address is the host's own, and a closed port answers there.
        let multicast_replies = replies.iter().filter(|packet| {
            let membership = packet[0] >> 4 == 4 && packet[9] == 2;
            let to_anycast = packet.get(72..88) == Some(anycast.octets().as_slice());
            !membership && !to_anycast
        });
        assert_eq!(multicast_replies.count(), 0, "{replies:02x?}");
    }

    fn a_redirect_of_another_port_leads_to_no_hidden_port() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        nft("table ip nat { chain pre { type nat hook prerouting priority dstnat;
             tcp dport 2222 redirect to :22; } }");
        assert!(world.connects(SERVER4, 2222), "the redirect works");
        let mut writer = world.writer();
        assert!(!world.connects(SERVER4, 2222));
        writer.change(vec![put(element(CLIENT4, "tcp/22"), 60_000)]).unwrap();
        assert!(world.connects(SERVER4, 2222), "with a grant it works as before");
    }

    fn a_published_port_that_leads_elsewhere_is_guarded_before_it_is_moved() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(80);
        nft("table ip nat { chain pre { type nat hook prerouting priority dstnat;
             tcp dport 22 redirect to :80; } }");
        assert!(world.connects(SERVER4, 22));
        let _writer = world.writer();
        assert!(!world.connects(SERVER4, 22));
    }

    fn a_rule_that_rewrites_ports_without_nat_leads_to_no_hidden_port() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        nft("table inet theirs { chain pre { type filter hook prerouting priority mangle; tcp dport 2222 tcp dport set 22; }
             chain in { type filter hook input priority mangle; tcp dport 2223 tcp dport set 22; } }");
        let mut wire = Wire::new(&world);
        for (source, port) in [(4000, 2222), (4001, 2223)] {
            let heard = wire.exchange(&tcp(GHOST4, SERVER4, (source, port), SYN));
            assert_eq!(tcp_flags(&heard), Some(SYN_ACK), "the rule for {port} works");
        }
        let _writer = world.writer();
        for (source, port) in [(4002, 2222), (4003, 2223)] {
            let heard = wire.exchange(&tcp(GHOST4, SERVER4, (source, port), SYN));
            assert_ne!(tcp_flags(&heard), Some(SYN_ACK), "{port}");
        }
    }

    fn an_address_that_only_another_routing_table_knows_as_local_leads_to_no_hidden_port() {
        let world = TestNetns::new(HIDE, GUARD);
        let [hidden, open] = [53, 54].map(|port| udp(Ipv4Addr::UNSPECIFIED, port));
        // As the addresses behind a VRF, or those of a transparent proxy, are.
        sh("ip route add local 10.55.0.0/24 dev lo table 100; ip rule add to 10.55.0.0/24 lookup 100");
        let other = Ipv4Addr::new(10, 55, 0, 1);
        let mut wire = Wire::new(&world);
        let _writer = world.writer();
        wire.send(&crate::firewall::wire::udp(GHOST4, other, (4000, 54)));
        assert!(receives(&open), "the address works, or this test shows nothing");
        wire.send(&crate::firewall::wire::udp(GHOST4, other, (4000, 53)));
        assert!(!receives(&hidden));
    }

    fn on_the_ports_of_a_connection_that_outlived_its_grant_no_other_begins() {
        let world = TestNetns::new(HIDE, "trial = \"0s\"\nanswer = \"drop\"");
        echo(22);
        let mut writer = world.writer();
        writer.change(vec![put(element(CLIENT4, "tcp/22"), 60_000)]).unwrap();
        let mut connection = world.connection(SERVER4, 22).unwrap();
        check_no_new_connection(&world, &mut connection, || {
            writer.change(vec![Step::Remove { element: element(CLIENT4, "tcp/22") }]).unwrap();
        });
    }

    fn on_the_ports_of_a_connection_older_than_the_hiding_no_other_begins() {
        let world = TestNetns::new(HIDE, "trial = \"0s\"\nanswer = \"drop\"");
        echo(22);
        let mut connection = world.connection(SERVER4, 22).unwrap();
        let mut writer = None;
        check_no_new_connection(&world, &mut connection, || writer = Some(world.writer()));
        assert!(sh("nft list set inet spad existing4").contains("10.9.0.1"), "it was let in by name");
    }

    fn a_helper_of_connection_tracking_lets_nobody_in_as_related() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        // An FTP service announces the hidden port as its passive port.
        let listener = TcpListener::bind((SERVER4, 21)).unwrap();
        std::thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.write_all(b"220 ready\r\n").unwrap();
                std::thread::sleep(std::time::Duration::from_millis(100));
                stream.write_all(b"227 Entering Passive Mode (10,9,0,2,0,22)\r\n").unwrap();
                connections.push(stream);
            }
        });
        nft("table inet helpers { ct helper ftp { type \"ftp\" protocol tcp; l3proto ip; }
             chain pre { type filter hook prerouting priority -190; tcp dport 21 ct helper set \"ftp\"; }
             chain count { type filter hook prerouting priority -180; tcp dport 22 ct state related counter; } }");
        let _writer = world.writer();
        let control = world.connection(SERVER4, 21).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(400));
        assert!(!world.connects(SERVER4, 22));
        let counted = sh("nft list chain inet helpers count");
        assert!(!counted.contains("packets 0 "), "the helper expected it, or this test shows nothing: {counted}");
        drop(control);
    }

    fn packets_without_ports_pass_the_guard() {
        let world = TestNetns::new(HIDE, "trial = \"0s\"\nanswer = \"drop\"");
        let _writer = world.writer();
        let mut wire = Wire::new(&world);
        let echo_request = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
        let answer = wire.exchange(&packet4(CLIENT4, SERVER4, 1, &echo_request, 0));
        assert!(answer.iter().any(|packet| packet[9] == 1 && packet[20] == 0), "{answer:02x?}");
    }

    fn interfaces_and_networks_that_are_always_allowed_need_no_grant_and_a_missing_one_does_no_harm() {
        let world = TestNetns::new(HIDE, "trial = \"0s\"\nalways_allow = [\"lo\", \"wg7\", \"10.9.0.1/32\"]");
        echo(22);
        let _writer = world.writer();
        assert!(world.connects(SERVER4, 22), "its network");
        assert!(!world.connects(SERVER6, 22), "the other family is none of it");
        let local = std::net::TcpStream::connect((SERVER6, 22));
        assert!(local.is_ok_and(|mut stream| answers(&mut stream)), "the host itself");
    }

    fn extension_headers_and_fragments_lead_to_no_hidden_port() {
        let world = TestNetns::new(HIDE, "trial = \"0s\"\nanswer = \"drop\"");
        for port in [22, 80] {
            echo(port);
        }
        let _writer = world.writer();
        let mut wire = Wire::new(&world);
        for (port, reached) in [(22, false), (80, true)] {
            let inner = |source| segment(GHOST6.into(), SERVER6.into(), (source, port), SYN, 12);
            // Hop-by-hop and destination options, each eight bytes of padding.
            for header in [0, 60] {
                let mut extended = vec![6, 0, 1, 4, 0, 0, 0, 0];
                extended.extend(inner(4000 + u16::from(header)));
                let heard = wire.exchange(&packet6(GHOST6, SERVER6, header, &extended));
                assert_eq!(tcp_flags(&heard) == Some(SYN_ACK), reached, "header {header}, port {port}");
            }
            // A fragment header that splits nothing, and two fragments. The first of IPv6 has the
            // whole TCP header, or the kernel refuses it for any port (RFC 8200 section 4.5).
            let mut atomic = vec![6, 0, 0, 0, 0, 0, 0, 1];
            atomic.extend(inner(4100));
            let heard = wire.exchange(&packet6(GHOST6, SERVER6, 44, &atomic));
            assert_eq!(tcp_flags(&heard) == Some(SYN_ACK), reached, "an atomic fragment, port {port}");
            let inner = inner(4200);
            let mut first = vec![6, 0, 0, 1, 0, 0, 0, 2];
            first.extend(&inner[..24]);
            let mut second = vec![6, 0, 0, 24, 0, 0, 0, 2];
            second.extend(&inner[24..]);
            wire.send(&packet6(GHOST6, SERVER6, 44, &second));
            let heard = wire.exchange(&packet6(GHOST6, SERVER6, 44, &first));
            assert_eq!(tcp_flags(&heard) == Some(SYN_ACK), reached, "IPv6 fragments, port {port}");
            let inner = segment(GHOST4.into(), SERVER4.into(), (4000 + port, port), SYN, 0);
            wire.send(&packet4(GHOST4, SERVER4, 6, &inner[..8], 0x2000));
            let heard = wire.exchange(&packet4(GHOST4, SERVER4, 6, &inner[8..], 1));
            assert_eq!(tcp_flags(&heard) == Some(SYN_ACK), reached, "IPv4 fragments, port {port}");
        }
    }

    fn link_local_addresses_lead_to_no_hidden_port() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(80);
        let link_local: Ipv6Addr = "fe80::ff:fe00:2".parse().unwrap();
        let stranger: Ipv6Addr = "fe80::ff:fe00:1".parse().unwrap();
        let open = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 22)).unwrap();
        let mut wire = Wire::new(&world);
        sh(&format!("ip -6 neigh replace {stranger} lladdr 02:00:00:00:00:01 dev s0"));
        // Until the kernel knows that nobody else has its address.
        crate::firewall::netns::wait_until(|| sh("ip -6 addr show dev s0 tentative").trim().is_empty());
        let packet = tcp(stranger, link_local, (4000, 22), SYN);
        assert_eq!(tcp_flags(&wire.exchange(&packet)), Some(SYN_ACK), "without a guard");
        let _writer = world.writer();
        let packet = tcp(stranger, link_local, (4001, 22), SYN);
        assert_ne!(tcp_flags(&wire.exchange(&packet)), Some(SYN_ACK));
        drop(open);
    }

    fn what_strangers_send_and_are_answered_leaves_no_entry_in_connection_tracking() {
        check_no_conntrack_entry("trial = \"0s\"");
    }

    fn what_strangers_send_and_is_dropped_leaves_no_entry_in_connection_tracking() {
        check_no_conntrack_entry("trial = \"0s\"\nanswer = \"drop\"");
    }

    fn where_strangers_get_nothing_each_knock_port_of_a_list_is_silent_and_no_other_is() {
        let world = TestNetns::new(HIDE, "trial = \"0s\"\nanswer = \"drop\"");
        world.set_spa_port("[7, \"40000-40010\"]");
        let mut wire = Wire::new(&world);
        let _writer = world.writer();
        let silent = |port: &u16| *port == 7 || (40_000..=40_010).contains(port);
        for port in [6, 7, 8, 39_999, 40_000, 40_005, 40_010, 40_011] {
            for (from, to) in [(IpAddr::V4(CLIENT4), IpAddr::V4(SERVER4)), (CLIENT6.into(), SERVER6.into())] {
                let spa_port = crate::firewall::wire::udp(from, to, (4000 + port % 100, port));
                let answers = wire.exchange(&spa_port);
                assert_eq!(answers.is_empty(), silent(&port), "{port} {to}");
            }
        }
    }

    fn the_hosts_own_traffic_from_the_knock_port_keeps_its_answers() {
        let world = TestNetns::new(HIDE, "trial = \"0s\"\nanswer = \"drop\"");
        let _writer = world.writer();
        let own = udp(SERVER4, 62201);
        assert!(!world.datagram_arrives(&own, SERVER4, 62201), "a stranger");
        let answering = world.in_client(|| udp(CLIENT4, 7000));
        own.send_to(b"question", (CLIENT4, 7000)).unwrap();
        let (_, asker) = answering.recv_from(&mut [0; 16]).unwrap();
        answering.send_to(b"answer", asker).unwrap();
        assert!(receives(&own));
    }
}

/// The connection goes on; a first segment on its ports reaches the service before `close` and not after.
fn check_no_new_connection(world: &TestNetns, connection: &mut TcpStream, close: impl FnOnce()) {
    // Else the kernel answers such a segment only twice a second.
    sh("sysctl -qw net.ipv4.tcp_invalid_ratelimit=0");
    let mut wire = Wire::new(world);
    let ports = (connection.local_addr().unwrap().port(), 22);
    let mut reached = || {
        let replies = wire.exchange(&tcp(CLIENT4, SERVER4, ports, SYN));
        tcp_flags(&replies).is_some()
    };
    assert!(
        reached() && reached(),
        "the kernel answers, or this test shows nothing"
    );
    close();
    assert!(!reached());
    assert!(answers(connection), "the connection itself lives on");
}

fn check_no_conntrack_entry(guard: &str) {
    let world = TestNetns::new(HIDE, guard);
    let _listener = TcpListener::bind((SERVER4, 22)).unwrap();
    let mut writer = world.writer();
    let mut wire = Wire::new(&world);
    let count = || {
        let count = sh("cat /proc/sys/net/netfilter/nf_conntrack_count");
        count.trim().parse::<u32>().unwrap()
    };
    let before = count();
    for port in 0..50 {
        wire.send(&tcp(GHOST4, SERVER4, (4000 + port, 22), SYN));
        wire.send(&tcp(GHOST6, SERVER6, (4000 + port, 22), SYN));
        wire.send(&crate::firewall::wire::udp(
            GHOST4,
            SERVER4,
            (4000 + port, 53),
        ));
        // Where closed ports answer, the knock port is none of ours and the kernel answers itself.
        if guard.contains("drop") {
            wire.send(&crate::firewall::wire::udp(
                GHOST4,
                SERVER4,
                (4000 + port, 62201),
            ));
        }
    }
    wire.receive(std::time::Duration::from_millis(100));
    assert_eq!(count(), before);
    writer
        .change(vec![put(element(GHOST4, "tcp/22"), 5000)])
        .unwrap();
    wire.exchange(&tcp(GHOST4, SERVER4, (5000, 22), SYN));
    assert!(
        count() > before,
        "a granted one is tracked, or this test shows nothing"
    );
}
