//! Declared commands: run for those who may, as their user, and told with their output.

use serde_json::Value;
use spa_tests::lab::SERVER4;
use spa_tests::programs::run;
use spa_tests::reach::Reach;
use spa_tests::settings::{Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

/// A server with commands, not started, and the laptop that may run `who` and `slow`.
fn world() -> World {
    let world = World::stopped(&Settings::default());
    let who = world.script(
        "who",
        "echo \"$(id -un) $SPA_CLIENT $SPA_SOURCE $SPA_COMMAND $*\"; echo '\"}' >&2; exit 3",
    );
    let slow = world.script("slow", "echo here; exec sleep 600");
    let commands = format!(
        r#"[commands]
who = {{ argv = [{who:?}, "a b"], user = "daemon" }}
other = {{ argv = [{who:?}], user = "daemon" }}
slow = {{ argv = [{slow:?}], user = "daemon", timeout = "1s" }}"#
    );
    world.append("spad.toml", &commands);
    world.append("clients.d/laptop.toml", "commands = [\"who\", \"slow\"]");
    world
}

#[test]
fn a_packet_runs_a_declared_command_as_its_user_and_the_audit_tells_what_it_said() {
    let mut world = world();
    world.spad.start();
    let packet = world.laptop.seal(&run("who"));
    world.send_counted(&packet, "started");
    let started = world.audited("run_start", 1);
    assert_eq!(started["reason"], "started");
    assert_eq!(started["command"], "who");
    let ended = world.audited("run", 1);
    let said = "daemon laptop 192.0.2.2 who a b\n\"}\n";
    assert_eq!(ended["output"], said, "{ended}");
    assert_eq!(ended["exit"], 3);
    assert_eq!(ended["client"], "laptop");

    // The same packet again runs nothing; one over IPv6 does.
    world.send_as_stranger(&packet);
    world.spad.wait_counted("replay", 1);
    world.send6(&world.laptop.seal(&run("who")));
    world.spad.wait_counted("started", 2);
    let ended = world.audited("run", 2);
    let said = ended["output"].as_str().expect("an output");
    assert!(said.starts_with("daemon laptop 2001:db8::2 who"), "{said}");
}

#[test]
fn a_command_that_is_not_declared_or_not_the_clients_is_refused_with_its_reason() {
    let mut world = world();
    world.spad.start();
    world.send_counted(&world.laptop.seal(&run("nothing")), "command_unknown");
    world.send_counted(&world.laptop.seal(&run("other")), "command_not_allowed");
    let ran = |line: &Value| line["event"] == "run" || line["event"] == "run_start";
    assert!(!world.spad.audit().iter().any(ran));
}

#[test]
fn a_command_does_not_run_twice_at_once_and_its_time_limit_ends_it() {
    let mut world = world();
    world.spad.start();
    world.send_counted(&world.laptop.seal(&run("slow")), "started");
    world.send_counted(&world.laptop.seal(&run("slow")), "command_running");
    // Others go on meanwhile.
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
    let ended = world.audited("run", 1);
    assert_eq!(ended["timed_out"], true, "{ended}");
    assert_eq!(ended["output"], "here\n");
    let took = ended["duration_ms"].as_u64().expect("a time");
    assert!((1000..3000).contains(&took), "{took}");
}

#[test]
fn a_reload_changes_what_may_be_run_and_a_wrong_one_changes_nothing() {
    let mut world = world();
    world.spad.start();
    world.send_counted(&world.laptop.seal(&run("other")), "command_not_allowed");
    world.replace("clients.d/laptop.toml", "\"slow\"", "\"other\"");
    world.spad.reload();
    world.send_counted(&world.laptop.seal(&run("other")), "started");
    world.send_counted(&world.laptop.seal(&run("slow")), "command_not_allowed");

    world.replace("spad.toml", "\"daemon\"", "\"no-such-user\"");
    let refused = world.spad.cli(&["reload"]);
    assert!(!refused.success);
    let said = refused.stderr;
    assert!(said.contains("there is no user `no-such-user`"), "{said}");
    world.send_counted(&world.laptop.seal(&run("other")), "started");
}

#[test]
fn a_user_or_program_that_is_missing_at_the_start_keeps_no_door_shut() {
    let mut world = world();
    world.replace("spad.toml", "\"daemon\"", "\"no-such-user\"");
    world.spad.start();
    assert!(
        world
            .spad
            .said()
            .contains("there is no user `no-such-user`")
    );
    world.send_counted(&world.laptop.seal(&run("who")), "runner_failed");
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn a_program_that_its_user_may_not_execute_is_told_with_the_mend() {
    use std::os::unix::fs::PermissionsExt as _;

    let mut world = world();
    let private = world.script("private", "exit 0");
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(&private, mode).expect("its owner's alone");
    // What `who` runs from now on.
    let who = private.with_file_name("who");
    world.replace(
        "spad.toml",
        &format!("who = {{ argv = [{who:?}"),
        &format!("who = {{ argv = [{private:?}"),
    );
    world.spad.start();
    world.send_counted(&world.laptop.seal(&run("who")), "runner_failed");
    wait::soon("the log tells how to mend it", || {
        world
            .spad
            .said()
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
    let mut world = world();
    world.replace("spad.toml", "\"daemon\"", &format!("\"{user}\""));
    let found = world.spad.cli(&["check"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    let text = format!("processes of spad run as `{user}` here");
    assert!(found.stderr.contains(&text), "{found:?}");
    // A start keeps no door shut for it, and runs it not.
    world.spad.start();
    world.send_counted(&world.laptop.seal(&run("who")), "runner_failed");
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn a_first_command_needs_a_restart_and_says_so() {
    let world = World::new();
    let who = world.script("who", "exit 0");
    let commands = format!("[commands]\nwho = {{ argv = [{who:?}], user = \"daemon\" }}");
    world.append("spad.toml", &commands);
    world.append("clients.d/laptop.toml", "commands = [\"who\"]");
    let reload = world.spad.cli(&["reload"]).ok();
    let said = format!("{}{}", reload.stdout, reload.stderr);
    assert!(said.contains("needs a restart"), "{said}");
    world.send_counted(&world.laptop.seal(&run("who")), "runner_gone");
}

#[test]
fn the_runner_keeps_three_capabilities_and_its_end_ends_the_engine_and_what_it_ran() {
    let mut world = world();
    world.replace("spad.toml", "timeout = \"1s\"", "timeout = \"1h\"");
    world.spad.start();
    world.send_counted(&world.laptop.seal(&run("slow")), "started");
    let sleeps = wait::soon("the command runs", || world.process_with("sleep 600"));
    let runner = world.process_with(" command-runner ").expect("the runner");
    let status = std::fs::read_to_string(format!("/proc/{runner}/status")).expect("its status");
    // CAP_KILL, CAP_SETGID, CAP_SETUID.
    let permitted = format!("CapPrm:\t{:016x}", (1 << 5) | (1 << 6) | (1 << 7));
    assert!(status.contains(&permitted), "{status}");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(!status.contains("Uid:\t0\t"), "{status}");

    let id = rustix::process::Pid::from_raw(runner).expect("a process id");
    rustix::process::kill_process(id, rustix::process::Signal::KILL).expect("its end");
    let status = wait::soon("the engine ends too", || world.spad.process().ended());
    assert!(!status.success());
    let said = world.spad.said();
    assert!(said.contains("the command runner has ended"), "{said}");
    wait::soon("the command ends too", || {
        (world.process_with("sleep 600") != Some(sleeps)).then_some(())
    });
}

#[test]
fn a_running_command_ends_with_the_daemon() {
    let mut world = world();
    world.replace("spad.toml", "timeout = \"1s\"", "timeout = \"1h\"");
    world.spad.start();
    world.send_counted(&world.laptop.seal(&run("slow")), "started");
    let sleeps = || world.process_with("sleep 600");
    let _ = wait::soon("the command runs", sleeps);
    world.spad.kill();
    let sleeps = || world.process_with("sleep 600");
    wait::soon("it ends too", || sleeps().is_none().then_some(()));
}

#[test]
fn without_commands_there_is_no_runner() {
    let world = World::new();
    assert_eq!(world.process_with(" command-runner "), None);
}

#[test]
fn spa_run_runs_a_command_once_as_its_declared_user() {
    let mut world = world();
    world.spad.start();
    world.enrol_spa(SERVER4.into());
    let asked = world.spa(&["run", "gw", "who", "--json"]);
    // Sent; whether it ran, no server says.
    assert_eq!(asked.code, Some(3), "{asked:?}");
    assert_eq!(asked.json()["exit"], 3, "{asked:?}");
    let ended = world.audited("run", 1);
    assert_eq!(ended["client"], "laptop", "{ended}");
    assert_eq!(ended["command"], "who", "{ended}");
    let said = "daemon laptop 192.0.2.2 who a b\n\"}\n";
    assert_eq!(ended["output"], said, "{ended}");

    // One packet, sent once: a second one would have run it again.
    let again = world.spa(&["run", "gw", "other"]);
    assert_eq!(again.code, Some(3), "{again:?}");
    world.spad.wait_counted("command_not_allowed", 1);
    let runs = |event: &str| {
        let lines = world.spad.audit().into_iter();
        lines.filter(|line| line["event"] == event).count()
    };
    assert_eq!((runs("run_start"), runs("run")), (1, 1));
    assert_eq!(world.spad.verdicts().values().sum::<u64>(), 2);
}

#[test]
fn spa_run_sends_nothing_for_a_name_that_is_none_or_a_rehearsal() {
    let mut world = world();
    world.spad.start();
    world.enrol_spa(SERVER4.into());
    for (arguments, code) in [
        (&["run", "gw", "who;id"][..], 2),
        (&["run", "gw:ssh", "who"][..], 2),
        (&["run", "elsewhere", "who"][..], 6),
        (&["run", "gw", "who", "--dry-run"][..], 0),
    ] {
        let asked = world.spa(arguments);
        assert_eq!(asked.code, Some(code), "{arguments:?}: {asked:?}");
    }
    // What comes after them is the first packet that the server sees.
    assert_eq!(world.spa(&["run", "gw", "who"]).code, Some(3));
    let _ = world.audited("run", 1);
    assert_eq!(world.spad.verdicts().values().sum::<u64>(), 1);
}
