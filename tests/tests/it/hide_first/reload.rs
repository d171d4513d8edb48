//! Whatever step of a reload fails, nothing is shown, the configuration that runs stays as a
//! whole, and the answer says why.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::{
    EXPOSED, Reachability, TestBed, WEB, hide_exposed_too, replace_nft, stopped, wait, write,
};

/// What becomes of the new configuration, which hides one port more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReloadResult {
    Refused,
    /// It is in force, for what fails is not needed for that.
    Applied,
}

struct Reload {
    step: &'static str,
    /// What is made ready before the start.
    before: fn(&mut TestBed),
    /// What is done once it runs, and the new configuration is written.
    fails: fn(&TestBed),
    expected: ReloadResult,
    messages: &'static [&'static str],
}

fn nothing(_: &mut TestBed) {}

fn works(bed: &TestBed) -> PathBuf {
    bed.lab.path().join("nft.works")
}

/// An `nft` that runs this script once the file `nft.works` is gone.
fn nft(bed: &mut TestBed, script: &str) {
    let works = replace_nft(bed, script);
    std::fs::write(works, "").expect("nft works");
}

fn nft_fails(bed: &TestBed) {
    std::fs::remove_file(works(bed)).expect("nft fails from now on");
}

fn replace(bed: &TestBed, from: &str, to: &str) {
    let file = bed.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    assert!(text.contains(from), "{from} is in\n{text}");
    std::fs::write(&file, text.replace(from, to)).expect("spad.toml");
}

fn set_mode(path: PathBuf, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
}

fn limit(bed: &TestBed, limit: &str) {
    bed.limit(engine(bed), limit);
}

fn engine(bed: &TestBed) -> i32 {
    let mut all = bed.spad.processes().into_iter();
    all.find(|(_, role)| role == "run").expect("it runs").0
}

const RELOADS: [Reload; 15] = [
    Reload {
        step: "spad.toml is broken",
        before: nothing,
        fails: |world| replace(world, "hide = [", "hide = [[["),
        expected: ReloadResult::Refused,
        messages: &["spad.toml:3"],
    },
    Reload {
        step: "spad.toml is gone",
        before: nothing,
        fails: |world| std::fs::remove_file(world.spad.config().join("spad.toml")).expect("gone"),
        expected: ReloadResult::Refused,
        messages: &["spad.toml", "No such file"],
    },
    Reload {
        step: "a client's file is broken",
        before: nothing,
        fails: |world| write(world, "clients.d/laptop.toml", "key = ???\n"),
        expected: ReloadResult::Refused,
        messages: &["clients.d/laptop.toml:1"],
    },
    Reload {
        step: "the clients' directory cannot be read",
        before: nothing,
        fails: |world| set_mode(world.spad.config().join("clients.d"), 0o700),
        expected: ReloadResult::Refused,
        messages: &["clients.d"],
    },
    Reload {
        step: "the server's key is open to everybody",
        before: nothing,
        fails: |world| set_mode(world.spad.state().join("server.key"), 0o666),
        expected: ReloadResult::Refused,
        messages: &["server.key", "chmod 600"],
    },
    Reload {
        step: "the server's key is gone",
        before: nothing,
        fails: |world| std::fs::remove_file(world.spad.state().join("server.key")).expect("gone"),
        expected: ReloadResult::Refused,
        messages: &["server.key", "spad init"],
    },
    Reload {
        step: "a client's pre-shared key is missing",
        before: nothing,
        fails: |world| {
            let file = world.spad.config().join("clients.d/laptop.toml");
            let text = std::fs::read_to_string(&file).expect("its file");
            std::fs::write(&file, format!("pre_shared_key = true\n{text}")).expect("its file");
        },
        expected: ReloadResult::Refused,
        messages: &["laptop.psk"],
    },
    Reload {
        step: "no descriptor is left but for whoever asks",
        before: nothing,
        fails: |world| {
            let open = std::fs::read_dir(format!("/proc/{}/fd", engine(world))).expect("its files");
            limit(
                world,
                &format!("--nofile={}", open.count().saturating_add(1)),
            );
        },
        expected: ReloadResult::Refused,
        messages: &["cannot be read: Too many open files"],
    },
    Reload {
        step: "no thread can be made",
        before: nothing,
        fails: |world| limit(world, "--nproc=1"),
        expected: ReloadResult::Refused,
        messages: &[
            "beside the work: Resource temporarily unavailable",
            "TasksMax",
        ],
    },
    Reload {
        step: "nft fails",
        before: |world| nft(world, "echo netlink: cannot >&2; exit 1"),
        fails: nft_fails,
        expected: ReloadResult::Refused,
        messages: &["netlink: cannot"],
    },
    Reload {
        step: "nft hangs",
        before: |world| nft(world, "trap '' TERM; while :; do sleep 600; done"),
        fails: nft_fails,
        expected: ReloadResult::Refused,
        messages: &["did not end within 10 seconds"],
    },
    Reload {
        step: "nft cannot be executed",
        before: |world| nft(world, ""),
        fails: |world| set_mode(world.lab.path().join("nft.fake"), 0o600),
        expected: ReloadResult::Refused,
        messages: &["cannot run /usr/sbin/nft: Permission denied"],
    },
    Reload {
        step: "the state directory cannot be written by the firewall writer",
        before: nothing,
        fails: |world| {
            let file = world.spad.state().join("guard/last-good.new");
            std::fs::create_dir_all(file.join("x")).expect("a directory in its place");
        },
        expected: ReloadResult::Applied,
        messages: &["cannot keep this configuration"],
    },
    Reload {
        step: "the audit's directory is gone",
        before: nothing,
        fails: |world| {
            let log = world.spad.audit_file();
            std::fs::remove_dir_all(log.parent().expect("a directory")).expect("gone");
        },
        expected: ReloadResult::Applied,
        messages: &[],
    },
    Reload {
        step: "an interface of [listen] is unknown",
        before: nothing,
        fails: |world| {
            replace(
                world,
                "[listen]\n",
                "[listen]\ninterfaces = [\"nowhere\"]\n",
            )
        },
        expected: ReloadResult::Applied,
        messages: &["needs a restart"],
    },
];

/// What is wrong with this reload, if anything.
fn fault(reload: &Reload) -> Option<String> {
    let mut bed = stopped();
    (reload.before)(&mut bed);
    bed.spad.start();
    hide_exposed_too(&bed);
    (reload.fails)(&bed);
    let answer = bed.spad.cli(&["reload"]);
    let mut faults = Vec::new();
    if bed.probe_hidden().contains(&Reachability::Open) {
        faults.push("a stranger reaches what is hidden".to_owned());
    }
    let is_refused = reload.expected == ReloadResult::Refused;
    if answer.success == is_refused {
        faults.push(format!("its success is {}", answer.success));
    }
    if (bed.tcp(EXPOSED) == Reachability::Open) != is_refused {
        faults.push("not the configuration that it says is in force".to_owned());
    }
    // A moment later too, whatever the writer does by itself; and clients are served as before.
    bed.send_counted(&bed.laptop.open(&["tcp/8080"]), "opened");
    wait::eventually("it opens", || {
        (bed.tcp(WEB) == Reachability::Open).then_some(())
    });
    if (bed.tcp(EXPOSED) == Reachability::Open) != is_refused {
        faults.push("it changed afterwards".to_owned());
    }
    let warnings = bed.spad.status()["warnings"].to_string();
    if warnings.contains("the last reload was refused") != is_refused {
        faults.push(format!("the status warns: {warnings}"));
    }
    let output = format!("{}{}", answer.stdout, answer.stderr);
    let all = format!("{output}{}", bed.spad.output());
    // A broken key's file is said together with the command that fixes it.
    let help: &[&str] = match is_refused {
        true if reload.messages.contains(&"chmod 600") => &["the running configuration stays"],
        true => &["the running configuration stays", "help: "],
        false => &[],
    };
    // What a refused one says is told to whoever asked, not only to the log.
    let place = if is_refused { &output } else { &all };
    for part in reload.messages.iter().chain(help) {
        if !place.contains(part) {
            faults.push(format!("it does not say {part:?}"));
        }
    }
    let faults = faults.join(", ");
    (!faults.is_empty()).then(|| format!("{}: {faults}:\n{all}", reload.step))
}

#[test]
fn whatever_step_of_a_reload_fails_nothing_is_shown_and_the_answer_says_why() {
    let faults: Vec<String> = RELOADS.iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
