//! A router between client and server that keeps the client's address and gives its TCP
//! connections other source ports.

use std::net::{IpAddr, Ipv4Addr};

use spa_tests::binaries;
use spa_tests::echo::Echo;
use spa_tests::lab::{CLIENT4, LINK, SERVER4};
use spa_tests::namespace::Namespace;
use spa_tests::process::{Finished, run};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{SSH, Settings};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// The machine behind the router.
const HOME: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// The lab's client is the router; `spa` runs behind it.
struct Home {
    bed: TestBed,
    home: Namespace,
    _echo: Echo,
}

impl Home {
    fn new(settings: &Settings, rewrites: bool) -> Self {
        let bed = TestBed::with(settings);
        let home = Namespace::new("home");
        let router = &bed.lab.client;
        let names = [
            "ip",
            "link",
            "add",
            "home",
            "netns",
            router.name(),
            "type",
            "veth",
        ];
        let peer = ["peer", "name", LINK, "netns", home.name()];
        let mut link = std::process::Command::new("ip");
        let _ = run(link.args(&names[1..]).args(peer)).ok();
        router.run_ok("ip", &["addr", "add", "203.0.113.1/24", "dev", "home"]);
        router.run_ok("ip", &["link", "set", "home", "up"]);
        home.run_ok("ip", &["link", "set", "lo", "up"]);
        home.run_ok("ip", &["addr", "add", "203.0.113.9/24", "dev", LINK]);
        home.run_ok("ip", &["link", "set", LINK, "up"]);
        home.run_ok("ip", &["route", "add", "default", "via", "203.0.113.1"]);
        router.enter(|| {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwarding");
        });
        let via = CLIENT4.to_string();
        let route = ["route", "add", "203.0.113.0/24", "via", &via];
        bed.lab.server.run_ok("ip", &route);
        if rewrites {
            router.nft(&format!(
                "table ip router {{ chain out {{ type nat hook postrouting priority srcnat;
                 oifname \"{LINK}\" ip protocol tcp snat to {HOME}:20000-60000 random; }}; }}"
            ));
        }
        bed.enrol_spa(SERVER4.into());
        let echo = Echo::tcp(&bed.lab.server, SSH);
        Self {
            bed,
            home,
            _echo: echo,
        }
    }

    fn proxy(&self, options: &[&str]) -> Finished {
        let mut command = self.home.command(binaries::spa());
        command.arg("--config").arg(self.bed.spa_directory());
        command.arg("proxy").args(options).args(["gw", "gw", "22"]);
        run(&mut command)
    }

    /// The source ports that grants were for, in the order of the audit, once it has so many;
    /// 0: any.
    #[track_caller]
    fn granted(&self, min_count: usize) -> Vec<u64> {
        wait::eventually("the audit has the grants", || {
            let lines = self.bed.spad.audit().into_iter();
            let grants = lines.filter(|line| line["event"] == "grant");
            let ports: Vec<u64> = grants
                .map(|line| line["source_port"].as_u64().unwrap_or(0))
                .collect();
            (ports.len() >= min_count).then_some(ports)
        })
    }
}

#[test]
fn behind_a_router_that_changes_ports_the_second_packet_asks_for_the_address() {
    for answer in ["as_closed", "drop"] {
        let home = Home::new(
            &Settings {
                answer,
                ..Settings::ttl("30s")
            },
            true,
        );
        let server: IpAddr = SERVER4.into();
        assert_ne!(reach::tcp(&home.home, server, SSH), Reachability::Open);
        let done = home.proxy(&["-v"]).ok();
        let granted = home.granted(2);
        assert!(granted[0] != 0 && granted[1..].iter().all(|port| *port == 0));
        let why = "a router on the way changes TCP source ports; then `--for 203.0.113.9`";
        assert!(done.stderr.contains(why), "{answer}: {done:?}");
    }
}

#[test]
fn the_hint_names_a_router_that_changes_ports_where_no_second_packet_was_sent() {
    let home = Home::new(&Settings::ttl("30s"), true);
    let done = home.proxy(&["--timeout", "200ms"]);
    assert_eq!(done.code, Some(4), "{done:?}");
    let why = "does a router on the way change TCP source ports?";
    assert!(done.stderr.contains(why), "{done:?}");
    // What it advises helps, with the first packet.
    let before = home.granted(1).len();
    let _ = home
        .proxy(&["--for", "203.0.113.9", "--timeout", "200ms"])
        .ok();
    assert_eq!(home.granted(before + 1)[before..], [0]);
}

#[test]
fn behind_a_router_that_changes_nothing_one_source_port_is_enough() {
    let home = Home::new(&Settings::ttl("30s"), false);
    let done = home.proxy(&["-v"]).ok();
    assert!(!done.stderr.contains("a router on the way"), "{done:?}");
    assert_ne!(home.granted(1)[0], 0);
    let server: IpAddr = SERVER4.into();
    assert_eq!(reach::tcp(&home.home, server, SSH), Reachability::Refused);
}
