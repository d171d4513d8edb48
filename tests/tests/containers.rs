//! Ports that a container engine publishes: rules as Docker's beside ours.

use spa_tests::echo::Echo;
use spa_tests::gateway::{Gateway, INNER, INNER4, OUTER};
use spa_tests::lab::{CLIENT4, SERVER4};
use spa_tests::reach::{self, Reach};
use spa_tests::settings::Settings;
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
fn published(gateway: &Gateway) -> [Reach; 2] {
    let client = &gateway.world.lab.client;
    [OUTER, 9022].map(|port| reach::tcp(client, SERVER4.into(), port))
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
        let proxy = Echo::tcp(&gateway.world.lab.server, OUTER);
        gateway.world.lab.server.nft(DOCKER);
        assert_eq!(published(&gateway), [Reach::Open; 2]);
        let heard = |count| {
            wait::soon("the container hears", || {
                (container.heard() == count).then_some(())
            });
            assert_eq!(proxy.heard(), 0, "rules lead past it");
        };
        heard(2);
        gateway.world.spad.start();
        let closed = if answer == "drop" {
            Reach::Silent
        } else {
            Reach::Refused
        };
        assert_eq!(
            published(&gateway),
            [closed, Reach::Open],
            "the other is shown"
        );
        heard(3);
        gateway.open();
        assert_eq!(published(&gateway), [Reach::Open; 2]);
        // What was let in, and is cut, does not go on past the label of its connection.
        let client = &gateway.world.lab.client;
        let mut connection = reach::connection(client, SERVER4.into(), OUTER);
        assert!(reach::echoes(&mut connection));
        let from = CLIENT4.to_string();
        let revoke = ["revoke", "nas", "--from", &from, "--cut"];
        let said = gateway.world.spad.cli(&revoke).ok().stdout;
        assert!(said.contains("cut"), "{said}");
        assert!(!reach::echoes(&mut connection));
        assert_eq!(published(&gateway), [closed, Reach::Open]);
        // By its own address it is as reachable as its engine's rules leave it.
        assert_eq!(reach::tcp(client, INNER4.into(), INNER), Reach::Open);
    }
}
