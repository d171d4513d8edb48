//! Ports that a container engine publishes: rules as Docker's beside ours.

use std::net::Ipv4Addr;

use pnet::packet::ethernet::EtherTypes;
use spa_tests::echo::Echo;
use spa_tests::frame::{self, Endpoints};
use spa_tests::gateway::{Gateway, INNER, INNER4, OUTER};
use spa_tests::lab::{CLIENT4, SERVER4};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::Settings;
use spa_tests::tap;
use spa_tests::wait;

/// What `docker run -p 2222:7022 -p 9022:7022` makes, as its rules for iptables are shown by nft.
const DOCKER: &str = "table ip nat {
  chain DOCKER {
    iifname \"in0\" return
    iifname != \"in0\" tcp dport { 2222, 9022 } dnat to 10.0.0.5:7022
  }
  chain PREROUTING { type nat hook prerouting priority dstnat; fib daddr type local jump DOCKER; }
  chain OUTPUT { type nat hook output priority -100; ip daddr != 127.0.0.0/8 fib daddr type local jump DOCKER; }
  chain POSTROUTING { type nat hook postrouting priority srcnat; oifname != \"in0\" ip saddr 10.0.0.0/24 masquerade; }
}
table ip filter {
  chain FORWARD { type filter hook forward priority filter; policy drop;
    oifname \"in0\" ct state established,related accept
    iifname != \"in0\" oifname \"in0\" ip daddr 10.0.0.5 tcp dport 7022 accept
    iifname \"in0\" accept
  }
}
";

/// What a stranger or a client sees at the two published ports.
fn published(gateway: &Gateway) -> [Reachability; 2] {
    let client = &gateway.bed.lab.client;
    [OUTER, 9022].map(|port| reach::tcp(client, SERVER4.into(), port))
}

/// Counts first segments that reach the container.
const COUNT: &str =
    "table inet counts { chain in { type filter hook input priority 0; tcp flags syn counter; }; }";

fn counted(gateway: &Gateway) -> u32 {
    let text = gateway
        .inner
        .run_ok("nft", &["list", "table", "inet", "counts"]);
    let counted = text.split("packets ").nth(1);
    let counted = counted.and_then(|rest| rest.split(' ').next()?.parse().ok());
    counted.expect("a counter")
}

/// A first segment from there to this port of the gateway.
fn segment(from: (Ipv4Addr, u16), port: u16) -> Vec<u8> {
    let segment = frame::syn(Endpoints::new(from, (SERVER4, port)));
    let packet = frame::ipv4(from.0, SERVER4, 6, &segment, 0, false);
    frame::ethernet(EtherTypes::Ipv4, &packet)
}

#[test]
fn a_published_port_of_a_container_is_hidden_and_opened_like_any_other() {
    for answer in ["as_closed", "drop"] {
        let settings = Settings {
            hide: &["nas"],
            answer,
            trial: "0s",
            ..Settings::ttl("30s")
        };
        let mut gateway = Gateway::stopped("ports = [\"tcp/2222\"]", &settings, true);
        let container = Echo::tcp(&gateway.inner, INNER);
        // The userland proxy, which listens on the host as well.
        let proxy = Echo::tcp(&gateway.bed.lab.server, OUTER);
        gateway.bed.lab.server.nft(DOCKER);
        assert_eq!(published(&gateway), [Reachability::Open; 2]);
        let received = |count| {
            wait::eventually("the container hears", || {
                (container.received() == count).then_some(())
            });
            assert_eq!(proxy.received(), 0, "rules lead past it");
        };
        received(2);
        gateway.bed.spad.start();
        let closed = if answer == "drop" {
            Reachability::NoAnswer
        } else {
            Reachability::Refused
        };
        assert_eq!(
            published(&gateway),
            [closed, Reachability::Open],
            "the other is shown"
        );
        received(3);
        gateway.open();
        assert_eq!(published(&gateway), [Reachability::Open; 2]);
        // What was let in goes on, but begins nothing anew where it has the connection's label.
        let client = &gateway.bed.lab.client;
        let mut connection = reach::connect(client, SERVER4.into(), OUTER);
        let from = CLIENT4.to_string();
        let revoke = ["revoke", "nas", "--from", &from];
        let _ = gateway.bed.spad.cli(&revoke).ok();
        assert!(reach::echoes(&mut connection));
        gateway.inner.nft(COUNT);
        let port = connection.local_addr().expect("its own end").port();
        // To the shown port it arrives, and last.
        let segments = [OUTER, 9022].map(|to| segment((CLIENT4, port), to));
        tap::inject(client, &segments);
        wait::eventually("one arrives", || (counted(&gateway) > 0).then_some(()));
        assert_eq!(counted(&gateway), 1, "{answer}");
        gateway.inner.nft("delete table inet counts");
        // And what is cut does not go on.
        gateway.open();
        let mut connection = reach::connect(client, SERVER4.into(), OUTER);
        assert!(reach::echoes(&mut connection));
        let output = gateway.bed.spad.cli(&[&revoke[..], &["--cut"]].concat());
        let output = output.ok().stdout;
        assert!(
            output.contains("connection cut") || output.contains("connections cut"),
            "{output}"
        );
        assert!(!reach::echoes(&mut connection));
        assert_eq!(published(&gateway), [closed, Reachability::Open]);
        // By its own address it is as reachable as its engine's rules leave it.
        assert_eq!(reach::tcp(client, INNER4.into(), INNER), Reachability::Open);
    }
}
