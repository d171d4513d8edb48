//! A restart adopts what is open; nothing is closed, nothing lasts longer.

use std::time::Duration;

use spa_tests::identity::{close, open_for};
use spa_tests::reach::Reach;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

fn patient() -> Settings {
    Settings::ttl("30s")
}

#[test]
fn open_grants_survive_a_restart_with_their_holder() {
    let mut world = World::with(&patient());
    world.open(&["tcp/8080"]);
    world.spad.stop();
    assert_eq!(world.tcp(WEB), Reach::Open, "while stopped");
    world.spad.start();
    assert_eq!(world.tcp(WEB), Reach::Open);
    let grants = world.spad.cli(&["grants"]).ok().stdout;
    assert!(
        grants.contains("laptop") && grants.contains("tcp/8080"),
        "{grants}"
    );
    world.send_counted(&world.laptop.seal(&close(&["tcp/8080"])), "closed");
    assert_eq!(
        world.tcp(WEB),
        Reach::Refused,
        "its holder may still close it"
    );
}

#[test]
fn open_grants_survive_kill_minus_nine_with_their_holder() {
    let mut world = World::with(&patient());
    world.open(&["tcp/8080"]);
    world.spad.kill();
    world.spad.start();
    assert_eq!(world.tcp(WEB), Reach::Open);
    let grants = world.spad.cli(&["grants"]).ok().stdout;
    assert!(grants.contains("laptop"), "{grants}");
}

#[test]
fn open_grants_survive_a_reload_and_a_hangup() {
    let mut world = World::with(&patient());
    world.open(&["tcp/8080"]);
    world.spad.reload();
    assert_eq!(world.tcp(WEB), Reach::Open);
    world.spad.process().signal(rustix::process::Signal::HUP);
    world.spad.wait_audited(&[("event", "reload")]);
    assert_eq!(world.tcp(WEB), Reach::Open);
    world.open(&["udp/9999"]);
}

#[test]
fn a_restart_does_not_make_a_grant_last_longer() {
    let mut world = World::with(&patient());
    let sent = wait::now();
    world.send_counted(&world.laptop.seal(&open_for(&["tcp/8080"], 4)), "opened");
    let known = wait::now();
    world.spad.stop();
    world.spad.start();
    world.wait_closed(WEB);
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
    let mut world = World::with(&patient());
    let desk = world.client("desk", "chat", "");
    world.send_counted(&desk.open(&["udp/9999"]), "opened");
    assert_eq!(world.udp(CHAT), Reach::Open);
    world.spad.stop();
    let _ = world.spad.cli(&["client", "remove", "desk"]).ok();
    world.spad.start();
    // A flow that the kernel knows lives on; this is a new one.
    assert_eq!(world.udp(CHAT), Reach::Refused);
}
