//! `spad` stands beside an administrator's own firewall and touches nothing of it.

use std::net::UdpSocket;
use std::time::Duration;

use spa_tests::echo::Echo;
use spa_tests::lab::{CLIENT4, SERVER4};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{CHAT, EXPOSED, SPA_PORT, Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// What an administrator would have: all dropped but the services.
const ADMIN: &str = "table inet admin {
  chain input { type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname lo accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    tcp dport { 22, 8080, 8081 } accept
    udp dport 9999 accept
  }
}
";

/// Hidden ports are closed, what is not hidden is open, and a knock opens all.
#[track_caller]
fn hides_and_opens(bed: &TestBed) {
    assert_eq!(
        [bed.tcp(WEB), bed.tcp6(WEB), bed.udp(CHAT)],
        [Reachability::Refused; 3]
    );
    assert_eq!(
        [bed.tcp(EXPOSED), bed.tcp6(EXPOSED)],
        [Reachability::Open; 2],
        "what is not hidden"
    );
    bed.open(&[]);
    assert_eq!([bed.tcp(WEB), bed.udp(CHAT)], [Reachability::Open; 2]);
}

#[test]
fn beside_a_table_that_drops_all_but_the_services() {
    let bed = TestBed::stopped(&Settings::default());
    bed.lab.server.nft(ADMIN);
    let admins = |bed: &TestBed| {
        let list = ["list", "table", "inet", "admin"];
        bed.lab.server.run_ok("nft", &list)
    };
    let before = admins(&bed);
    let mut bed = bed;
    bed.spad.start();
    hides_and_opens(&bed);
    assert_eq!(admins(&bed), before);
    let _ = bed.spad.cli(&["firewall", "remove"]);
    assert_eq!(admins(&bed), before);
}

#[test]
fn beside_iptables_that_drops_all_but_the_services() {
    let mut bed = TestBed::stopped(&Settings::default());
    for (program, more) in [
        ("iptables", &[][..]),
        ("ip6tables", &["-p", "icmpv6", "-j", "ACCEPT"][..]),
    ] {
        let rules: &[&[&str]] = &[
            &[
                "-m",
                "conntrack",
                "--ctstate",
                "ESTABLISHED,RELATED",
                "-j",
                "ACCEPT",
            ],
            &["-i", "lo", "-j", "ACCEPT"],
            &["-p", "tcp", "--dport", "8080:8081", "-j", "ACCEPT"],
            &["-p", "udp", "--dport", "9999", "-j", "ACCEPT"],
            more,
        ];
        for rule in rules.iter().filter(|rule| !rule.is_empty()) {
            bed.lab
                .server
                .run_ok(program, &[&["-A", "INPUT"][..], rule].concat());
        }
        bed.lab.server.run_ok(program, &["-P", "INPUT", "DROP"]);
    }
    bed.spad.start();
    hides_and_opens(&bed);
}

#[test]
fn other_ports_and_the_hosts_own_traffic_are_untouched() {
    let bed = TestBed::new();
    let _other = Echo::udp(&bed.lab.server, 9998);
    assert_eq!(
        [
            bed.tcp(EXPOSED),
            bed.tcp6(EXPOSED),
            bed.udp(9998),
            bed.udp6(9998)
        ],
        [Reachability::Open; 4]
    );
    let _far = Echo::udp(&bed.lab.client, 9999);
    let _web = Echo::tcp(&bed.lab.client, 8080);
    // Outwards the hidden ports are like any other, even from the knock port.
    assert_eq!(
        reach::tcp(&bed.lab.server, CLIENT4.into(), WEB),
        Reachability::Open
    );
    let received = bed.lab.server.enter(|| {
        let socket =
            UdpSocket::bind((SERVER4, SPA_PORT)).expect("the knock port is free for the host");
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("a time limit");
        socket.send_to(b"there?", (CLIENT4, CHAT)).expect("a route");
        socket.recv(&mut [0; 16]).is_ok()
    });
    assert!(
        received,
        "an answer to the host's own datagram from the knock port"
    );
}

#[test]
fn connections_that_stood_before_the_guard_stand_after_it() {
    let mut bed = TestBed::stopped(&Settings::default());
    let mut connection = reach::connect(&bed.lab.client, SERVER4.into(), WEB);
    bed.spad.start();
    assert!(reach::echoes(&mut connection));
    assert_eq!(bed.tcp(WEB), Reachability::Refused, "a new one");
}

#[test]
fn a_table_that_was_flushed_is_put_back_within_a_second() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    bed.open(&["udp/9999"]);
    bed.lab.server.run_ok("nft", &["flush", "ruleset"]);
    wait::within(Duration::from_millis(1500), "hidden again", || {
        (bed.tcp(WEB) != Reachability::Open).then_some(())
    });
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    bed.spad.wait_audited(&[("event", "firewall_restored")]);
    wait::eventually("open grants are put back too", || {
        (bed.udp(CHAT) == Reachability::Open).then_some(())
    });
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn removing_the_firewall_takes_our_table_away_and_nothing_else() {
    let mut bed = TestBed::stopped(&Settings::default());
    bed.lab
        .server
        .nft("table inet theirs {\n  chain empty { }\n}\n");
    bed.spad.start();
    bed.spad.stop();
    let tables = bed.lab.server.run_ok("nft", &["list", "tables"]);
    assert!(
        tables.contains("table inet spad"),
        "the guard stays when the daemon stops: {tables}"
    );
    let _ = bed.spad.cli(&["firewall", "remove"]).ok();
    assert_eq!(
        bed.lab.server.run_ok("nft", &["list", "tables"]).trim(),
        "table inet theirs"
    );
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}
