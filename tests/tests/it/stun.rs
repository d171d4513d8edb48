//! `--for stun:`: behind translation, the address that others see is opened.

use spa_tests::lab::{SERVER4, SERVER6, STRANGER4};
use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::stun::StunServer;
use spa_tests::test_bed::TestBed;

/// The client's machine has a private IPv4 address that is translated on its way.
fn behind_nat() -> (TestBed, StunServer) {
    let bed = TestBed::with(&Settings::ttl("30s"));
    let server = StunServer::start(&bed.lab.server, 3478);
    bed.enrol_spa(SERVER4.into());
    let client = &bed.lab.client;
    client.run_ok("ip", &["addr", "add", "10.9.0.2/24", "dev", "eth0"]);
    let route = [
        "route",
        "replace",
        "192.0.2.1",
        "dev",
        "eth0",
        "src",
        "10.9.0.2",
    ];
    client.run_ok("ip", &route);
    client.nft(&format!(
        "table ip translation {{\n  chain out {{ type nat hook postrouting priority srcnat;\n    ip saddr 10.9.0.2 snat to {STRANGER4}\n  }}\n}}\n"
    ));
    (bed, server)
}

#[test]
fn the_address_that_a_stun_server_sees_is_stated_and_opened() {
    let (bed, _server) = behind_nat();
    let stun = format!("stun:{SERVER4}");
    let done = bed.spa(&["open", "gw:tcp/8080", "--for", &stun, "-v"]).ok();
    let seen = format!("this machine is seen as {STRANGER4}");
    assert!(done.stderr.contains(&seen), "{done:?}");
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let stranger = STRANGER4.to_string();
    bed.spad
        .wait_audited(&[("event", "grant"), ("granted_to", &stranger)]);
}

#[test]
fn a_server_of_both_families_is_asked_in_both() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    let _server = StunServer::start(&bed.lab.server, 3478);
    bed.enrol_spa(SERVER4.into());
    let both = [SERVER4.into(), SERVER6.into()];
    let words = ["open", "gw:tcp/8080", "--for", "stun:stun.example:3478"];
    let _ = bed.spa_knowing("stun.example", &both, &words).ok();
    assert_eq!([bed.tcp(WEB), bed.tcp6(WEB)], [Reachability::Open; 2]);
}

#[test]
fn where_the_server_demands_a_stated_address_a_learned_one_is_not_sent() {
    let (bed, _server) = behind_nat();
    bed.configure_spa("require_address = true");
    let stun = format!("stun:{SERVER4}");
    let refused = bed.spa(&["open", "gw:tcp/8080", "--for", &stun]);
    assert_eq!(refused.code, Some(6), "{refused:?}");
    assert!(refused.stderr.contains("`require_address`"), "{refused:?}");
    let given = STRANGER4.to_string();
    let _ = bed.spa(&["open", "gw:tcp/8080", "--for", &given]).ok();
    assert_eq!(
        bed.spad.verdict_count("opened"),
        1,
        "the one that says it itself"
    );
}
