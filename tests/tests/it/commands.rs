//! Declared commands: run for those who may, as their user, and told with their output.

use serde_json::Value;
use spa_tests::lab::SERVER4;
use spa_tests::programs::run_request;
use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// A server with commands, not started, and the laptop that may run `who` and `slow`.
fn test_bed() -> TestBed {
    let bed = TestBed::stopped(&Settings::default());
    let who = bed.script(
        "who",
        "echo \"$(id -un) $SPA_CLIENT $SPA_SOURCE $SPA_COMMAND $*\"; echo '\"}' >&2; exit 3",
    );
    let slow = bed.script("slow", "echo here; exec sleep 600");
    let commands = format!(
        r#"[commands]
who = {{ argv = [{who:?}, "a b"], user = "daemon" }}
other = {{ argv = [{who:?}], user = "daemon" }}
slow = {{ argv = [{slow:?}], user = "daemon", timeout = "1s" }}"#
    );
    bed.append_config("spad.toml", &commands);
    bed.append_config("clients.d/laptop.toml", "commands = [\"who\", \"slow\"]");
    bed
}

#[test]
fn a_packet_runs_a_declared_command_as_its_user_and_the_audit_tells_what_it_said() {
    let mut bed = test_bed();
    bed.spad.start();
    let packet = bed.laptop.seal(&run_request("who"));
    bed.send_counted(&packet, "started");
    let started = bed.wait_audit_event("run_start", 1);
    assert_eq!(started["reason"], "started");
    assert_eq!(started["command"], "who");
    let ended = bed.wait_audit_event("run", 1);
    let output = "daemon laptop 192.0.2.2 who a b\n\"}\n";
    assert_eq!(ended["output"], output, "{ended}");
    assert_eq!(ended["exit"], 3);
    assert_eq!(ended["client"], "laptop");

    // The same packet again runs nothing; one over IPv6 does.
    bed.send_as_stranger(&packet);
    bed.spad.wait_verdict_count("replay", 1);
    bed.send6(&bed.laptop.seal(&run_request("who")));
    bed.spad.wait_verdict_count("started", 2);
    let ended = bed.wait_audit_event("run", 2);
    let output = ended["output"].as_str().expect("an output");
    assert!(
        output.starts_with("daemon laptop 2001:db8::2 who"),
        "{output}"
    );
}

#[test]
fn a_command_that_is_not_declared_or_not_the_clients_is_refused_with_its_reason() {
    let mut bed = test_bed();
    bed.spad.start();
    bed.send_counted(&bed.laptop.seal(&run_request("nothing")), "command_unknown");
    bed.send_counted(
        &bed.laptop.seal(&run_request("other")),
        "command_not_allowed",
    );
    let ran = |line: &Value| line["event"] == "run" || line["event"] == "run_start";
    assert!(!bed.spad.audit().iter().any(ran));
}

#[test]
fn a_command_does_not_run_twice_at_once_and_its_time_limit_ends_it() {
    let mut bed = test_bed();
    bed.spad.start();
    bed.send_counted(&bed.laptop.seal(&run_request("slow")), "started");
    bed.send_counted(&bed.laptop.seal(&run_request("slow")), "command_running");
    // Others go on meanwhile.
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let ended = bed.wait_audit_event("run", 1);
    assert_eq!(ended["timed_out"], true, "{ended}");
    assert_eq!(ended["output"], "here\n");
    let elapsed = ended["duration_ms"].as_u64().expect("a time");
    assert!((1000..3000).contains(&elapsed), "{elapsed}");
}

#[test]
fn a_reload_changes_what_may_be_run_and_a_wrong_one_changes_nothing() {
    let mut bed = test_bed();
    bed.spad.start();
    bed.send_counted(
        &bed.laptop.seal(&run_request("other")),
        "command_not_allowed",
    );
    bed.replace_in_config("clients.d/laptop.toml", "\"slow\"", "\"other\"");
    bed.spad.reload();
    bed.send_counted(&bed.laptop.seal(&run_request("other")), "started");
    bed.send_counted(
        &bed.laptop.seal(&run_request("slow")),
        "command_not_allowed",
    );

    bed.replace_in_config("spad.toml", "\"daemon\"", "\"no-such-user\"");
    let refused = bed.spad.cli(&["reload"]);
    assert!(!refused.success);
    let output = refused.stderr;
    assert!(
        output.contains("there is no user `no-such-user`"),
        "{output}"
    );
    bed.send_counted(&bed.laptop.seal(&run_request("other")), "started");
}

#[test]
fn a_user_or_program_that_is_missing_at_the_start_keeps_no_door_shut() {
    let mut bed = test_bed();
    bed.replace_in_config("spad.toml", "\"daemon\"", "\"no-such-user\"");
    bed.spad.start();
    assert!(
        bed.spad
            .output()
            .contains("there is no user `no-such-user`")
    );
    bed.send_counted(&bed.laptop.seal(&run_request("who")), "runner_failed");
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn a_program_that_its_user_may_not_execute_is_told_with_the_mend() {
    use std::os::unix::fs::PermissionsExt as _;

    let mut bed = test_bed();
    let private = bed.script("private", "exit 0");
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(&private, mode).expect("its owner's alone");
    // What `who` runs from now on.
    let who = private.with_file_name("who");
    bed.replace_in_config(
        "spad.toml",
        &format!("who = {{ argv = [{who:?}"),
        &format!("who = {{ argv = [{private:?}"),
    );
    bed.spad.start();
    bed.send_counted(&bed.laptop.seal(&run_request("who")), "runner_failed");
    wait::eventually("the log tells how to mend it", || {
        bed.spad
            .output()
            .contains("its user must be able to execute the program")
            .then_some(())
    });
}

#[test]
fn no_command_runs_as_a_user_of_the_daemon() {
    // Of these users, those that this machine has not are stood in for by `nobody`.
    let own = ["spad", "spad-fw", "spad-run"];
    let users = std::fs::read_to_string("/etc/passwd").expect("the users");
    let known = |name: &&str| {
        users
            .lines()
            .any(|line| line.starts_with(&format!("{name}:")))
    };
    let user = own.into_iter().find(known).unwrap_or("nobody");
    let mut bed = test_bed();
    bed.replace_in_config("spad.toml", "\"daemon\"", &format!("\"{user}\""));
    let found = bed.spad.cli(&["check"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    let text = format!("processes of spad run as `{user}` here");
    assert!(found.stderr.contains(&text), "{found:?}");
    // A start keeps no door shut for it, and runs it not.
    bed.spad.start();
    bed.send_counted(&bed.laptop.seal(&run_request("who")), "runner_failed");
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn a_first_command_needs_a_restart_and_says_so() {
    let bed = TestBed::new();
    let who = bed.script("who", "exit 0");
    let commands = format!("[commands]\nwho = {{ argv = [{who:?}], user = \"daemon\" }}");
    bed.append_config("spad.toml", &commands);
    bed.append_config("clients.d/laptop.toml", "commands = [\"who\"]");
    let reload = bed.spad.cli(&["reload"]).ok();
    let output = format!("{}{}", reload.stdout, reload.stderr);
    assert!(output.contains("needs a restart"), "{output}");
    bed.send_counted(&bed.laptop.seal(&run_request("who")), "runner_gone");
}

#[test]
fn the_runner_keeps_three_capabilities_and_its_end_ends_the_engine_and_what_it_ran() {
    let mut bed = test_bed();
    bed.replace_in_config("spad.toml", "timeout = \"1s\"", "timeout = \"1h\"");
    bed.spad.start();
    bed.send_counted(&bed.laptop.seal(&run_request("slow")), "started");
    let sleeps = wait::eventually("the command runs", || bed.process_matching("sleep 600"));
    let runner = bed
        .process_matching(" command-runner ")
        .expect("the runner");
    let status = std::fs::read_to_string(format!("/proc/{runner}/status")).expect("its status");
    // CAP_KILL, CAP_SETGID, CAP_SETUID.
    let permitted = format!("CapPrm:\t{:016x}", (1 << 5) | (1 << 6) | (1 << 7));
    assert!(status.contains(&permitted), "{status}");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(!status.contains("Uid:\t0\t"), "{status}");

    let id = rustix::process::Pid::from_raw(runner).expect("a process id");
    rustix::process::kill_process(id, rustix::process::Signal::KILL).expect("its end");
    let status = wait::eventually("the engine ends too", || bed.spad.process().try_wait());
    assert!(!status.success());
    let output = bed.spad.output();
    assert!(output.contains("the command runner has ended"), "{output}");
    wait::eventually("the command ends too", || {
        (bed.process_matching("sleep 600") != Some(sleeps)).then_some(())
    });
}

#[test]
fn a_running_command_ends_with_the_daemon() {
    let mut bed = test_bed();
    bed.replace_in_config("spad.toml", "timeout = \"1s\"", "timeout = \"1h\"");
    bed.spad.start();
    bed.send_counted(&bed.laptop.seal(&run_request("slow")), "started");
    let sleeps = || bed.process_matching("sleep 600");
    let _ = wait::eventually("the command runs", sleeps);
    bed.spad.kill();
    let sleeps = || bed.process_matching("sleep 600");
    wait::eventually("it ends too", || sleeps().is_none().then_some(()));
}

#[test]
fn without_commands_there_is_no_runner() {
    let bed = TestBed::new();
    assert_eq!(bed.process_matching(" command-runner "), None);
}

#[test]
fn spa_run_runs_a_command_once_as_its_declared_user() {
    let mut bed = test_bed();
    bed.spad.start();
    bed.enrol_spa(SERVER4.into());
    let asked = bed.spa(&["run", "gw", "who", "--json"]);
    // Sent; whether it ran, no server says.
    assert_eq!(asked.code, Some(3), "{asked:?}");
    assert_eq!(asked.json()["exit"], 3, "{asked:?}");
    let ended = bed.wait_audit_event("run", 1);
    assert_eq!(ended["client"], "laptop", "{ended}");
    assert_eq!(ended["command"], "who", "{ended}");
    let expected = "daemon laptop 192.0.2.2 who a b\n\"}\n";
    assert_eq!(ended["output"], expected, "{ended}");

    // One packet, sent once: a second one would have run it again.
    let again = bed.spa(&["run", "gw", "other"]);
    assert_eq!(again.code, Some(3), "{again:?}");
    bed.spad.wait_verdict_count("command_not_allowed", 1);
    let runs = |event: &str| {
        let lines = bed.spad.audit().into_iter();
        lines.filter(|line| line["event"] == event).count()
    };
    assert_eq!((runs("run_start"), runs("run")), (1, 1));
    assert_eq!(bed.spad.verdicts().values().sum::<u64>(), 2);
}

#[test]
fn spa_run_sends_nothing_for_a_name_that_is_none_or_a_rehearsal() {
    let mut bed = test_bed();
    bed.spad.start();
    bed.enrol_spa(SERVER4.into());
    for (arguments, code) in [
        (&["run", "gw", "who;id"][..], 2),
        (&["run", "gw:ssh", "who"][..], 2),
        (&["run", "elsewhere", "who"][..], 6),
        (&["run", "gw", "who", "--dry-run"][..], 0),
    ] {
        let asked = bed.spa(arguments);
        assert_eq!(asked.code, Some(code), "{arguments:?}: {asked:?}");
    }
    // What comes after them is the first packet that the server sees.
    assert_eq!(bed.spa(&["run", "gw", "who"]).code, Some(3));
    let _ = bed.wait_audit_event("run", 1);
    assert_eq!(bed.spad.verdicts().values().sum::<u64>(), 1);
}
