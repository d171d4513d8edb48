//! A client whose file says so is granted the network around its address: it knocks from
//! one address of it and connects from another, and the neighbour network stays out.

use std::net::IpAddr;

use spa_tests::attacker;
use spa_tests::lab::{LINK, SERVER4, SERVER6};
use spa_tests::reach::{self, Reach};
use spa_tests::settings::{CHAT, KNOCK, Settings};
use spa_tests::world::World;

/// A world in which the client's machine has these addresses besides, with a way back.
fn world(addresses: &[&str], route: &str) -> World {
    let world = World::with(&Settings::ttl("30s"));
    for address in addresses {
        let nodad: &[&str] = if address.contains(':') {
            &["nodad"]
        } else {
            &[]
        };
        let add = [&["addr", "add", address, "dev", LINK][..], nodad].concat();
        let _ = world.lab.client.must("ip", &add);
    }
    let _ = world
        .lab
        .server
        .must("ip", &["route", "add", route, "dev", LINK]);
    world
}

/// What somebody with this address sees at the hidden UDP service.
fn chat(world: &World, from: &str, to: IpAddr) -> Reach {
    let from = from.parse().expect("an address");
    let client = &world.lab.client;
    client.enter(|| reach::udp_from(from, to, CHAT))
}

#[track_caller]
fn knock(world: &World, packet: &[u8], from: &str, to: IpAddr) {
    let from = from.parse().expect("an address");
    attacker::send(&world.lab.client, from, (to, KNOCK).into(), packet);
    world.spad.wait_counted("opened", 1);
}

#[track_caller]
fn is_for_the_network(world: &World, network: &str) {
    let shown = world.spad.cli(&["grants"]).ok().stdout;
    assert!(shown.contains(&format!(" {network} ")), "{shown}");
    world
        .spad
        .wait_audited(&[("event", "grant"), ("granted_to", network)]);
}

#[test]
fn a_knock_from_one_address_of_a_64_lets_the_others_in_and_not_the_neighbour_64() {
    let addresses = [
        "2001:db8:7:1::7/48",
        "2001:db8:7:1:5::9/48",
        "2001:db8:7:2::7/48",
    ];
    let world = world(&addresses, "2001:db8:7::/48");
    let phone = world.client("phone", "chat", "ipv6_prefix = 64");
    let [knocks, connects, neighbour] = ["2001:db8:7:1::7", "2001:db8:7:1:5::9", "2001:db8:7:2::7"];
    assert_eq!(chat(&world, connects, SERVER6.into()), Reach::Refused);
    knock(&world, &phone.open(&[]), knocks, SERVER6.into());
    assert_eq!(chat(&world, connects, SERVER6.into()), Reach::Open);
    assert_eq!(chat(&world, knocks, SERVER6.into()), Reach::Open);
    assert_eq!(chat(&world, neighbour, SERVER6.into()), Reach::Refused);
    is_for_the_network(&world, "2001:db8:7:1::/64");
}

#[test]
fn a_knock_from_one_address_of_a_24_lets_the_others_in_and_not_the_neighbour_24() {
    let world = world(
        &["198.51.100.7/23", "198.51.100.9/23", "198.51.101.7/23"],
        "198.51.100.0/23",
    );
    let phone = world.client("phone", "chat", "ipv4_prefix = 24");
    assert_eq!(chat(&world, "198.51.100.9", SERVER4.into()), Reach::Refused);
    knock(&world, &phone.open(&[]), "198.51.100.7", SERVER4.into());
    assert_eq!(chat(&world, "198.51.100.9", SERVER4.into()), Reach::Open);
    assert_eq!(chat(&world, "198.51.101.7", SERVER4.into()), Reach::Refused);
    is_for_the_network(&world, "198.51.100.0/24");
}

#[test]
fn after_a_restart_a_network_is_still_its_clients_and_is_closed_with_it() {
    let addresses = ["2001:db8:7:1::7/48", "2001:db8:7:1:5::9/48"];
    let mut world = world(&addresses, "2001:db8:7::/48");
    let phone = world.client("phone", "chat", "ipv6_prefix = 64");
    knock(&world, &phone.open(&[]), "2001:db8:7:1::7", SERVER6.into());
    world.spad.kill();
    world.spad.start();
    is_for_the_network(&world, "2001:db8:7:1::/64");
    assert_eq!(
        chat(&world, "2001:db8:7:1:5::9", SERVER6.into()),
        Reach::Open
    );
    let _ = world.spad.cli(&["client", "disable", "phone"]).ok();
    let listed = world
        .lab
        .server
        .must("nft", &["list", "set", "inet", "spad", "net6"]);
    assert!(!listed.contains("2001:db8"), "{listed}");
}
