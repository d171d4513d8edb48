//! However few files may be open at once, what is to be hidden is, and that limit is named.

use super::{hides, stopped};
use spa_tests::reach::Reachability;
use spa_tests::settings::WEB;
use spa_tests::test_bed::TestBed;

/// As few as this may be open at once, and nobody may raise that.
fn limit(bed: &mut TestBed, files: u32) {
    let files = format!("--nofile={files}");
    let without = "--bounding-set=-sys_resource";
    bed.spad
        .set_wrapper(&["setpriv", without, "prlimit", &files]);
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
fn names_the_limit(output: &str, files: u32) {
    let limit = format!("may have {files} files open at once (RLIMIT_NOFILE)");
    for part in [&*limit, "help: set LimitNOFILE=256"] {
        assert!(
            output.contains(part),
            "{files}: {part:?} is not in\n{output}"
        );
    }
    for other in OTHER_CAUSES {
        assert!(
            !output.contains(other),
            "{files}: {other:?} is in\n{output}"
        );
    }
}

/// A server on a machine that has the users of spad.
fn with_users() -> TestBed {
    let mut bed = stopped();
    let file = bed.lab.path().join("passwd");
    let users = "root:x:0:0:root:/root:/bin/sh\nspad:x:64001:64001::/:/bin/false\nspad-fw:x:64002:64002::/:/bin/false\n";
    std::fs::write(&file, users).expect("a file");
    bed.spad.bind_mount("/etc/passwd", file);
    bed
}

#[test]
fn with_however_few_descriptors_a_boot_hides() {
    let mut bed = with_users();
    for files in 4..=24 {
        limit(&mut bed, files);
        let load = bed.spad.cli_under_wrapper(&["firewall", "load"]);
        hides(&bed, &format!("{files} descriptors"));
        names_the_limit(&load.stderr, files);
        let _ = bed.spad.cli(&["firewall", "remove"]).ok();
        assert_eq!(bed.tcp(WEB), Reachability::Open, "nothing hides between");
    }
}

#[test]
fn with_however_few_descriptors_a_daemon_hides() {
    let mut bed = with_users();
    for files in (4..=16).chain([32, 255]) {
        limit(&mut bed, files);
        let ended = bed.spad.run_to_exit();
        assert!(!ended.success, "{files}");
        hides(&bed, &format!("{files} descriptors"));
        names_the_limit(&ended.stderr, files);
        let _ = bed.spad.cli(&["firewall", "remove"]).ok();
        assert_eq!(bed.tcp(WEB), Reachability::Open, "nothing hides between");
    }
    bed.spad.clear_bind_mounts();
    limit(&mut bed, 256);
    bed.spad.start();
    bed.open(&["tcp/8080"]);
}

/// The most files that may be open in each process of the server.
fn limits(bed: &TestBed) -> Vec<String> {
    let of = |(process, _)| {
        let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).expect("limits");
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let soft = line.and_then(|line| line.split_whitespace().nth(3));
        soft.expect("a limit").to_owned()
    };
    bed.spad.processes().into_iter().map(of).collect()
}

#[test]
fn a_low_limit_is_raised_as_far_as_may_be() {
    let mut bed = stopped();
    // Everybody may raise the soft limit to the hard one.
    let without = "--bounding-set=-sys_resource";
    let command = ["setpriv", without, "prlimit", "--nofile=4:1024"];
    bed.spad.set_wrapper(&command);
    bed.spad.start();
    assert_eq!(limits(&bed), ["256", "256"]);
    bed.spad.stop();
    // The hard one by CAP_SYS_RESOURCE, which not every root has.
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = u64::from_str_radix(line.expect("capabilities").trim(), 16).expect("a number");
    let may_raise = held & (1 << 24) != 0;
    bed.spad.set_wrapper(&["prlimit", "--nofile=4"]);
    match may_raise {
        true => {
            bed.spad.start();
            assert_eq!(limits(&bed), ["256", "256"]);
        }
        false => names_the_limit(&bed.spad.run_to_exit().stderr, 4),
    }
    hides(&bed, "a hard limit");
}
