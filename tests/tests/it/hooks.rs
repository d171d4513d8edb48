//! Hooks: told of grants and of their ends, whatever becomes of the daemon.

use serde_json::Value;
use spa_tests::reach::Reach;
use spa_tests::settings::{Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

/// A server with both hooks, not started: what they read, [`World::told`] reads.
fn world(ttl: &'static str) -> World {
    let world = World::stopped(&Settings::ttl(ttl));
    let hook = world.recorder("hook");
    world.append(
        "spad.toml",
        &format!(
            "[hooks]\nopen = {{ argv = [{hook:?}], user = \"daemon\" }}\nclose = {{ argv = [{hook:?}], user = \"daemon\" }}"
        ),
    );
    world
}

#[track_caller]
fn wait_told(world: &World, count: usize) -> Value {
    wait::soon("the hook is told", || {
        world.told().into_iter().nth(count - 1)
    })
}

#[test]
fn hooks_are_told_of_a_grant_and_of_its_end_as_their_user() {
    let mut world = world("1s");
    world.spad.start();
    world.open(&["tcp/8080"]);
    let open = wait_told(&world, 1);
    for (field, value) in [
        ("event", "open"),
        ("client", "laptop"),
        ("address", "192.0.2.2"),
        ("service", "web"),
        ("proto", "tcp"),
    ] {
        assert_eq!(open[field], value, "{open}");
    }
    assert_eq!(open["port"], 8080);
    assert!(open["time"].as_str().expect("a time").ends_with('Z'));
    let close = wait_told(&world, 2);
    assert_eq!(close["event"], "close");
    assert_eq!(close["address"], "192.0.2.2");
    assert_ne!(world.tcp(WEB), Reach::Open, "told before it was closed");
    let said = world.audited("hook", 2);
    assert_eq!(
        (&said["command"], &said["exit"]),
        (&"close".into(), &0.into())
    );
}

#[test]
fn the_close_hook_runs_after_kill_minus_nine_for_what_ended_meanwhile() {
    let mut world = world("2s");
    world.spad.start();
    world.open(&["tcp/8080"]);
    let _ = wait_told(&world, 1);
    world.spad.kill();
    world.wait_closed(WEB);
    assert_eq!(world.told().len(), 1, "nobody is there to tell");
    world.spad.start();
    let close = wait_told(&world, 2);
    assert_eq!(close["event"], "close");
    assert_eq!(close["client"], "laptop");
    // Once it was told it is not told again.
    let _ = world.audited("hook", 2);
    world.spad.stop();
    world.spad.start();
    world.open(&["tcp/8080"]);
    assert_eq!(wait_told(&world, 3)["event"], "open");
}

#[test]
fn the_close_hook_runs_after_kill_minus_nine_and_a_reboot() {
    let mut world = world("2s");
    world.spad.start();
    world.open(&["tcp/8080"]);
    let _ = wait_told(&world, 1);
    world.spad.kill();
    let _ = world.spad.cli(&["firewall", "remove"]).ok();
    world.spad.pretend_new_boot();
    world.spad.start();
    assert_eq!(wait_told(&world, 2)["event"], "close");
}

#[test]
fn the_close_hook_of_a_grant_that_outlives_the_daemon_waits_for_its_end() {
    let mut world = world("4s");
    world.spad.start();
    world.open(&["tcp/8080"]);
    let _ = wait_told(&world, 1);
    world.spad.kill();
    world.spad.start();
    assert_eq!(world.tcp(WEB), Reach::Open);
    assert_eq!(world.told().len(), 1, "open still");
    world.wait_closed(WEB);
    assert_eq!(wait_told(&world, 2)["event"], "close");
}

#[test]
fn a_hook_that_fails_or_hangs_neither_holds_up_nor_undoes_a_grant() {
    let mut world = world("2s");
    let hang = world.script("hang", "sleep 600");
    let hook = world.lab.path().join("hook");
    let (from, to) = (
        format!("open = {{ argv = [{hook:?}]"),
        format!("open = {{ timeout = \"1s\", argv = [{hang:?}]"),
    );
    world.replace("spad.toml", &from, &to);
    world.spad.start();
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
    let said = world.audited("hook", 1);
    assert_eq!(said["timed_out"], true, "{said}");
    world.wait_closed(WEB);
    assert_eq!(wait_told(&world, 1)["event"], "close");
}
