//! However few files may be open at once, what is to be hidden is, and that limit is named.

use super::{hides, stopped};
use spa_tests::reach::Reach;
use spa_tests::settings::WEB;
use spa_tests::world::World;

/// As few as this may be open at once, and nobody may raise that.
fn limit(world: &mut World, files: u32) {
    let files = format!("--nofile={files}");
    let without = "--bounding-set=-sys_resource";
    world
        .spad
        .start_behind(&["setpriv", without, "prlimit", &files]);
}

/// What no lack of descriptors may be taken for.
const OTHER_CAUSES: [&str; 6] = [
    "damaged",
    "denied",
    "no user `",
    "another machine",
    "are bad",
    "no such file",
];

/// The limit is named with how to raise it, and nothing else is blamed.
#[track_caller]
fn names_the_limit(said: &str, files: u32) {
    let limit = format!("may have {files} files open at once (RLIMIT_NOFILE)");
    for part in [&*limit, "help: set LimitNOFILE=256"] {
        assert!(said.contains(part), "{files}: {part:?} is not in\n{said}");
    }
    for other in OTHER_CAUSES {
        assert!(!said.contains(other), "{files}: {other:?} is in\n{said}");
    }
}

/// A server on a machine that has the users of spad.
fn with_users() -> World {
    let mut world = stopped();
    let file = world.lab.path().join("passwd");
    let users = "root:x:0:0:root:/root:/bin/sh\nspad:x:64001:64001::/:/bin/false\nspad-fw:x:64002:64002::/:/bin/false\n";
    std::fs::write(&file, users).expect("a file");
    world.spad.put_in_place("/etc/passwd", file);
    world
}

#[test]
fn with_however_few_descriptors_a_boot_hides() {
    let mut world = with_users();
    for files in 4..=24 {
        limit(&mut world, files);
        let load = world.spad.behind(&["firewall", "load"]);
        hides(&world, &format!("{files} descriptors"));
        names_the_limit(&load.stderr, files);
        let _ = world.spad.cli(&["firewall", "remove"]).ok();
        assert_eq!(world.tcp(WEB), Reach::Open, "nothing hides between");
    }
}

#[test]
fn with_however_few_descriptors_a_daemon_hides() {
    let mut world = with_users();
    for files in (4..=16).chain([32, 255]) {
        limit(&mut world, files);
        let ended = world.spad.run_to_its_end();
        assert!(!ended.success, "{files}");
        hides(&world, &format!("{files} descriptors"));
        names_the_limit(&ended.stderr, files);
        let _ = world.spad.cli(&["firewall", "remove"]).ok();
        assert_eq!(world.tcp(WEB), Reach::Open, "nothing hides between");
    }
    world.spad.put_nothing_in_place();
    limit(&mut world, 256);
    world.spad.start();
    world.open(&["tcp/8080"]);
}

/// The most files that may be open in each process of the server.
fn limits(world: &World) -> Vec<String> {
    let of = |(process, _)| {
        let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).expect("limits");
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let soft = line.and_then(|line| line.split_whitespace().nth(3));
        soft.expect("a limit").to_owned()
    };
    world.spad.processes().into_iter().map(of).collect()
}

#[test]
fn a_low_limit_is_raised_as_far_as_may_be() {
    let mut world = stopped();
    // Everybody may raise the soft limit to the hard one.
    let without = "--bounding-set=-sys_resource";
    let command = ["setpriv", without, "prlimit", "--nofile=4:1024"];
    world.spad.start_behind(&command);
    world.spad.start();
    assert_eq!(limits(&world), ["256", "256"]);
    world.spad.stop();
    // The hard one by CAP_SYS_RESOURCE, which not every root has.
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = u64::from_str_radix(line.expect("capabilities").trim(), 16).expect("a number");
    let may_raise = held & (1 << 24) != 0;
    world.spad.start_behind(&["prlimit", "--nofile=4"]);
    match may_raise {
        true => {
            world.spad.start();
            assert_eq!(limits(&world), ["256", "256"]);
        }
        false => names_the_limit(&world.spad.run_to_its_end().stderr, 4),
    }
    hides(&world, "a hard limit");
}
