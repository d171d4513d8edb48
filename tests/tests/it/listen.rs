//! Where packets are looked for: at the ports that the configuration names, and at no other.

use std::net::SocketAddr;

use spa_tests::attacker;
use spa_tests::identity::Identity;
use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6};
use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;

/// Sends a fresh packet to this port, over IPv4 or IPv6, and waits for its verdict.
fn open_at(bed: &TestBed, v6: bool, port: u16) {
    let packet = bed.laptop.open(&["tcp/8080"]);
    let before = bed.spad.verdict_count("opened");
    let (source, server) = if v6 {
        (CLIENT6.into(), SERVER6.into())
    } else {
        (CLIENT4.into(), SERVER4.into())
    };
    let destination = SocketAddr::new(server, port);
    attacker::send(&bed.lab.client, source, destination, &packet);
    bed.spad.wait_verdict_count("opened", before + 1);
}

/// Sends a packet to this port; shows that none is judged by one that is, sent after it.
fn opens_nothing_at(bed: &TestBed, port: u16, knock: u16) {
    let packet = bed.laptop.open(&["tcp/8080"]);
    let all = |bed: &TestBed| bed.spad.verdicts().values().sum::<u64>();
    let before = all(bed);
    let to = SocketAddr::new(SERVER4.into(), port);
    attacker::send(&bed.lab.client, CLIENT4.into(), to, &packet);
    open_at(bed, false, knock);
    assert_eq!(all(bed), before + 1, "port {port} is looked at");
}

#[test]
fn a_packet_opens_at_each_port_of_a_list_and_of_a_range_and_at_no_other() {
    let bed = TestBed::with(&Settings {
        port: "[62201, 53, \"40000-40010\"]",
        ..Settings::ttl("30s")
    });
    for port in [62_201, 53, 40_000, 40_005, 40_010] {
        for v6 in [false, true] {
            open_at(&bed, v6, port);
        }
    }
    assert_eq!(
        (bed.tcp(WEB), bed.tcp6(WEB)),
        (Reachability::Open, Reachability::Open)
    );
    for port in [54, 52, 39_999, 40_011, 62_202] {
        opens_nothing_at(&bed, port, 53);
    }
    let status = bed.spad.status();
    let port = status.get("port").and_then(serde_json::Value::as_str);
    assert_eq!(port, Some("53, 40000-40010, 62201"));
}

#[test]
fn the_line_for_the_client_and_init_name_the_first_port_of_a_list() {
    let bed = TestBed::stopped(&Settings {
        port: "[4711, 53, \"1-9\"]",
        ..Settings::default()
    });
    let desk = Identity::new(&bed.server_public);
    let add = ["client", "add", "desk", "--allow", "web", "--key"];
    let output = bed
        .spad
        .cli(&[&add[..], &[&desk.public().to_string()]].concat())
        .ok();
    assert!(output.stdout.contains(" --port 4711 "), "{}", output.stdout);
    let output = bed.spad.cli(&["init"]).ok();
    assert!(
        output.stdout.contains("port        4711\n"),
        "{}",
        output.stdout
    );
}

#[test]
fn an_interface_that_is_not_there_yet_is_told_everywhere_and_looked_at_once_it_comes() {
    for threads in [None, Some(2)] {
        let bed = TestBed::with(&Settings {
            interfaces: Some(&["eth0", "wan7"]),
            always_allow: &["lo", "wan7"],
            threads,
            ..Settings::default()
        });
        let check = bed.spad.cli(&["check"]).ok();
        let status = || bed.spad.status().to_string();
        for setting in ["[listen] interfaces", "[guard] always_allow"] {
            let expected = &*format!("`wan7` in {setting} is no interface of this machine");
            assert!(check.stderr.contains(expected), "{}", check.stderr);
            assert!(status().contains(expected), "{}", status());
            assert!(
                bed.spad.output().contains(expected),
                "{}",
                bed.spad.output()
            );
        }
        assert!(check.stderr.contains("help: "), "{}", check.stderr);
        assert!(!status().contains("eth0"), "{}", status());
        open_at(&bed, false, 62_201);
        let _ = bed.lab.server.run_ok(
            "ip",
            &[
                "link", "add", "wan7", "type", "veth", "peer", "name", "wan8",
            ],
        );
        assert!(!status().contains("wan7"), "{}", status());
    }
}

#[test]
fn with_any_a_packet_opens_at_every_port_and_a_hidden_udp_service_stays_hidden() {
    let bed = TestBed::with(&Settings {
        port: "\"any\"",
        ..Settings::default()
    });
    // Before the knock: its packets are judged, and reach nobody.
    assert_eq!(bed.udp(9999), Reachability::Refused);
    for port in [1, 9999, 65_535] {
        open_at(&bed, port == 1, port);
    }
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    assert_eq!(
        bed.udp(9999),
        Reachability::Refused,
        "a packet for web opens web"
    );
    bed.send_counted(&bed.laptop.open(&["udp/9999"]), "opened");
    assert_eq!(bed.udp(9999), Reachability::Open);
}
