//! A client states its addresses of both families, so that one packet opens for both.

use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6};
use spa_tests::process::Finished;
use spa_tests::reach::Reach;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::world::World;

/// Knocks at a server with two addresses while one family's knocks are lost.
fn knock_without(lost: &str) -> (World, Finished) {
    let world = World::with(&Settings::ttl("20s"));
    world.enrol_spa(SERVER4.into());
    world.rename_gw("gateway.example");
    world.lab.client.nft(&format!(
        "table inet lossy {{\n  chain out {{ type filter hook output priority filter;\n    meta nfproto {lost} udp dport 62201 drop\n  }}\n}}\n"
    ));
    assert_eq!([world.tcp(WEB), world.tcp6(WEB)], [Reach::Refused; 2]);
    let both = [SERVER4.into(), SERVER6.into()];
    let done = world.spa_knowing("gateway.example", &both, &["open", "gw:tcp/8080"]);
    (world, done)
}

#[test]
fn knock_by_ipv4_connect_by_ipv6_works() {
    let (world, done) = knock_without("ipv6");
    let _ = done.ok();
    assert_eq!(world.tcp6(WEB), Reach::Open);
    assert_eq!(world.tcp(WEB), Reach::Open);
    assert_eq!(world.udp6(CHAT), Reach::Refused, "not asked for");
}

#[test]
fn knock_by_ipv6_connect_by_ipv4_works() {
    let (world, done) = knock_without("ipv4");
    let _ = done.ok();
    assert_eq!(world.tcp(WEB), Reach::Open);
    assert_eq!(world.tcp6(WEB), Reach::Open);
}

#[test]
fn addresses_of_both_families_on_the_command_line_are_opened_by_one_packet() {
    let world = World::with(&Settings::ttl("20s"));
    world.enrol_spa(SERVER4.into());
    let (four, six) = (CLIENT4.to_string(), CLIENT6.to_string());
    let words = ["open", "gw:tcp/8080", "--for", &four, "--for", &six];
    let _ = world.spa(&words).ok();
    assert_eq!([world.tcp(WEB), world.tcp6(WEB)], [Reach::Open; 2]);
}
