//! A restart adopts what is open; nothing is closed, nothing lasts longer.

use std::time::Duration;

use spa_tests::identity::{close, open_for};
use spa_tests::reach::Reachability;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

fn settings() -> Settings {
    Settings::ttl("30s")
}

#[test]
fn open_grants_survive_a_restart_with_their_holder() {
    let mut bed = TestBed::with(&settings());
    bed.open(&["tcp/8080"]);
    bed.spad.stop();
    assert_eq!(bed.tcp(WEB), Reachability::Open, "while stopped");
    bed.spad.start();
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let grants = bed.spad.cli(&["grants"]).ok().stdout;
    assert!(
        grants.contains("laptop") && grants.contains("tcp/8080"),
        "{grants}"
    );
    bed.send_counted(&bed.laptop.seal(&close(&["tcp/8080"])), "closed");
    assert_eq!(
        bed.tcp(WEB),
        Reachability::Refused,
        "its holder may still close it"
    );
}

#[test]
fn open_grants_survive_kill_minus_nine_with_their_holder() {
    let mut bed = TestBed::with(&settings());
    bed.open(&["tcp/8080"]);
    bed.spad.kill();
    bed.spad.start();
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let grants = bed.spad.cli(&["grants"]).ok().stdout;
    assert!(grants.contains("laptop"), "{grants}");
}

#[test]
fn open_grants_survive_a_reload_and_a_hangup() {
    let mut bed = TestBed::with(&settings());
    bed.open(&["tcp/8080"]);
    bed.spad.reload();
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    bed.spad.process().signal(rustix::process::Signal::HUP);
    bed.spad.wait_audited(&[("event", "reload")]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    bed.open(&["udp/9999"]);
}

#[test]
fn a_restart_does_not_make_a_grant_last_longer() {
    let mut bed = TestBed::with(&settings());
    let sent = wait::now();
    bed.send_counted(&bed.laptop.seal(&open_for(&["tcp/8080"], 4)), "opened");
    let known = wait::now();
    bed.spad.stop();
    bed.spad.start();
    bed.wait_closed(WEB);
    assert!(
        sent.elapsed() >= Duration::from_millis(3900),
        "{:?}",
        sent.elapsed()
    );
    assert!(
        known.elapsed() <= Duration::from_millis(4700),
        "{:?}",
        known.elapsed()
    );
}

#[test]
fn a_grant_of_a_client_removed_while_stopped_is_closed_at_start() {
    let mut bed = TestBed::with(&settings());
    let desk = bed.new_client("desk", "chat", "");
    bed.send_counted(&desk.open(&["udp/9999"]), "opened");
    assert_eq!(bed.udp(CHAT), Reachability::Open);
    bed.spad.stop();
    let _ = bed.spad.cli(&["client", "remove", "desk"]).ok();
    bed.spad.start();
    // A flow that the kernel knows lives on; this is a new one.
    assert_eq!(bed.udp(CHAT), Reachability::Refused);
}
