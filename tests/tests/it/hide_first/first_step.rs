//! Hiding is the first step: whatever comes after the configuration may hang or fail.

use std::fs::File;
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

use super::{hide_shown_too, hides, stopped};
use spa_tests::binaries;
use spa_tests::process::{Finished, Process, run};
use spa_tests::reach::Reach;
use spa_tests::settings::{SHOWN, Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

/// The two commands that hide.
const COMMANDS: [&[&str]; 2] = [&["firewall", "load"], &["run"]];

/// The server's users on this machine, by this file in the place of `/etc/passwd`.
fn users(world: &mut World, text: &str) {
    let file = world.lab.path().join("passwd");
    std::fs::write(&file, text).expect("a file");
    world.spad.put_in_place("/etc/passwd", file);
}

fn pipe(world: &World, name: &str) -> std::path::PathBuf {
    let path = world.lab.path().join(name);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a named pipe");
    path
}

/// Something makes both commands wait without end; what is hidden is hidden by then.
#[track_caller]
fn hides_while_it_hangs(hang: fn(&mut World)) {
    let mut world = stopped();
    hang(&mut world);
    for command in COMMANDS {
        let where_ = format!("{command:?}");
        assert_eq!(world.tcp(WEB), Reach::Open, "{where_}: nothing hides yet");
        let mut process = world.spad.beside(command);
        wait::soon(&where_, || (world.tcp(WEB) != Reach::Open).then_some(()));
        hides(&world, &where_);
        assert!(process.ended().is_none(), "{where_}: it does not wait");
        process.signal(Signal::KILL);
        world.spad.end_rest();
        assert_ne!(world.tcp(WEB), Reach::Open, "{where_}: it was ended");
        let _ = world.spad.cli(&["firewall", "remove"]).ok();
    }
}

#[test]
fn a_disk_of_the_state_that_answers_nothing_shows_nothing() {
    hides_while_it_hangs(|world| {
        // A file system in user space, whose user answers nothing.
        let state = world.spad.state().display().to_string();
        let script = format!(
            "exec 9<>/dev/fuse; mount -i -n -t fuse hung {state} -o fd=9,rootmode=40000,user_id=0,group_id=0 && exec \"$@\""
        );
        world.spad.start_behind(&["sh", "-c", &script, "sh"]);
    });
}

#[test]
fn whoever_does_not_read_what_is_said_shows_nothing() {
    hides_while_it_hangs(|world| {
        users(
            world,
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        );
        let unread = pipe(world, "unread").display().to_string();
        let script = format!("exec 2<>{unread}; head -c 65536 /dev/zero >&2; exec \"$@\"");
        let too_few = [
            "setpriv",
            "--bounding-set=-sys_resource",
            "prlimit",
            "--nofile=200",
        ];
        let wrapper = ["sh", "-c", &script, "sh"];
        world.spad.start_behind(&[&wrapper[..], &too_few].concat());
    });
}

#[test]
fn a_name_service_that_answers_nothing_shows_nothing() {
    hides_while_it_hangs(|world| {
        let nobody_writes = pipe(world, "names");
        world.spad.put_in_place("/etc/passwd", nobody_writes);
    });
}

/// Runs a command to its end, its outputs in a file; gives how it ended and what it said.
#[track_caller]
fn to_its_end(world: &mut World, command: &[&str]) -> (std::process::ExitStatus, String) {
    let mut process: Process = world.spad.beside(command);
    let status = wait::soon("it ends", || process.ended());
    (status, process.said())
}

#[test]
fn a_log_that_takes_nothing_more_ends_nobody() {
    let mut world = stopped();
    users(
        &mut world,
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    );
    // Standard error is a regular file here.
    world.spad.start_behind(&["prlimit", "--fsize=0"]);
    let (status, said) = to_its_end(&mut world, &["firewall", "load"]);
    assert_eq!(
        status.code(),
        Some(1),
        "{status}: its result is not written"
    );
    assert_eq!(said, "");
    hides(&world, "load");
    let shown = world.spad.cli(&["firewall", "show"]).ok().stdout;
    assert!(!shown.contains("emergency"), "{shown}");
    let _ = world.spad.cli(&["firewall", "remove"]).ok();
    world.spad.start();
    hides(&world, "run");
    assert!(world.spad.process().ended().is_none());
}

#[test]
fn a_kernel_that_forbids_no_calls_shows_nothing() {
    let mut world = stopped();
    world.spad.start_behind(&[
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "inject=seccomp:error=EINVAL",
    ]);
    for command in COMMANDS {
        let ended = world.spad.behind(command);
        assert_eq!(ended.code, Some(1), "{command:?}: {}", ended.stderr);
        let said = "an emergency table inet spad drops the hidden ports";
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
        hides(&world, &format!("{command:?}"));
        let _ = world.spad.cli(&["firewall", "remove"]).ok();
        assert_eq!(world.tcp(WEB), Reach::Open, "nothing hides between");
    }
}

/// Runs `spad` in a directory that is gone, with a path of its configuration from there.
fn in_no_directory(world: &World, command: &[&str]) -> Finished {
    let above = world.spad.config();
    let above = above.parent().expect("a directory above");
    let mut all = Command::new("ip");
    all.args(["netns", "exec", world.lab.server.name(), "sh", "-c"])
        .arg("cd \"$1\" && shift && mkdir gone && cd gone && rmdir ../gone && exec \"$@\"")
        .arg("sh")
        .arg(above)
        .arg(binaries::spad())
        .args(command)
        .args(["--config", "../config"])
        .arg("--state")
        .arg(world.spad.state())
        .arg("--run")
        .arg(above.join("run"));
    run(&mut all)
}

#[test]
fn a_working_directory_that_is_gone_shows_nothing() {
    let world = stopped();
    for command in COMMANDS {
        let ended = in_no_directory(&world, command);
        assert_eq!(ended.code, Some(1), "{command:?}: {}", ended.stderr);
        for part in ["the working directory is gone", "help: "] {
            assert!(ended.stderr.contains(part), "{command:?}: {}", ended.stderr);
        }
        hides(&world, &format!("{command:?}"));
        let _ = world.spad.cli(&["firewall", "remove"]).ok();
        assert_eq!(world.tcp(WEB), Reach::Open, "nothing hides between");
    }
}

/// The state directory, held as a backup holds it.
fn held(world: &World) -> File {
    let state = File::open(world.spad.state()).expect("the state");
    flock(&state, FlockOperation::NonBlockingLockExclusive).expect("nobody holds it");
    state
}

#[test]
fn whoever_holds_the_state_keeps_nothing_from_being_hidden() {
    let world = stopped();
    let state = held(&world);
    for table in ["emergency", "loaded; hidden"] {
        let is_full = table != "emergency";
        if is_full {
            let _ = world.spad.cli(&["firewall", "load"]).ok();
        }
        let ended = world.spad.cli(&["run"]);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        for part in ["is in use by another spad", "help: "] {
            assert!(ended.stderr.contains(part), "{}", ended.stderr);
        }
        hides(&world, table);
        // What the table that stands does not hide yet.
        hide_shown_too(&world);
        assert!(!world.spad.cli(&["run"]).success);
        for port in [WEB, SHOWN] {
            assert_ne!(world.tcp(port), Reach::Open, "{table}: {port}");
        }
        let shown = world.spad.cli(&["firewall", "show"]).ok().stdout;
        assert!(shown.contains(table), "{shown}");
        world.spad.configure(&Settings {
            trial: "0s",
            ..Settings::default()
        });
    }
    drop(state);
}

#[test]
fn a_port_that_is_shown_after_its_trial_is_shown_again_once_that_is_read() {
    let mut world = stopped();
    // As it is written, with its check value.
    let trials =
        "{\"number\":9,\"ports\":{\"tcp/8080\":{\"standing\":\"shown\"}}}\ncheck cd44888b\n";
    std::fs::write(world.spad.state().join("guard/trials.json"), trials).expect("trials");
    let state = held(&world);
    let seen = |world: &World, where_: &str| {
        assert_eq!(world.tcp(WEB), Reach::Open, "{where_}");
        assert_ne!(world.tcp6(22), Reach::Open, "{where_}");
        for seen in &world.hidden()[2..] {
            assert_ne!(*seen, Reach::Open, "{where_}");
        }
    };
    assert!(!world.spad.cli(&["run"]).success);
    seen(&world, "in an emergency table");
    let _ = world.spad.cli(&["firewall", "load"]).ok();
    seen(&world, "in a full table");
    assert!(!world.spad.cli(&["run"]).success);
    seen(&world, "in a full table that stood");
    drop(state);
    world.spad.start();
    seen(&world, "in that of a daemon");
}

#[test]
fn a_second_daemon_leaves_the_table_of_the_first_as_it_is() {
    let mut world = stopped();
    world.spad.start();
    hide_shown_too(&world);
    let second = world.spad.cli(&["run"]);
    assert!(!second.success);
    assert_eq!(world.tcp(SHOWN), Reach::Open, "until it is reloaded");
    world.spad.reload();
    wait::soon("the port is hidden", || {
        (world.tcp(SHOWN) != Reach::Open).then_some(())
    });
}

#[test]
fn grants_that_cannot_be_listed_keep_no_table_from_being_loaded() {
    let mut world = stopped();
    // The first two questions are of the first step, and the third is for grants.
    world.spad.start_behind(&[
        "strace",
        "-o",
        "/dev/null",
        "-e",
        "inject=sendto:error=EIO:when=3",
    ]);
    let load = world.spad.behind(&["firewall", "load"]).ok();
    let said = "the grants in the table that stands cannot be listed: ";
    assert!(load.stderr.contains(said), "{}", load.stderr);
    hides(&world, "load");
    let shown = world.spad.cli(&["firewall", "show"]).ok().stdout;
    assert!(!shown.contains("emergency"), "{shown}");
}
