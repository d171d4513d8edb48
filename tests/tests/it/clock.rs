//! The time that a packet states must be near the server's.

use std::time::Duration;

use spa_tests::identity::open;
use spa_tests::reach::Reach;
use spa_tests::settings::{Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

#[test]
fn a_packet_held_back_too_long_is_stale_and_the_audit_names_its_client() {
    let world = World::new();
    let old = wait::wall().saturating_sub(Duration::from_secs(61));
    world.send_counted(&world.laptop.seal_at(&open(&["tcp/8080"]), old), "stale");
    let line = world.spad.wait_audited(&[
        ("event", "refuse"),
        ("client", "laptop"),
        ("reason", "stale"),
    ]);
    let skew = line
        .get("skew_ms")
        .and_then(serde_json::Value::as_i64)
        .expect("skew_ms");
    assert!(skew.abs() >= 61_000, "{line}");
    assert_eq!(world.tcp(WEB), Reach::Refused);
}

#[test]
fn of_many_stale_packets_one_a_second_is_looked_at() {
    let world = World::new();
    let old = wait::wall().saturating_sub(Duration::from_secs(100));
    let start = wait::now();
    for _ in 0..20 {
        world.send(&world.laptop.seal_at(&open(&["tcp/8080"]), old));
    }
    wait::soon("all get their verdict", || {
        (world.spad.verdicts().values().sum::<u64>() >= 20).then_some(())
    });
    let named = world.spad.counted("stale");
    assert!(
        named >= 1 && named <= 1 + start.elapsed().as_secs(),
        "{named} in {:?}",
        start.elapsed()
    );
    assert_eq!(world.spad.counted("stale_unnamed"), 20 - named);
}

#[test]
fn a_packet_from_the_future_is_refused() {
    let world = World::new();
    let ahead = wait::wall().saturating_add(Duration::from_secs(62));
    world.send_counted(&world.laptop.seal_at(&open(&["tcp/8080"]), ahead), "future");
    world.spad.wait_audited(&[
        ("event", "refuse"),
        ("client", "laptop"),
        ("reason", "future"),
    ]);
    assert_eq!(world.tcp(WEB), Reach::Refused);
}

#[test]
fn clocks_that_differ_within_the_allowed_skew_are_fine() {
    let world = World::with(&Settings::ttl("1s"));
    let span = Duration::from_secs(55);
    for when in [
        wait::wall().saturating_sub(span),
        wait::wall().saturating_add(span),
    ] {
        let before = world.spad.counted("opened");
        world.send(&world.laptop.seal_at(&open(&["tcp/8080"]), when));
        world.spad.wait_counted("opened", before + 1);
    }
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn an_older_packet_passes_after_a_newer_one_of_the_same_client() {
    let world = World::new();
    let now = wait::wall();
    world.send_counted(&world.laptop.seal_at(&open(&["udp/9999"]), now), "opened");
    world.send_counted(
        &world.laptop.seal_at(
            &open(&["tcp/8080"]),
            now.saturating_sub(Duration::from_secs(5)),
        ),
        "opened",
    );
    assert_eq!(world.tcp(WEB), Reach::Open, "the network may reorder");
}
