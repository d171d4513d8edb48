//! What an administrator is told is what holds, and for how long.

use std::process::Command;

use spa_tests::binaries;
use spa_tests::process::{Finished, run};
use spa_tests::reach::Reach;
use spa_tests::settings::{Settings, WEB};
use spa_tests::world::World;

fn status(world: &World) -> String {
    world.spad.status().to_string()
}

/// Runs `spad` where its configuration cannot be written, not even by root.
fn with_files_locked(world: &World, arguments: &[&str]) -> Finished {
    let script = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command.arg(world.spad.config()).arg(binaries::spad());
    world.spad.complete(&mut command, arguments);
    run(&mut command)
}

#[test]
fn a_reload_tells_of_the_trial_that_it_begins() {
    let shown = Settings {
        hide: &["ssh"],
        trial: "10m",
        ..Settings::default()
    };
    let world = World::with(&shown);
    world.spad.configure(&Settings {
        hide: &["ssh", "web"],
        ..shown
    });
    let told = world.spad.cli(&["reload"]).ok().stdout;
    assert!(
        told.contains("tcp/8080 is hidden on trial for 600 s"),
        "{told}"
    );
    assert!(!told.contains("tcp/22"), "began at the start: {told}");
    let again = world.spad.cli(&["reload"]).ok().stdout;
    assert!(!again.contains("trial"), "told once: {again}");
}

#[test]
fn the_status_names_the_port_in_use_until_a_restart_takes_the_new_one() {
    let mut world = World::new();
    let file = world.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    let other = text.replace("port = 62201", "port = 62202");
    std::fs::write(&file, &other).expect("spad.toml");
    let told = world.spad.cli(&["reload"]).ok().stdout;
    assert!(told.contains("needs a restart"), "{told}");
    let seen = status(&world);
    assert!(seen.contains("\"port\":\"62201\""), "{seen}");
    assert!(seen.contains("needs a restart"), "{seen}");
    world.open(&["tcp/8080"]);
    std::fs::write(&file, &text).expect("spad.toml");
    let told = world.spad.cli(&["reload"]).ok().stdout;
    assert!(!told.contains("needs a restart"), "as it runs: {told}");
    std::fs::write(&file, &other).expect("spad.toml");
    world.spad.stop();
    world.spad.start();
    let seen = status(&world);
    assert!(seen.contains("\"port\":\"62202\""), "{seen}");
    assert!(!seen.contains("needs a restart"), "{seen}");
}

#[test]
fn the_status_tells_of_a_refused_reload_until_one_is_taken() {
    let world = World::new();
    let file = world.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    std::fs::write(&file, format!("x = 1\n{text}")).expect("spad.toml");
    assert_eq!(world.spad.cli(&["reload"]).code, Some(1));
    assert!(status(&world).contains("the last reload was refused"));
    std::fs::write(&file, &text).expect("spad.toml");
    world.spad.reload();
    assert!(!status(&world).contains("refused"));
}

#[test]
fn a_client_whose_file_cannot_be_changed_is_served_no_more_and_what_ends_that_is_told() {
    for verb in ["disable", "remove"] {
        let world = World::with(&Settings::ttl("60s"));
        world.open(&["tcp/8080"]);
        let ended = with_files_locked(&world, &["client", verb, "laptop"]);
        assert_eq!(ended.code, Some(1), "{verb}: {}", ended.stderr);
        assert_eq!(world.tcp(WEB), Reach::Refused, "{verb}");
        for word in ["laptop is served no more", "next reload or start", "help:"] {
            assert!(ended.stderr.contains(word), "{verb}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_client_that_does_not_exist_is_neither_removed_nor_disabled() {
    let world = World::new();
    for verb in ["disable", "remove"] {
        let ended = world.spad.cli(&["client", verb, "nobody"]);
        assert_eq!(ended.code, Some(1), "{verb}");
        assert!(
            ended.stderr.contains("no client `nobody`"),
            "{}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("is removed"), "{}", ended.stderr);
    }
}

#[test]
fn the_table_is_called_gone_only_where_no_daemon_puts_it_back() {
    let mut world = World::new();
    let told = world.spad.cli(&["firewall", "remove"]).ok();
    assert!(told.stdout.contains("puts it back"), "{}", told.stdout);
    assert!(
        told.stderr.contains("systemctl stop spad"),
        "{}",
        told.stderr
    );
    world.spad.stop();
    let told = world.spad.cli(&["firewall", "remove"]).ok();
    assert!(told.stdout.contains("is gone"), "{}", told.stdout);
    assert!(told.stderr.is_empty(), "{}", told.stderr);
    assert_eq!(world.tcp(WEB), Reach::Open);
}
