//! Hooks: told of grants and of their ends, whatever becomes of the daemon.

use serde_json::Value;
use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// A server with both hooks, not started: what they read, [`TestBed::recorded_calls`] reads.
fn test_bed(ttl: &'static str) -> TestBed {
    let bed = TestBed::stopped(&Settings::ttl(ttl));
    let hook = bed.recorder("hook");
    bed.append_config(
        "spad.toml",
        &format!(
            "[hooks]\nopen = {{ argv = [{hook:?}], user = \"daemon\" }}\nclose = {{ argv = [{hook:?}], user = \"daemon\" }}"
        ),
    );
    bed
}

#[track_caller]
fn wait_recorded(bed: &TestBed, count: usize) -> Value {
    wait::eventually("the hook is told", || {
        bed.recorded_calls().into_iter().nth(count - 1)
    })
}

#[test]
fn hooks_are_told_of_a_grant_and_of_its_end_as_their_user() {
    let mut bed = test_bed("1s");
    bed.spad.start();
    bed.open(&["tcp/8080"]);
    let open = wait_recorded(&bed, 1);
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
    let close = wait_recorded(&bed, 2);
    assert_eq!(close["event"], "close");
    assert_eq!(close["address"], "192.0.2.2");
    assert_ne!(
        bed.tcp(WEB),
        Reachability::Open,
        "told before it was closed"
    );
    let output = bed.wait_audit_event("hook", 2);
    assert_eq!(
        (&output["command"], &output["exit"]),
        (&"close".into(), &0.into())
    );
}

#[test]
fn the_close_hook_runs_after_kill_minus_nine_for_what_ended_meanwhile() {
    let mut bed = test_bed("2s");
    bed.spad.start();
    bed.open(&["tcp/8080"]);
    let _ = wait_recorded(&bed, 1);
    bed.spad.kill();
    bed.wait_closed(WEB);
    assert_eq!(bed.recorded_calls().len(), 1, "nobody is there to tell");
    bed.spad.start();
    let close = wait_recorded(&bed, 2);
    assert_eq!(close["event"], "close");
    assert_eq!(close["client"], "laptop");
    // Once it was told it is not told again.
    let _ = bed.wait_audit_event("hook", 2);
    bed.spad.stop();
    bed.spad.start();
    bed.open(&["tcp/8080"]);
    assert_eq!(wait_recorded(&bed, 3)["event"], "open");
}

#[test]
fn the_close_hook_runs_after_kill_minus_nine_and_a_reboot() {
    let mut bed = test_bed("2s");
    bed.spad.start();
    bed.open(&["tcp/8080"]);
    let _ = wait_recorded(&bed, 1);
    bed.spad.kill();
    let _ = bed.spad.cli(&["firewall", "remove"]).ok();
    bed.spad.fake_new_boot();
    bed.spad.start();
    assert_eq!(wait_recorded(&bed, 2)["event"], "close");
}

#[test]
fn the_close_hook_of_a_grant_that_outlives_the_daemon_waits_for_its_end() {
    let mut bed = test_bed("4s");
    bed.spad.start();
    bed.open(&["tcp/8080"]);
    let _ = wait_recorded(&bed, 1);
    bed.spad.kill();
    bed.spad.start();
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    assert_eq!(bed.recorded_calls().len(), 1, "open still");
    bed.wait_closed(WEB);
    assert_eq!(wait_recorded(&bed, 2)["event"], "close");
}

#[test]
fn a_hook_that_fails_or_hangs_neither_holds_up_nor_undoes_a_grant() {
    let mut bed = test_bed("2s");
    let hang = bed.script("hang", "sleep 600");
    let hook = bed.lab.path().join("hook");
    let (from, to) = (
        format!("open = {{ argv = [{hook:?}]"),
        format!("open = {{ timeout = \"1s\", argv = [{hang:?}]"),
    );
    bed.replace_in_config("spad.toml", &from, &to);
    bed.spad.start();
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let output = bed.wait_audit_event("hook", 1);
    assert_eq!(output["timed_out"], true, "{output}");
    bed.wait_closed(WEB);
    assert_eq!(wait_recorded(&bed, 1)["event"], "close");
}
