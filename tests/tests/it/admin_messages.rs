//! What an administrator is told is what holds, and for how long.

use std::process::Command;

use spa_tests::binaries;
use spa_tests::process::{Finished, run};
use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;

fn status(bed: &TestBed) -> String {
    bed.spad.status().to_string()
}

/// Runs `spad` where its configuration cannot be written, not even by root.
fn with_files_locked(bed: &TestBed, arguments: &[&str]) -> Finished {
    let script = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command.arg(bed.spad.config()).arg(binaries::spad());
    bed.spad.add_options(&mut command, arguments);
    run(&mut command)
}

#[test]
fn a_reload_tells_of_the_trial_that_it_begins() {
    let shown = Settings {
        hide: &["ssh"],
        trial: "10m",
        ..Settings::default()
    };
    let bed = TestBed::with(&shown);
    bed.spad.configure(&Settings {
        hide: &["ssh", "web"],
        ..shown
    });
    let output = bed.spad.cli(&["reload"]).ok().stdout;
    assert!(
        output.contains("tcp/8080 is hidden on trial for 600 s"),
        "{output}"
    );
    assert!(!output.contains("tcp/22"), "began at the start: {output}");
    let again = bed.spad.cli(&["reload"]).ok().stdout;
    assert!(!again.contains("trial"), "told once: {again}");
}

#[test]
fn the_status_names_the_port_in_use_until_a_restart_takes_the_new_one() {
    let mut bed = TestBed::new();
    let file = bed.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    let other = text.replace("port = 62201", "port = 62202");
    std::fs::write(&file, &other).expect("spad.toml");
    let output = bed.spad.cli(&["reload"]).ok().stdout;
    assert!(output.contains("needs a restart"), "{output}");
    let seen = status(&bed);
    assert!(seen.contains("\"port\":\"62201\""), "{seen}");
    assert!(seen.contains("needs a restart"), "{seen}");
    bed.open(&["tcp/8080"]);
    std::fs::write(&file, &text).expect("spad.toml");
    let output = bed.spad.cli(&["reload"]).ok().stdout;
    assert!(!output.contains("needs a restart"), "as it runs: {output}");
    std::fs::write(&file, &other).expect("spad.toml");
    bed.spad.stop();
    bed.spad.start();
    let seen = status(&bed);
    assert!(seen.contains("\"port\":\"62202\""), "{seen}");
    assert!(!seen.contains("needs a restart"), "{seen}");
}

#[test]
fn the_status_tells_of_a_refused_reload_until_one_is_taken() {
    let bed = TestBed::new();
    let file = bed.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    std::fs::write(&file, format!("x = 1\n{text}")).expect("spad.toml");
    assert_eq!(bed.spad.cli(&["reload"]).code, Some(1));
    assert!(status(&bed).contains("the last reload was refused"));
    std::fs::write(&file, &text).expect("spad.toml");
    bed.spad.reload();
    assert!(!status(&bed).contains("refused"));
}

#[test]
fn a_client_whose_file_cannot_be_changed_is_served_no_more_and_what_ends_that_is_told() {
    for verb in ["disable", "remove"] {
        let bed = TestBed::with(&Settings::ttl("60s"));
        bed.open(&["tcp/8080"]);
        let ended = with_files_locked(&bed, &["client", verb, "laptop"]);
        assert_eq!(ended.code, Some(1), "{verb}: {}", ended.stderr);
        assert_eq!(bed.tcp(WEB), Reachability::Refused, "{verb}");
        for word in ["laptop is served no more", "next reload or start", "help:"] {
            assert!(ended.stderr.contains(word), "{verb}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_client_that_does_not_exist_is_neither_removed_nor_disabled() {
    let bed = TestBed::new();
    for verb in ["disable", "remove"] {
        let ended = bed.spad.cli(&["client", verb, "nobody"]);
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
    let mut bed = TestBed::new();
    let output = bed.spad.cli(&["firewall", "remove"]).ok();
    assert!(output.stdout.contains("puts it back"), "{}", output.stdout);
    assert!(
        output.stderr.contains("systemctl stop spad"),
        "{}",
        output.stderr
    );
    bed.spad.stop();
    let output = bed.spad.cli(&["firewall", "remove"]).ok();
    assert!(output.stdout.contains("is gone"), "{}", output.stdout);
    assert!(output.stderr.is_empty(), "{}", output.stderr);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}
