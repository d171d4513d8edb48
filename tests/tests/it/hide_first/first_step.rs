//! Hiding is the first step: whatever comes after the configuration may hang or fail.

use std::fs::File;
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

use super::{hide_exposed_too, hides, stopped};
use spa_tests::binaries;
use spa_tests::process::{Finished, Process, run};
use spa_tests::reach::Reachability;
use spa_tests::settings::{EXPOSED, Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// The two commands that hide.
const COMMANDS: [&[&str]; 2] = [&["firewall", "load"], &["run"]];

/// The server's users on this machine, by this file in the place of `/etc/passwd`.
fn users(bed: &mut TestBed, text: &str) {
    let file = bed.lab.path().join("passwd");
    std::fs::write(&file, text).expect("a file");
    bed.spad.bind_mount("/etc/passwd", file);
}

fn make_fifo(bed: &TestBed, name: &str) -> std::path::PathBuf {
    let path = bed.lab.path().join(name);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a named pipe");
    path
}

/// Something makes both commands wait without end; what is hidden is hidden by then.
#[track_caller]
fn hides_while_it_hangs(hang: fn(&mut TestBed)) {
    let mut bed = stopped();
    hang(&mut bed);
    for command in COMMANDS {
        let context = format!("{command:?}");
        assert_eq!(
            bed.tcp(WEB),
            Reachability::Open,
            "{context}: nothing hides yet"
        );
        let mut process = bed.spad.spawn_alongside(command);
        wait::eventually(&context, || {
            (bed.tcp(WEB) != Reachability::Open).then_some(())
        });
        hides(&bed, &context);
        assert!(process.try_wait().is_none(), "{context}: it does not wait");
        process.signal(Signal::KILL);
        bed.spad.kill_all();
        assert_ne!(bed.tcp(WEB), Reachability::Open, "{context}: it was ended");
        let _ = bed.spad.cli(&["firewall", "remove"]).ok();
    }
}

#[test]
fn a_disk_of_the_state_that_answers_nothing_shows_nothing() {
    hides_while_it_hangs(|bed| {
        // A file system in user space, whose user answers nothing.
        let state = bed.spad.state().display().to_string();
        let script = format!(
            "exec 9<>/dev/fuse; mount -i -n -t fuse hung {state} -o fd=9,rootmode=40000,user_id=0,group_id=0 && exec \"$@\""
        );
        bed.spad.set_wrapper(&["sh", "-c", &script, "sh"]);
    });
}

#[test]
fn whoever_does_not_read_what_is_said_shows_nothing() {
    hides_while_it_hangs(|bed| {
        users(
            bed,
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        );
        let unread = make_fifo(bed, "unread").display().to_string();
        let script = format!("exec 2<>{unread}; head -c 65536 /dev/zero >&2; exec \"$@\"");
        let too_few = [
            "setpriv",
            "--bounding-set=-sys_resource",
            "prlimit",
            "--nofile=200",
        ];
        let wrapper = ["sh", "-c", &script, "sh"];
        bed.spad.set_wrapper(&[&wrapper[..], &too_few].concat());
    });
}

#[test]
fn a_name_service_that_answers_nothing_shows_nothing() {
    hides_while_it_hangs(|bed| {
        let nobody_writes = make_fifo(bed, "names");
        bed.spad.bind_mount("/etc/passwd", nobody_writes);
    });
}

/// Runs a command to its end, its outputs in a file; gives how it ended and what it said.
#[track_caller]
fn run_to_exit(bed: &mut TestBed, command: &[&str]) -> (std::process::ExitStatus, String) {
    let mut process: Process = bed.spad.spawn_alongside(command);
    let status = wait::eventually("it ends", || process.try_wait());
    (status, process.output())
}

#[test]
fn a_log_that_takes_nothing_more_ends_nobody() {
    let mut bed = stopped();
    users(
        &mut bed,
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    );
    // Standard error is a regular file here.
    bed.spad.set_wrapper(&["prlimit", "--fsize=0"]);
    let (status, output) = run_to_exit(&mut bed, &["firewall", "load"]);
    assert_eq!(
        status.code(),
        Some(1),
        "{status}: its result is not written"
    );
    assert_eq!(output, "");
    hides(&bed, "load");
    let shown = bed.spad.cli(&["firewall", "show"]).ok().stdout;
    assert!(!shown.contains("emergency"), "{shown}");
    let _ = bed.spad.cli(&["firewall", "remove"]).ok();
    bed.spad.start();
    hides(&bed, "run");
    assert!(bed.spad.process().try_wait().is_none());
}

#[test]
fn a_kernel_that_forbids_no_calls_shows_nothing() {
    let mut bed = stopped();
    bed.spad.set_wrapper(&[
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "inject=seccomp:error=EINVAL",
    ]);
    for command in COMMANDS {
        let ended = bed.spad.cli_under_wrapper(command);
        assert_eq!(ended.code, Some(1), "{command:?}: {}", ended.stderr);
        let expected = "an emergency table inet spad drops the hidden ports";
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
        hides(&bed, &format!("{command:?}"));
        let _ = bed.spad.cli(&["firewall", "remove"]).ok();
        assert_eq!(bed.tcp(WEB), Reachability::Open, "nothing hides between");
    }
}

/// Runs `spad` in a directory that is gone, with a path of its configuration from there.
fn run_in_deleted_directory(bed: &TestBed, command: &[&str]) -> Finished {
    let above = bed.spad.config();
    let above = above.parent().expect("a directory above");
    let mut all = Command::new("ip");
    all.args(["netns", "exec", bed.lab.server.name(), "sh", "-c"])
        .arg("cd \"$1\" && shift && mkdir gone && cd gone && rmdir ../gone && exec \"$@\"")
        .arg("sh")
        .arg(above)
        .arg(binaries::spad())
        .args(command)
        .args(["--config", "../config"])
        .arg("--state")
        .arg(bed.spad.state())
        .arg("--run")
        .arg(above.join("run"));
    run(&mut all)
}

#[test]
fn a_working_directory_that_is_gone_shows_nothing() {
    let bed = stopped();
    for command in COMMANDS {
        let ended = run_in_deleted_directory(&bed, command);
        assert_eq!(ended.code, Some(1), "{command:?}: {}", ended.stderr);
        for part in ["the working directory is gone", "help: "] {
            assert!(ended.stderr.contains(part), "{command:?}: {}", ended.stderr);
        }
        hides(&bed, &format!("{command:?}"));
        let _ = bed.spad.cli(&["firewall", "remove"]).ok();
        assert_eq!(bed.tcp(WEB), Reachability::Open, "nothing hides between");
    }
}

/// The state directory, held as a backup holds it.
fn lock_state(bed: &TestBed) -> File {
    let state = File::open(bed.spad.state()).expect("the state");
    flock(&state, FlockOperation::NonBlockingLockExclusive).expect("nobody holds it");
    state
}

#[test]
fn whoever_holds_the_state_keeps_nothing_from_being_hidden() {
    let bed = stopped();
    let state = lock_state(&bed);
    for table in ["emergency", "loaded; hidden"] {
        let is_full = table != "emergency";
        if is_full {
            let _ = bed.spad.cli(&["firewall", "load"]).ok();
        }
        let ended = bed.spad.cli(&["run"]);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        for part in ["is in use by another spad", "help: "] {
            assert!(ended.stderr.contains(part), "{}", ended.stderr);
        }
        hides(&bed, table);
        // What the table that stands does not hide yet.
        hide_exposed_too(&bed);
        assert!(!bed.spad.cli(&["run"]).success);
        for port in [WEB, EXPOSED] {
            assert_ne!(bed.tcp(port), Reachability::Open, "{table}: {port}");
        }
        let shown = bed.spad.cli(&["firewall", "show"]).ok().stdout;
        assert!(shown.contains(table), "{shown}");
        bed.spad.configure(&Settings {
            trial: "0s",
            ..Settings::default()
        });
    }
    drop(state);
}

#[test]
fn a_port_that_is_shown_after_its_trial_is_shown_again_once_that_is_read() {
    let mut bed = stopped();
    // As it is written, with its check value.
    let trials =
        "{\"number\":9,\"ports\":{\"tcp/8080\":{\"standing\":\"shown\"}}}\ncheck cd44888b\n";
    std::fs::write(bed.spad.state().join("guard/trials.json"), trials).expect("trials");
    let state = lock_state(&bed);
    let seen = |bed: &TestBed, context: &str| {
        assert_eq!(bed.tcp(WEB), Reachability::Open, "{context}");
        assert_ne!(bed.tcp6(22), Reachability::Open, "{context}");
        for seen in &bed.probe_hidden()[2..] {
            assert_ne!(*seen, Reachability::Open, "{context}");
        }
    };
    assert!(!bed.spad.cli(&["run"]).success);
    seen(&bed, "in an emergency table");
    let _ = bed.spad.cli(&["firewall", "load"]).ok();
    seen(&bed, "in a full table");
    assert!(!bed.spad.cli(&["run"]).success);
    seen(&bed, "in a full table that stood");
    drop(state);
    bed.spad.start();
    seen(&bed, "in that of a daemon");
}

#[test]
fn a_second_daemon_leaves_the_table_of_the_first_as_it_is() {
    let mut bed = stopped();
    bed.spad.start();
    hide_exposed_too(&bed);
    let second = bed.spad.cli(&["run"]);
    assert!(!second.success);
    assert_eq!(bed.tcp(EXPOSED), Reachability::Open, "until it is reloaded");
    bed.spad.reload();
    wait::eventually("the port is hidden", || {
        (bed.tcp(EXPOSED) != Reachability::Open).then_some(())
    });
}

#[test]
fn grants_that_cannot_be_listed_keep_no_table_from_being_loaded() {
    let mut bed = stopped();
    // The first two questions are of the first step, and the third is for grants.
    bed.spad.set_wrapper(&[
        "strace",
        "-o",
        "/dev/null",
        "-e",
        "inject=sendto:error=EIO:when=3",
    ]);
    let load = bed.spad.cli_under_wrapper(&["firewall", "load"]).ok();
    let expected = "the grants in the table that stands cannot be listed: ";
    assert!(load.stderr.contains(expected), "{}", load.stderr);
    hides(&bed, "load");
    let shown = bed.spad.cli(&["firewall", "show"]).ok().stdout;
    assert!(!shown.contains("emergency"), "{shown}");
}
