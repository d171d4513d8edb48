//! A hidden service is never shown because something else failed.

mod descriptors;
mod reload;

mod first_step;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use spa_tests::fake_nft::{NFT_PATH, replace_nft};
use spa_tests::lab::SERVER4;
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{EXPOSED, Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// A server that was never started, so that no table stands.
fn stopped() -> TestBed {
    TestBed::stopped(&Settings {
        trial: "0s",
        ..Settings::default()
    })
}

/// No stranger reaches what is hidden, and what is not hidden can be reached.
#[track_caller]
fn hides(bed: &TestBed, context: &str) {
    for seen in bed.probe_hidden() {
        assert_ne!(seen, Reachability::Open, "{context}");
    }
    assert_eq!(bed.tcp(EXPOSED), Reachability::Open, "{context}");
}

/// Makes the configuration hide what was shown.
fn hide_exposed_too(bed: &TestBed) {
    bed.spad.configure(&Settings {
        trial: "0s",
        hide: &["ssh", "web", "chat", "shown"],
        ..Settings::default()
    });
    let file = bed.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    let text = text.replace("[services]\n", "[services]\nshown = \"tcp/8081\"\n");
    std::fs::write(&file, text).expect("spad.toml");
}

/// What may become of `nft`, and what is said then.
const FAULTS: [(&str, &str, &str); 4] = [
    (
        "failing",
        "echo netlink: cannot >&2; exit 1",
        "netlink: cannot",
    ),
    ("killed", "kill -9 $$", "signal: 9"),
    // Noticed by itself, or by the table that is not there.
    ("ending well without a word", "exit 0", "error: "),
    (
        "hanging, deaf to signals, and never reading",
        "trap '' TERM INT HUP; while :; do sleep 600; done",
        "did not end within 10 seconds",
    ),
];

#[test]
fn at_boot_an_emergency_table_hides_where_nft_cannot_be_used() {
    let mut bed = stopped();
    assert_eq!(bed.tcp(WEB), Reachability::Open, "nothing hides yet");
    for (fault, script, output) in FAULTS {
        let works = replace_nft(&mut bed, script);
        let load = bed.spad.cli_under_wrapper(&["firewall", "load"]);
        assert!(!load.success, "{fault}: the unit must show it");
        for part in [output, "emergency table", "help: "] {
            assert!(load.stderr.contains(part), "{fault}: {}", load.stderr);
        }
        hides(&bed, fault);
        let shown = bed.spad.cli(&["firewall", "show"]).ok().stdout;
        assert!(shown.contains("an emergency table"), "{shown}");
        let strangers = "# strangers get nothing: the emergency table";
        assert!(shown.contains(strangers), "{shown}");
        let json = bed.spad.cli(&["firewall", "show", "--json"]).ok().json();
        assert_eq!(json["kernel"]["emergency"], true, "{json}");

        std::fs::write(works, "").expect("nft works");
        let _ = bed.spad.cli_under_wrapper(&["firewall", "load"]).ok();
        hides(&bed, fault);
        let shown = bed.spad.cli(&["firewall", "show"]).ok().stdout;
        assert!(!shown.contains("emergency"), "{shown}");
        let _ = bed.spad.cli(&["firewall", "remove"]).ok();
        std::fs::remove_file(bed.lab.path().join("nft.works")).expect("nft fails again");
    }
    // A device, and so no program.
    bed.spad.bind_mount(NFT_PATH, "/dev/null".into());
    let load = bed.spad.cli_under_wrapper(&["firewall", "load"]);
    assert!(!load.success);
    for part in ["there is no program `nft`", "emergency table", "help: "] {
        assert!(load.stderr.contains(part), "{}", load.stderr);
    }
    hides(&bed, "missing");
}

#[test]
fn a_table_that_stands_goes_on_hiding_where_nft_cannot_be_used() {
    let mut bed = stopped();
    let _ = bed.spad.cli(&["firewall", "load"]).ok();
    let _works = replace_nft(&mut bed, "exit 1");
    hide_exposed_too(&bed);
    let load = bed.spad.cli_under_wrapper(&["firewall", "load"]);
    assert!(!load.success);
    let expected = "the table inet spad that was loaded before goes on hiding";
    assert!(load.stderr.contains(expected), "{}", load.stderr);
    for port in [WEB, EXPOSED] {
        assert_ne!(bed.tcp(port), Reachability::Open, "{port}");
    }
}

#[test]
fn a_daemon_that_cannot_use_nft_hides_says_so_and_opens_once_it_can() {
    let mut bed = stopped();
    let works = replace_nft(&mut bed, "echo netlink: cannot >&2; exit 1");
    bed.spad.start();
    hides(&bed, "started");
    assert!(
        bed.spad.output().contains("netlink: cannot"),
        "{}",
        bed.spad.output()
    );
    let status = bed.spad.status();
    let warnings = status["warnings"].to_string();
    for part in ["emergency table", "netlink: cannot"] {
        assert!(warnings.contains(part), "{warnings}");
    }
    let strangers = |bed: &TestBed, start: &str| {
        let got = bed.spad.status()["strangers_get"].to_string();
        got.starts_with(&format!("\"{start}")).then_some(())
    };
    wait::eventually("what they get", || {
        strangers(&bed, "nothing: the emergency table")
    });
    bed.send_counted(&bed.laptop.open(&["tcp/8080"]), "firewall_table_missing");
    hides(&bed, "after a knock");

    // From the emergency table to the full one there is no gap.
    let over = Arc::new(AtomicBool::new(false));
    let stranger = {
        let over = Arc::clone(&over);
        bed.lab.client.spawn(move || {
            let mut tries = 0_u32;
            while !over.load(Ordering::Acquire) {
                let to = (SERVER4, WEB).into();
                let limit = std::time::Duration::from_millis(20);
                assert!(std::net::TcpStream::connect_timeout(&to, limit).is_err());
                tries += 1;
            }
            tries
        })
    };
    std::fs::write(works, "").expect("nft works");
    wait::eventually("the full table", || {
        let status = bed.spad.status();
        (!status["warnings"].to_string().contains("emergency")).then_some(())
    });
    wait::eventually("what they get now", || {
        strangers(
            &bed,
            "as closed, whatever the packet, as closed ports answer",
        )
    });
    over.store(true, Ordering::Release);
    assert!(stranger.join().expect("no connection was made") > 0);
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let output = bed.spad.output();
    assert_eq!(output.matches("cannot be loaded").count(), 1, "{output}");
    assert!(
        output.contains("the firewall's table is loaded again"),
        "{output}"
    );
}

#[test]
fn a_table_that_somebody_flushes_is_stood_in_for_where_nft_cannot_be_used() {
    let mut bed = stopped();
    let works = replace_nft(&mut bed, "exit 1");
    std::fs::write(&works, "").expect("nft works");
    bed.spad.start();
    bed.open(&["tcp/8080"]);
    std::fs::remove_file(&works).expect("nft fails");
    for rules in [
        "flush chain inet spad prerouting",
        "flush table inet spad",
        "flush ruleset",
    ] {
        bed.lab.server.nft(rules);
        // Sooner than nft is tried again.
        wait::within(std::time::Duration::from_secs(1), "it hides again", || {
            (reach::tcp(&bed.lab.client, SERVER4.into(), WEB) != Reachability::Open).then_some(())
        });
        hides(&bed, rules);
    }
    std::fs::write(&works, "").expect("nft works");
    wait::within(std::time::Duration::from_secs(30), "the full table", || {
        let status = bed.spad.status();
        (!status["warnings"].to_string().contains("emergency")).then_some(())
    });
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn whoever_flushes_again_while_nft_still_runs_shows_nothing_until_it_has_ended() {
    let mut bed = stopped();
    let starts = bed.lab.path().join("nft.starts");
    let script = format!(
        "echo >>{}; until [ -e {} ]; do sleep 0.1; done; exec \"$0\" \"$@\"",
        starts.display(),
        bed.lab.path().join("nft.works").display()
    );
    let works = replace_nft(&mut bed, &script);
    std::fs::write(&works, "").expect("nft works");
    std::fs::write(&starts, "").expect("a file");
    std::fs::set_permissions(&starts, std::fs::Permissions::from_mode(0o666)).expect("for all");
    bed.spad.start();
    std::fs::remove_file(&works).expect("nft waits");
    for _ in 0..5 {
        bed.lab.server.nft("flush ruleset");
        wait::eventually("it hides again", || {
            (reach::tcp(&bed.lab.client, SERVER4.into(), WEB) != Reachability::Open).then_some(())
        });
    }
    let started = std::fs::read_to_string(&starts).expect("a file");
    assert_eq!(started, "\n", "by one nft, which has not ended");
    std::fs::write(&works, "").expect("nft goes on");
    bed.open(&["tcp/8080"]);
}

#[test]
fn a_reload_does_not_believe_an_nft_that_ends_well_and_loads_nothing() {
    let mut bed = stopped();
    let works = replace_nft(&mut bed, "cat >/dev/null; exit 0");
    std::fs::write(&works, "").expect("nft works");
    bed.spad.start();
    std::fs::remove_file(&works).expect("nft does nothing");
    hide_exposed_too(&bed);
    let reload = bed.spad.cli(&["reload"]);
    assert!(!reload.success);
    for part in ["reported success", "help: "] {
        assert!(reload.stderr.contains(part), "{}", reload.stderr);
    }
    std::fs::write(&works, "").expect("nft works");
    bed.spad.reload();
    wait::eventually("the port is hidden", || {
        (bed.tcp(EXPOSED) != Reachability::Open).then_some(())
    });
}

/// Steps of a start that fail: what is done to the server, and what is said then, with a help;
/// nothing where a boot does not need what is missing.
type Step = (&'static str, fn(&mut TestBed), Option<&'static str>);

fn write(bed: &TestBed, file: &str, text: &str) {
    std::fs::write(bed.spad.config().join(file), text).expect("a file");
}

const STEPS: [Step; 6] = [
    (
        "a client's file is broken",
        |world| write(world, "clients.d/laptop.toml", "key = ???\n"),
        Some("clients.d/laptop.toml"),
    ),
    (
        "the state directory is gone",
        |world| std::fs::remove_dir_all(world.spad.state()).expect("gone"),
        None,
    ),
    (
        "the state directory is a file",
        |world| {
            std::fs::remove_dir_all(world.spad.state()).expect("gone");
            std::fs::write(world.spad.state(), "").expect("a file");
        },
        Some("state/guard: File exists"),
    ),
    (
        "the state is on a file system that cannot be written",
        |world| {
            let state = world.spad.state().display().to_string();
            let script = format!(
                "mount --bind {state} {state}; mount -o remount,bind,ro {state}; exec \"$@\""
            );
            world.spad.set_wrapper(&["sh", "-c", &script, "sh"]);
        },
        // Its files are not given to the user of the writer.
        Some("trials.json of the firewall writer cannot be read (Permission denied"),
    ),
    (
        "the server's key is open to everybody",
        |world| {
            let key = world.spad.state().join("server.key");
            if key.exists() {
                std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o666))
                    .expect("its mode");
            }
        },
        None,
    ),
    (
        "the machine is another one",
        |world| world.spad.fake_other_machine(),
        None,
    ),
];

#[test]
fn whatever_step_of_a_boot_fails_the_table_is_loaded() {
    for (step, fails, output) in STEPS {
        let mut bed = stopped();
        fails(&mut bed);
        let load = bed.spad.cli_under_wrapper(&["firewall", "load"]);
        hides(&bed, step);
        assert!(load.success, "{step}: {}", load.stderr);
        // Where the tests run there need be no such user.
        let words = load
            .stderr
            .lines()
            .filter(|line| !line.contains("`spad-fw`"));
        let words = words.collect::<Vec<_>>().join("\n");
        match output {
            Some(said) => {
                for part in [said, "help: "] {
                    assert!(words.contains(part), "{step}: {part:?} is not in:\n{words}");
                }
            }
            None => assert_eq!(words.trim(), "", "{step}"),
        }
    }
}

/// What becomes of `spad run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartResult {
    Exits,
    Opens,
    Refuses(&'static str),
    /// It serves, and sees no packet.
    NoCapture,
}

use StartResult::{Exits, NoCapture, Opens, Refuses};

/// A start of `spad run` of which a step fails.
struct Start {
    step: &'static str,
    on_state_error: &'static str,
    fails: fn(&mut TestBed),
    expected: StartResult,
    /// All of this is said, with a help.
    messages: &'static [&'static str],
}

fn read_only(bed: &mut TestBed, directory: &str) {
    let path = bed.lab.path().join("spad").join(directory);
    std::fs::create_dir_all(&path).expect("a directory");
    let path = path.display();
    let script =
        format!("mount --bind {path} {path}; mount -o remount,bind,ro {path}; exec \"$@\"");
    bed.spad.set_wrapper(&["sh", "-c", &script, "sh"]);
}

fn without_journals(bed: &mut TestBed) {
    let state = bed.spad.state();
    for file in ["journal.a", "journal.b", "horizon", "clean"] {
        let _ = std::fs::remove_file(state.join(file));
    }
    std::fs::remove_dir_all(state.join("guard")).expect("it was there");
}

fn without_users(bed: &mut TestBed) {
    let file = bed.lab.path().join("passwd");
    std::fs::write(&file, "root:x:0:0:root:/root:/bin/sh\n").expect("a file");
    bed.spad.bind_mount("/etc/passwd", file);
}

fn without_audit(bed: &mut TestBed) {
    let file = bed.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    let audit = bed.spad.audit_file().display().to_string();
    let text = text.replace(&audit, "/proc/nowhere/audit.jsonl");
    std::fs::write(&file, text).expect("spad.toml");
}

fn break_client(bed: &mut TestBed) {
    write(bed, "clients.d/laptop.toml", "key = ???\n");
}

const STARTS: [Start; 17] = [
    Start {
        step: "the state cannot be written",
        on_state_error: "memory",
        fails: |world| read_only(world, "state"),
        expected: Opens,
        messages: &["Read-only file system"],
    },
    Start {
        step: "the state cannot be written",
        on_state_error: "refuse",
        fails: |world| read_only(world, "state"),
        expected: Refuses("state_unwritable"),
        messages: &["Read-only file system"],
    },
    Start {
        step: "guard/ and the journals are gone",
        on_state_error: "memory",
        fails: without_journals,
        expected: Refuses("state_unwritable"),
        messages: &["no journal"],
    },
    Start {
        step: "guard/ and the journals are gone",
        on_state_error: "refuse",
        fails: without_journals,
        expected: Refuses("state_unwritable"),
        messages: &["no journal"],
    },
    Start {
        step: "there is no user for it",
        on_state_error: "memory",
        fails: without_users,
        expected: Opens,
        messages: &["no user `spad`", "no user `spad-fw`"],
    },
    Start {
        step: "the server's key can be read by everybody",
        on_state_error: "memory",
        fails: |world| {
            let key = world.spad.state().join("server.key");
            let open = std::fs::Permissions::from_mode(0o666);
            std::fs::set_permissions(key, open).expect("its mode");
        },
        expected: Exits,
        messages: &["server.key", "chmod 600"],
    },
    Start {
        step: "the run directory cannot be written",
        on_state_error: "memory",
        fails: |world| read_only(world, "run"),
        expected: Exits,
        messages: &["Read-only file system"],
    },
    Start {
        step: "the audit's directory cannot be made",
        on_state_error: "memory",
        fails: without_audit,
        expected: Exits,
        messages: &["/proc/nowhere/audit.jsonl"],
    },
    Start {
        step: "everybody can write to the run directory",
        on_state_error: "memory",
        fails: |world| {
            let run = world.lab.path().join("spad/run");
            std::fs::create_dir_all(&run).expect("a directory");
            let open = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(run, open).expect("its mode");
        },
        expected: Exits,
        messages: &["a directory that only root can write to", "chmod 755"],
    },
    Start {
        step: "there is no /dev/null for the firewall writer",
        on_state_error: "memory",
        fails: |world| {
            // It cannot be opened, whoever tries.
            let socket = world.lab.path().join("null");
            drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
            world.spad.bind_mount("/dev/null", socket);
        },
        expected: Exits,
        messages: &["cannot open /dev/null: No such device"],
    },
    Start {
        step: "little memory is left",
        on_state_error: "memory",
        fails: |world| world.spad.set_wrapper(&["prlimit", "--as=26000000"]),
        expected: Exits,
        messages: &["memory allocation"],
    },
    Start {
        step: "an interface of [listen] is unknown",
        on_state_error: "memory",
        fails: |world| {
            world.spad.configure(&Settings {
                trial: "0s",
                interfaces: Some(&["nowhere"]),
                ..Settings::default()
            });
        },
        expected: NoCapture,
        messages: &["`nowhere` in [listen] interfaces is no interface"],
    },
    Start {
        step: "a client's file is broken, and no configuration was ever good",
        on_state_error: "memory",
        fails: break_client,
        expected: Exits,
        messages: &["laptop.toml"],
    },
    Start {
        step: "a client's file is broken, and there is a last good configuration",
        on_state_error: "memory",
        fails: |world| {
            world.spad.start();
            world.spad.stop();
            let _ = world.spad.cli(&["firewall", "remove"]).ok();
            break_client(world);
        },
        expected: Opens,
        messages: &["laptop.toml", "the last good one is used"],
    },
    Start {
        step: "the machine is another one",
        on_state_error: "memory",
        fails: |world| world.spad.fake_other_machine(),
        expected: Refuses("state_unwritable"),
        messages: &["belongs to another machine"],
    },
    Start {
        step: "the machine's id cannot be read",
        on_state_error: "memory",
        fails: |world| {
            let file = world.lab.path().join("machine-id");
            std::fs::write(&file, [0xff, b'\n']).expect("a file that is no text");
            world.spad.bind_mount("/etc/machine-id", file);
        },
        expected: Refuses("state_unwritable"),
        messages: &["/etc/machine-id: stream did not contain valid UTF-8"],
    },
    Start {
        step: "the last good configuration cannot be written",
        on_state_error: "memory",
        fails: |world| {
            let file = world.spad.state().join("guard/last-good.new");
            std::fs::create_dir_all(file.join("x")).expect("a directory in its place");
        },
        expected: Opens,
        messages: &["cannot keep this configuration"],
    },
];

/// What is wrong with this start, if anything.
fn fault(start: &Start) -> Option<String> {
    let mut bed = TestBed::stopped(&Settings {
        trial: "0s",
        on_state_error: start.on_state_error,
        ..Settings::default()
    });
    (start.fails)(&mut bed);
    assert_eq!(bed.tcp(WEB), Reachability::Open, "nothing hides yet");
    bed.spad.spawn();
    let ends = wait::eventually("it serves or ends", || {
        let ended = bed.spad.process().try_wait().is_some();
        let serves = !ended && bed.spad.cli(&["status"]).success;
        (ended || serves).then_some(ended)
    });
    let mut faults = Vec::new();
    if bed.probe_hidden().contains(&Reachability::Open) {
        faults.push("a stranger reaches what is hidden".to_owned());
    }
    if bed.tcp(EXPOSED) != Reachability::Open {
        faults.push("what is not hidden cannot be reached".to_owned());
    }
    if ends != (start.expected == Exits) {
        faults.push(format!("it ended: {ends}"));
    }
    let packet = bed.laptop.open(&["tcp/8080"]);
    match start.expected {
        Opens if !ends => bed.send_counted(&packet, "opened"),
        Refuses(reason) if !ends => {
            bed.send_counted(&packet, reason);
            if bed.tcp(WEB) == Reachability::Open {
                faults.push("it opened".to_owned());
            }
        }
        _ => {}
    }
    let output = bed.spad.output();
    // Where the tests run there need be no such user, which is said with a help of its own.
    let about_users = start.messages.iter().any(|part| part.contains("user"));
    let output: Vec<&str> = output
        .lines()
        .filter(|line| about_users || !line.contains("adduser"))
        .collect();
    let output = output.join("\n");
    // A broken key's file is said together with the command that fixes it.
    let help: &[&str] = match start.messages.contains(&"chmod 600") {
        true => &[],
        false => &["help: "],
    };
    for part in start.messages.iter().chain(help) {
        if !output.contains(part) {
            faults.push(format!("it does not say {part:?}"));
        }
    }
    (!faults.is_empty()).then(|| {
        format!(
            "{} ({}): {}:\n{output}",
            start.step,
            start.on_state_error,
            faults.join(", ")
        )
    })
}

#[test]
fn whatever_step_of_the_daemons_start_fails_nothing_is_shown_and_the_cause_is_named() {
    let faults: Vec<String> = STARTS.iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
