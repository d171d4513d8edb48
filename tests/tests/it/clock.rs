//! The time that a packet states must be near the server's.

use std::time::Duration;

use spa_tests::identity::open;
use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

#[test]
fn a_packet_held_back_too_long_is_stale_and_the_audit_names_its_client() {
    let bed = TestBed::new();
    let old = wait::wall().saturating_sub(Duration::from_secs(61));
    bed.send_counted(&bed.laptop.seal_at(&open(&["tcp/8080"]), old), "stale");
    let line = bed.spad.wait_audited(&[
        ("event", "refuse"),
        ("client", "laptop"),
        ("reason", "stale"),
    ]);
    let skew = line
        .get("skew_ms")
        .and_then(serde_json::Value::as_i64)
        .expect("skew_ms");
    assert!(skew.abs() >= 61_000, "{line}");
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
}

#[test]
fn of_many_stale_packets_one_a_second_is_looked_at() {
    let bed = TestBed::new();
    let old = wait::wall().saturating_sub(Duration::from_secs(100));
    let start = wait::now();
    for _ in 0..20 {
        bed.send(&bed.laptop.seal_at(&open(&["tcp/8080"]), old));
    }
    wait::eventually("all get their verdict", || {
        (bed.spad.verdicts().values().sum::<u64>() >= 20).then_some(())
    });
    let named = bed.spad.verdict_count("stale");
    assert!(
        named >= 1 && named <= 1 + start.elapsed().as_secs(),
        "{named} in {:?}",
        start.elapsed()
    );
    assert_eq!(bed.spad.verdict_count("stale_unnamed"), 20 - named);
}

#[test]
fn a_packet_from_the_future_is_refused() {
    let bed = TestBed::new();
    let ahead = wait::wall().saturating_add(Duration::from_secs(62));
    bed.send_counted(&bed.laptop.seal_at(&open(&["tcp/8080"]), ahead), "future");
    bed.spad.wait_audited(&[
        ("event", "refuse"),
        ("client", "laptop"),
        ("reason", "future"),
    ]);
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
}

#[test]
fn clocks_that_differ_within_the_allowed_skew_are_fine() {
    let bed = TestBed::with(&Settings::ttl("1s"));
    let duration = Duration::from_secs(55);
    for when in [
        wait::wall().saturating_sub(duration),
        wait::wall().saturating_add(duration),
    ] {
        let before = bed.spad.verdict_count("opened");
        bed.send(&bed.laptop.seal_at(&open(&["tcp/8080"]), when));
        bed.spad.wait_verdict_count("opened", before + 1);
    }
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn an_older_packet_passes_after_a_newer_one_of_the_same_client() {
    let bed = TestBed::new();
    let now = wait::wall();
    bed.send_counted(&bed.laptop.seal_at(&open(&["udp/9999"]), now), "opened");
    bed.send_counted(
        &bed.laptop.seal_at(
            &open(&["tcp/8080"]),
            now.saturating_sub(Duration::from_secs(5)),
        ),
        "opened",
    );
    assert_eq!(bed.tcp(WEB), Reachability::Open, "the network may reorder");
}
