//! Who is let in, by the way they came and by the label of their connection; and that
//! nothing of anybody else's is left for what comes behind.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;

use crate::firewall::netns::{
    CLIENT4, CLIENT6, GHOST4, SERVER4, SERVER6, TestNetns, TestWriter, answers, echo, element,
    in_netns, nft, put, receives, sh, start, udp,
};
use crate::firewall::wire::{SYN, Wire, tcp, tcp_flags};

const GUARD: &str = "trial = \"0s\"";
const SYN_ACK: u8 = 0x12;
/// A network behind another link of the server's, and both ends of that link.
const INSIDE4: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 50, 0, 1), Ipv4Addr::new(10, 50, 0, 2)];
const INSIDE6: [&str; 2] = ["fd50::1", "fd50::2"];

/// The other link: the client is at its far end, too.
fn add_inner_host(world: &TestNetns) {
    let ([client4, server4], [client6, server6]) = (INSIDE4, INSIDE6);
    sh(&format!(
        "ip link add s1 type veth peer name c1 netns {0}
        ip addr add {server4}/16 dev s1; ip -6 addr add {server6}/64 dev s1 nodad; ip link set s1 up
        sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.s0.rp_filter=0 net.ipv4.conf.s1.rp_filter=0
        nsenter -t {0} -n sh -c 'ip addr add {client4}/16 dev c1; ip -6 addr add {client6}/64 dev c1 nodad; ip link set c1 up'",
        world.client_process()
    ));
    std::thread::sleep(std::time::Duration::from_millis(100));
}

/// An `nft` for the writer alone, which this shell text stands before.
pub(crate) fn spad_with_nft(world: &TestNetns, before: &str) -> PathBuf {
    let path = world.directory().display().to_string();
    let spad = env!("CARGO_BIN_EXE_spad");
    sh(&format!(
        "cd {path}; cp /usr/sbin/nft real
        cat > fake <<'END'\n#!/bin/sh\nreal={path}/real\n{before}\nexec {path}/real \"$@\"\nEND
        printf '#!/bin/sh\\nexec unshare -m sh -c '\\''mount --bind {path}/fake /usr/sbin/nft; exec {spad} \"$@\"'\\'' sh \"$@\"\\n' > spad
        chmod 755 real fake spad"
    ));
    world.directory().join("spad")
}

in_netns! {
    fn a_network_that_is_always_allowed_is_so_by_the_interface_that_leads_to_it_and_by_no_other() {
        let world = TestNetns::new("\"ssh\", \"dns\"", "trial = \"0s\"\nalways_allow = [\"10.50.0.0/16\", \"fd50::/64\"]");
        add_inner_host(&world);
        echo(22);
        let listener = TcpListener::bind((INSIDE6[1].parse::<IpAddr>().unwrap(), 22)).unwrap();
        let (dns4, dns6) = (udp(Ipv4Addr::UNSPECIFIED, 53), udp(SERVER6, 53));
        nft("table inet theirs { chain pre { type nat hook prerouting priority dstnat; udp dport 5353 redirect to :53; } }");
        let mut wire = Wire::new(&world);
        let forged4 = |port| crate::firewall::wire::udp(INSIDE4[0], SERVER4, (4000, port));
        let forged6 = |port| crate::firewall::wire::udp(INSIDE6[0].parse::<std::net::Ipv6Addr>().unwrap(), SERVER6, (4000, port));
        wire.send(&forged4(53));
        wire.send(&forged6(53));
        assert!(receives(&dns4) && receives(&dns6), "without a guard it arrives");
        let _writer = world.writer();
        assert!(world.connects(INSIDE4[1], 22), "from inside, IPv4");
        assert!(world.connects(INSIDE6[1].parse::<IpAddr>().unwrap(), 22), "from inside, IPv6");
        for port in [53, 5353] {
            wire.send(&forged4(port));
            wire.send(&forged6(port));
            assert!(!receives(&dns4) && !receives(&dns6), "from outside, port {port}");
        }
        // On the ports of a connection of theirs, too.
        let port = world.in_client(|| {
            let own = udp(INSIDE4[0], 4100);
            own.send_to(b"hello", (INSIDE4[1], 53)).unwrap();
            own.local_addr().unwrap().port()
        });
        assert!(receives(&dns4), "their own");
        wire.send(&crate::firewall::wire::udp(INSIDE4[0], INSIDE4[1], (port, 53)));
        assert!(!receives(&dns4));
        drop(listener);
    }

    fn nothing_of_a_stranger_is_left_for_what_takes_packets_behind_the_hosts_filter() {
        let world = TestNetns::new("\"ssh\", \"dns\"", GUARD);
        // Where IPVS takes what is for its virtual services.
        nft("table inet ipvs { chain in { type filter hook input priority 98;
             tcp dport 22 counter; udp dport 53 counter; tcp dport 80 counter; } }");
        let mut writer = world.writer();
        let mut wire = Wire::new(&world);
        for port in [22, 80] {
            wire.exchange(&tcp(GHOST4, SERVER4, (4000, port), SYN));
        }
        wire.exchange(&crate::firewall::wire::udp(GHOST4, SERVER4, (4000, 53)));
        let counted = || {
            let text = sh("nft list chain inet ipvs in");
            text.matches("packets 0 ").count()
        };
        assert_eq!(counted(), 2, "only what is for the open port gets there");
        writer.change(vec![put(element(GHOST4, "tcp/22"), 60_000)]).unwrap();
        wire.exchange(&tcp(GHOST4, SERVER4, (4001, 22), SYN));
        assert_eq!(counted(), 1, "and what was let in");
    }

    fn a_rule_that_takes_connection_tracking_away_shows_no_hidden_port() {
        let world = TestNetns::new("\"ssh\"", GUARD);
        echo(22);
        nft("table inet raw { chain pre { type filter hook prerouting priority raw; tcp dport 22 notrack; } }");
        let mut wire = Wire::new(&world);
        assert_eq!(tcp_flags(&wire.exchange(&tcp(GHOST4, SERVER4, (4000, 22), SYN))), Some(SYN_ACK));
        let _writer = world.writer();
        nft("table inet proxy { chain in { type filter hook input priority filter; tcp dport 22 ct state invalid,untracked synproxy; } }");
        let replies = wire.exchange(&tcp(GHOST4, SERVER4, (4001, 22), SYN));
        assert_eq!(tcp_flags(&replies), Some(0x14), "reset, and not by their proxy: {replies:02x?}");
        // In this host's own name a stranger gets no answer either, though only this host would hear it.
        nft(&format!("table inet own {{ chain out {{ type filter hook output priority 0; ip daddr {SERVER4} tcp flags rst counter; }} }}"));
        wire.send(&tcp(SERVER4, SERVER4, (4002, 22), SYN));
        wire.exchange(&tcp(GHOST4, SERVER4, (4003, 22), SYN));
        let counted = sh("nft list chain inet own out");
        assert!(counted.contains("packets 0 "), "{counted}");
    }

    fn what_this_host_begins_from_a_hidden_port_is_answered_and_what_strangers_begin_is_not() {
        let world = TestNetns::new("\"ssh\", \"dns\"", GUARD);
        let _writer = world.writer();
        let (ours4, ours6) = (udp(SERVER4, 53), udp(SERVER6, 53));
        for (ours, to) in [(&ours4, IpAddr::V4(CLIENT4)), (&ours6, CLIENT6.into())] {
            let asked = world.in_client(|| udp(to, 7000));
            let to_us = ours.local_addr().unwrap();
            asked.send_to(b"unasked", to_us).unwrap();
            assert!(!receives(ours));
            ours.send_to(b"question", (to, 7000)).unwrap();
            asked.send_to(b"answer", to_us).unwrap();
            assert!(receives(ours), "{to}");
            let other = world.in_client(|| udp(to, 7001));
            other.send_to(b"unasked", to_us).unwrap();
            assert!(!receives(ours), "{to}");
        }
        let listener = world.in_client(|| TcpListener::bind((CLIENT4, 7000)).unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
        });
        let mut own = crate::firewall::wire::connected_from(22, (CLIENT4, 7000));
        assert!(answers(&mut own), "TCP from a hidden port");
    }

    fn flows_of_udp_from_before_the_hiding_go_on_and_others_do_not() {
        let world = TestNetns::new("\"dns\"", GUARD);
        // Connection tracking is at work, as beside any firewall.
        nft("table inet theirs { chain in { type filter hook input priority 0; ct state established accept; } }");
        let dns = udp(SERVER4, 53);
        let client = world.in_client(|| udp(CLIENT4, 4000));
        let send = |what: &std::net::UdpSocket| {
            what.send_to(b"hello", (SERVER4, 53)).unwrap();
            receives(&dns)
        };
        assert!(send(&client));
        dns.send_to(b"answer", (CLIENT4, 4000)).unwrap();
        let mut writer = world.writer();
        assert!(send(&client), "it goes on");
        let other = world.in_client(|| udp(CLIENT4, 4001));
        assert!(!send(&other));
        nft("delete table inet spad");
        crate::firewall::table_persistence::wait_restored(&mut writer);
        assert!(send(&client) && !send(&other), "also after the table was away");
    }

    fn without_labels_the_table_does_without_them_and_says_so() {
        let world = TestNetns::new("\"ssh\"", "trial = \"0s\"\nalways_allow = [\"10.9.0.77/32\"]");
        echo(22);
        let spad = spad_with_nft(&world, "text=$(cat)
            case \"$text\" in *'\"label\"'*) echo 'Error: Could not process rule: Operation not supported' >&2; exit 1;; esac
            printf %s \"$text\" | $real \"$@\"; exit $?");
        let mut writer = TestWriter::new(start(&spad, &world.paths).unwrap());
        let rules = sh("nft list table inet spad");
        assert!(!rules.contains("ct label"), "{rules}");
        assert!(!world.connects(SERVER4, 22) && !world.connects(SERVER6, 22));
        writer.change(vec![put(element(CLIENT4, "tcp/22"), 60_000)]).unwrap();
        let mut connection = world.connection(SERVER4, 22).unwrap();
        writer.change(vec![spad_model::Step::Remove { element: element(CLIENT4, "tcp/22") }]).unwrap();
        assert!(answers(&mut connection) && !world.connects(SERVER4, 22));
        let mut wire = Wire::new(&world);
        assert_eq!(tcp_flags(&wire.exchange(&tcp(GHOST4, SERVER4, (4000, 22), SYN))), Some(SYN_ACK), "always allowed");
    }
}
