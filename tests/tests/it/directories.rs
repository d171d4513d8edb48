//! What the code takes for granted of its directories is what the shipped units promise.

use std::path::{Path, PathBuf};

use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;

/// The values of this setting in a shipped unit.
fn values(unit: &str, setting: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let text = std::fs::read_to_string(path.join(unit)).expect("a unit");
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name == setting).then_some(value)
    });
    lines
        .flat_map(str::split_whitespace)
        .map(ToOwned::to_owned)
        .collect()
}

/// A directory of the machine, as this world has it.
fn local_path(bed: &TestBed, path: &str) -> PathBuf {
    let state = bed.spad.state();
    let all = state.parent().expect("all its directories").to_owned();
    match path {
        "/var/lib/spad" => state,
        "/run/spad" => all.join("run"),
        // The daemon makes /var/log/spad.
        "/var/log" => all.join("log"),
        other => panic!("the unit lets spad write to {other}: what for?"),
    }
}

/// Everything is read-only but the directories that stand before `--`, as under `ProtectSystem=strict`.
const STRICT: &str = r#"while [ "$1" != -- ]; do mount --bind "$1" "$1" && shift || exit; done; shift; mount -o remount,bind,ro / && exec "$@""#;

fn sandbox_like_unit(bed: &mut TestBed, unit: &str) {
    assert_eq!(values(unit, "ProtectSystem"), ["strict"]);
    let mut writable: Vec<String> = values(unit, "ReadWritePaths");
    let made = values(unit, "RuntimeDirectory");
    writable.extend(made.iter().map(|name| format!("/run/{name}")));
    let mut wrapper = vec![
        "sh".to_owned(),
        "-c".to_owned(),
        STRICT.to_owned(),
        "sh".to_owned(),
    ];
    for path in writable {
        let directory = local_path(bed, path.trim_start_matches('-'));
        wrapper.push(directory.display().to_string());
    }
    wrapper.push("--".to_owned());
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    bed.spad.set_wrapper(&wrapper);
}

#[test]
fn the_daemon_writes_nowhere_but_where_its_unit_lets_it() {
    let mut bed = TestBed::with(&Settings::ttl("1s"));
    bed.spad.stop();
    sandbox_like_unit(&mut bed, "spad.service");
    bed.spad.start();
    let packet = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&packet, "opened");
    bed.wait_closed(WEB);
    bed.spad.reload();
    let status = bed.spad.status();
    assert_eq!(status["warnings"].to_string(), "[]");
    let output = bed.spad.output();
    assert!(
        !output.contains("Read-only") && !output.contains("cannot"),
        "{output}"
    );
    let _ = bed.spad.wait_audited(&[("event", "grant")]);
    bed.spad.stop();
    bed.spad.start();
    assert_eq!(bed.spad.status()["warnings"].to_string(), "[]");
    bed.send_counted(&packet, "replay");
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
}

#[test]
fn a_missing_state_or_log_directory_does_not_keep_the_unit_from_starting_the_daemon() {
    for unit in ["spad.service", "spad-guard.service"] {
        for path in values(unit, "ReadWritePaths") {
            // systemd makes its runtime directories itself.
            let made = path == "/run/spad" && values(unit, "RuntimeDirectory") == ["spad"];
            assert!(made || path.starts_with('-'), "{unit}: {path}");
        }
    }
}

/// What proves the journal whole and the horizon known after a crash of the daemon lies in the
/// run directory, which systemd removes at every stop unless it is told otherwise.
#[test]
fn the_unit_preserves_the_run_directory_and_without_it_the_next_start_says_so() {
    assert_eq!(values("spad.service", "RuntimeDirectory"), ["spad"]);
    assert_eq!(values("spad.service", "RuntimeDirectoryPreserve"), ["yes"]);
    // Whoever made these directories the engine's would let it choose the next start's files.
    for setting in ["StateDirectory", "LogsDirectory", "DynamicUser", "User"] {
        assert!(values("spad.service", setting).is_empty(), "{setting}");
    }
    let mut bed = TestBed::with(&Settings::ttl("1s"));
    let packet = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&packet, "opened");
    bed.wait_closed(WEB);
    bed.spad.kill();
    bed.spad.start();
    assert!(
        !bed.spad.output().contains("not clean"),
        "{}",
        bed.spad.output()
    );
    bed.send_counted(&packet, "replay");
    bed.spad.kill();
    for file in ["horizon.memory", "journal.proof"] {
        std::fs::remove_file(local_path(&bed, "/run/spad").join(file)).expect("it is kept there");
    }
    bed.spad.start();
    assert!(
        bed.spad.output().contains("not clean"),
        "{}",
        bed.spad.output()
    );
    bed.send_counted(&packet, "below_floor");
    bed.stays_closed(WEB, std::time::Duration::from_millis(200));
}
