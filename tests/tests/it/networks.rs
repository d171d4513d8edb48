//! A client whose file says so is granted the network around its address: it knocks from
//! one address of it and connects from another, and the neighbour network stays out.

use std::net::IpAddr;

use spa_tests::attacker;
use spa_tests::lab::{LINK, SERVER4, SERVER6};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{CHAT, SPA_PORT, Settings};
use spa_tests::test_bed::TestBed;

/// A world in which the client's machine has these addresses besides, with a way back.
fn test_bed(addresses: &[&str], route: &str) -> TestBed {
    let bed = TestBed::with(&Settings::ttl("30s"));
    for address in addresses {
        let nodad: &[&str] = if address.contains(':') {
            &["nodad"]
        } else {
            &[]
        };
        let add = [&["addr", "add", address, "dev", LINK][..], nodad].concat();
        let _ = bed.lab.client.run_ok("ip", &add);
    }
    let _ = bed
        .lab
        .server
        .run_ok("ip", &["route", "add", route, "dev", LINK]);
    bed
}

/// What somebody with this address sees at the hidden UDP service.
fn chat(bed: &TestBed, from: &str, to: IpAddr) -> Reachability {
    let from = from.parse().expect("an address");
    let client = &bed.lab.client;
    client.enter(|| reach::udp_from(from, to, CHAT))
}

#[track_caller]
fn send_packet(bed: &TestBed, packet: &[u8], from: &str, to: IpAddr) {
    let from = from.parse().expect("an address");
    attacker::send(&bed.lab.client, from, (to, SPA_PORT).into(), packet);
    bed.spad.wait_verdict_count("opened", 1);
}

#[track_caller]
fn is_for_the_network(bed: &TestBed, network: &str) {
    let shown = bed.spad.cli(&["grants"]).ok().stdout;
    assert!(shown.contains(&format!(" {network} ")), "{shown}");
    bed.spad
        .wait_audited(&[("event", "grant"), ("granted_to", network)]);
}

#[test]
fn a_knock_from_one_address_of_a_64_lets_the_others_in_and_not_the_neighbour_64() {
    let addresses = [
        "2001:db8:7:1::7/48",
        "2001:db8:7:1:5::9/48",
        "2001:db8:7:2::7/48",
    ];
    let bed = test_bed(&addresses, "2001:db8:7::/48");
    let phone = bed.new_client("phone", "chat", "ipv6_prefix = 64");
    let [knocks, connects, neighbour] = ["2001:db8:7:1::7", "2001:db8:7:1:5::9", "2001:db8:7:2::7"];
    assert_eq!(chat(&bed, connects, SERVER6.into()), Reachability::Refused);
    send_packet(&bed, &phone.open(&[]), knocks, SERVER6.into());
    assert_eq!(chat(&bed, connects, SERVER6.into()), Reachability::Open);
    assert_eq!(chat(&bed, knocks, SERVER6.into()), Reachability::Open);
    assert_eq!(chat(&bed, neighbour, SERVER6.into()), Reachability::Refused);
    is_for_the_network(&bed, "2001:db8:7:1::/64");
}

#[test]
fn a_knock_from_one_address_of_a_24_lets_the_others_in_and_not_the_neighbour_24() {
    let bed = test_bed(
        &["198.51.100.7/23", "198.51.100.9/23", "198.51.101.7/23"],
        "198.51.100.0/23",
    );
    let phone = bed.new_client("phone", "chat", "ipv4_prefix = 24");
    assert_eq!(
        chat(&bed, "198.51.100.9", SERVER4.into()),
        Reachability::Refused
    );
    send_packet(&bed, &phone.open(&[]), "198.51.100.7", SERVER4.into());
    assert_eq!(
        chat(&bed, "198.51.100.9", SERVER4.into()),
        Reachability::Open
    );
    assert_eq!(
        chat(&bed, "198.51.101.7", SERVER4.into()),
        Reachability::Refused
    );
    is_for_the_network(&bed, "198.51.100.0/24");
}

#[test]
fn after_a_restart_a_network_is_still_its_clients_and_is_closed_with_it() {
    let addresses = ["2001:db8:7:1::7/48", "2001:db8:7:1:5::9/48"];
    let mut bed = test_bed(&addresses, "2001:db8:7::/48");
    let phone = bed.new_client("phone", "chat", "ipv6_prefix = 64");
    send_packet(&bed, &phone.open(&[]), "2001:db8:7:1::7", SERVER6.into());
    bed.spad.kill();
    bed.spad.start();
    is_for_the_network(&bed, "2001:db8:7:1::/64");
    assert_eq!(
        chat(&bed, "2001:db8:7:1:5::9", SERVER6.into()),
        Reachability::Open
    );
    let _ = bed.spad.cli(&["client", "disable", "phone"]).ok();
    let listed = bed
        .lab
        .server
        .run_ok("nft", &["list", "set", "inet", "spad", "grants_net6"]);
    assert!(!listed.contains("2001:db8"), "{listed}");
}
