//! `spad` stands beside an administrator's own firewall and touches nothing of it.

use std::net::UdpSocket;
use std::time::Duration;

use spa_tests::echo::Echo;
use spa_tests::lab::{CLIENT4, SERVER4};
use spa_tests::reach::{self, Reach};
use spa_tests::settings::{CHAT, KNOCK, SHOWN, Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

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
fn hides_and_opens(world: &World) {
    assert_eq!(
        [world.tcp(WEB), world.tcp6(WEB), world.udp(CHAT)],
        [Reach::Refused; 3]
    );
    assert_eq!(
        [world.tcp(SHOWN), world.tcp6(SHOWN)],
        [Reach::Open; 2],
        "what is not hidden"
    );
    world.open(&[]);
    assert_eq!([world.tcp(WEB), world.udp(CHAT)], [Reach::Open; 2]);
}

#[test]
fn beside_a_table_that_drops_all_but_the_services() {
    let world = World::stopped(&Settings::default());
    world.lab.server.nft(ADMIN);
    let admins = |world: &World| {
        let list = ["list", "table", "inet", "admin"];
        world.lab.server.must("nft", &list)
    };
    let before = admins(&world);
    let mut world = world;
    world.spad.start();
    hides_and_opens(&world);
    assert_eq!(admins(&world), before);
    let _ = world.spad.cli(&["firewall", "remove"]);
    assert_eq!(admins(&world), before);
}

#[test]
fn beside_iptables_that_drops_all_but_the_services() {
    let mut world = World::stopped(&Settings::default());
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
            world
                .lab
                .server
                .must(program, &[&["-A", "INPUT"][..], rule].concat());
        }
        world.lab.server.must(program, &["-P", "INPUT", "DROP"]);
    }
    world.spad.start();
    hides_and_opens(&world);
}

#[test]
fn other_ports_and_the_hosts_own_traffic_are_untouched() {
    let world = World::new();
    let _other = Echo::udp(&world.lab.server, 9998);
    assert_eq!(
        [
            world.tcp(SHOWN),
            world.tcp6(SHOWN),
            world.udp(9998),
            world.udp6(9998)
        ],
        [Reach::Open; 4]
    );
    let _far = Echo::udp(&world.lab.client, 9999);
    let _web = Echo::tcp(&world.lab.client, 8080);
    // Outwards the hidden ports are like any other, even from the knock port.
    assert_eq!(
        reach::tcp(&world.lab.server, CLIENT4.into(), WEB),
        Reach::Open
    );
    let heard = world.lab.server.enter(|| {
        let socket =
            UdpSocket::bind((SERVER4, KNOCK)).expect("the knock port is free for the host");
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("a time limit");
        socket.send_to(b"there?", (CLIENT4, CHAT)).expect("a route");
        socket.recv(&mut [0; 16]).is_ok()
    });
    assert!(
        heard,
        "an answer to the host's own datagram from the knock port"
    );
}

#[test]
fn connections_that_stood_before_the_guard_stand_after_it() {
    let mut world = World::stopped(&Settings::default());
    let mut connection = reach::connection(&world.lab.client, SERVER4.into(), WEB);
    world.spad.start();
    assert!(reach::echoes(&mut connection));
    assert_eq!(world.tcp(WEB), Reach::Refused, "a new one");
}

#[test]
fn a_table_that_was_flushed_is_put_back_within_a_second() {
    let world = World::with(&Settings::ttl("30s"));
    world.open(&["udp/9999"]);
    world.lab.server.must("nft", &["flush", "ruleset"]);
    wait::within(Duration::from_millis(1500), "hidden again", || {
        (world.tcp(WEB) != Reach::Open).then_some(())
    });
    assert_eq!(world.tcp(WEB), Reach::Refused);
    world.spad.wait_audited(&[("event", "firewall_restored")]);
    wait::soon("open grants are put back too", || {
        (world.udp(CHAT) == Reach::Open).then_some(())
    });
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn removing_the_firewall_takes_our_table_away_and_nothing_else() {
    let mut world = World::stopped(&Settings::default());
    world
        .lab
        .server
        .nft("table inet theirs {\n  chain empty { }\n}\n");
    world.spad.start();
    world.spad.stop();
    let tables = world.lab.server.must("nft", &["list", "tables"]);
    assert!(
        tables.contains("table inet spad"),
        "the guard stays when the daemon stops: {tables}"
    );
    let _ = world.spad.cli(&["firewall", "remove"]).ok();
    assert_eq!(
        world.lab.server.must("nft", &["list", "tables"]).trim(),
        "table inet theirs"
    );
    assert_eq!(world.tcp(WEB), Reach::Open);
}
