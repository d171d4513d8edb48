//! A client states its addresses of both families, so that one packet opens for both.

use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6};
use spa_tests::process::Finished;
use spa_tests::reach::Reachability;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::test_bed::TestBed;

/// Knocks at a server with two addresses while one family's knocks are lost.
fn open_without_family(lost: &str) -> (TestBed, Finished) {
    let bed = TestBed::with(&Settings::ttl("20s"));
    bed.enrol_spa(SERVER4.into());
    bed.rename_gw("gateway.example");
    bed.lab.client.nft(&format!(
        "table inet lossy {{\n  chain out {{ type filter hook output priority filter;\n    meta nfproto {lost} udp dport 62201 drop\n  }}\n}}\n"
    ));
    assert_eq!([bed.tcp(WEB), bed.tcp6(WEB)], [Reachability::Refused; 2]);
    let both = [SERVER4.into(), SERVER6.into()];
    let done = bed.spa_knowing("gateway.example", &both, &["open", "gw:tcp/8080"]);
    (bed, done)
}

#[test]
fn knock_by_ipv4_connect_by_ipv6_works() {
    let (bed, done) = open_without_family("ipv6");
    let _ = done.ok();
    assert_eq!(bed.tcp6(WEB), Reachability::Open);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    assert_eq!(bed.udp6(CHAT), Reachability::Refused, "not asked for");
}

#[test]
fn knock_by_ipv6_connect_by_ipv4_works() {
    let (bed, done) = open_without_family("ipv4");
    let _ = done.ok();
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    assert_eq!(bed.tcp6(WEB), Reachability::Open);
}

#[test]
fn addresses_of_both_families_on_the_command_line_are_opened_by_one_packet() {
    let bed = TestBed::with(&Settings::ttl("20s"));
    bed.enrol_spa(SERVER4.into());
    let (four, six) = (CLIENT4.to_string(), CLIENT6.to_string());
    let words = ["open", "gw:tcp/8080", "--for", &four, "--for", &six];
    let _ = bed.spa(&words).ok();
    assert_eq!([bed.tcp(WEB), bed.tcp6(WEB)], [Reachability::Open; 2]);
}
