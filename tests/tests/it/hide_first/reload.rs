//! Whatever step of a reload fails, nothing is shown, the configuration that runs stays as a
//! whole, and the answer says why.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::{Reach, SHOWN, WEB, World, hide_shown_too, replace_nft, stopped, wait, write};

/// What becomes of the new configuration, which hides one port more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Refused,
    /// It is in force, for what fails is not needed for that.
    Taken,
}

struct Reload {
    step: &'static str,
    /// What is made ready before the start.
    before: fn(&mut World),
    /// What is done once it runs, and the new configuration is written.
    fails: fn(&World),
    then: Then,
    said: &'static [&'static str],
}

fn nothing(_: &mut World) {}

fn works(world: &World) -> PathBuf {
    world.lab.path().join("nft.works")
}

/// An `nft` that runs this script once the file `nft.works` is gone.
fn nft(world: &mut World, script: &str) {
    let works = replace_nft(world, script);
    std::fs::write(works, "").expect("nft works");
}

fn nft_fails(world: &World) {
    std::fs::remove_file(works(world)).expect("nft fails from now on");
}

fn replace(world: &World, from: &str, to: &str) {
    let file = world.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    assert!(text.contains(from), "{from} is in\n{text}");
    std::fs::write(&file, text.replace(from, to)).expect("spad.toml");
}

fn set_mode(path: PathBuf, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
}

fn limit(world: &World, limit: &str) {
    world.limit(engine(world), limit);
}

fn engine(world: &World) -> i32 {
    let mut all = world.spad.processes().into_iter();
    all.find(|(_, role)| role == "run").expect("it runs").0
}

const RELOADS: [Reload; 15] = [
    Reload {
        step: "spad.toml is broken",
        before: nothing,
        fails: |world| replace(world, "hide = [", "hide = [[["),
        then: Then::Refused,
        said: &["spad.toml:3"],
    },
    Reload {
        step: "spad.toml is gone",
        before: nothing,
        fails: |world| std::fs::remove_file(world.spad.config().join("spad.toml")).expect("gone"),
        then: Then::Refused,
        said: &["spad.toml", "No such file"],
    },
    Reload {
        step: "a client's file is broken",
        before: nothing,
        fails: |world| write(world, "clients.d/laptop.toml", "key = ???\n"),
        then: Then::Refused,
        said: &["clients.d/laptop.toml:1"],
    },
    Reload {
        step: "the clients' directory cannot be read",
        before: nothing,
        fails: |world| set_mode(world.spad.config().join("clients.d"), 0o700),
        then: Then::Refused,
        said: &["clients.d"],
    },
    Reload {
        step: "the server's key is open to everybody",
        before: nothing,
        fails: |world| set_mode(world.spad.state().join("server.key"), 0o666),
        then: Then::Refused,
        said: &["server.key", "chmod 600"],
    },
    Reload {
        step: "the server's key is gone",
        before: nothing,
        fails: |world| std::fs::remove_file(world.spad.state().join("server.key")).expect("gone"),
        then: Then::Refused,
        said: &["server.key", "spad init"],
    },
    Reload {
        step: "a client's pre-shared key is missing",
        before: nothing,
        fails: |world| {
            let file = world.spad.config().join("clients.d/laptop.toml");
            let text = std::fs::read_to_string(&file).expect("its file");
            std::fs::write(&file, format!("pre_shared_key = true\n{text}")).expect("its file");
        },
        then: Then::Refused,
        said: &["laptop.psk"],
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
        then: Then::Refused,
        said: &["cannot be read: Too many open files"],
    },
    Reload {
        step: "no thread can be made",
        before: nothing,
        fails: |world| limit(world, "--nproc=1"),
        then: Then::Refused,
        said: &[
            "beside the work: Resource temporarily unavailable",
            "TasksMax",
        ],
    },
    Reload {
        step: "nft fails",
        before: |world| nft(world, "echo netlink: cannot >&2; exit 1"),
        fails: nft_fails,
        then: Then::Refused,
        said: &["netlink: cannot"],
    },
    Reload {
        step: "nft hangs",
        before: |world| nft(world, "trap '' TERM; while :; do sleep 600; done"),
        fails: nft_fails,
        then: Then::Refused,
        said: &["did not end within 10 seconds"],
    },
    Reload {
        step: "nft cannot be executed",
        before: |world| nft(world, ""),
        fails: |world| set_mode(world.lab.path().join("nft.fake"), 0o600),
        then: Then::Refused,
        said: &["cannot run /usr/sbin/nft: Permission denied"],
    },
    Reload {
        step: "the state directory cannot be written by the firewall writer",
        before: nothing,
        fails: |world| {
            let file = world.spad.state().join("guard/last-good.new");
            std::fs::create_dir_all(file.join("x")).expect("a directory in its place");
        },
        then: Then::Taken,
        said: &["cannot keep this configuration"],
    },
    Reload {
        step: "the audit's directory is gone",
        before: nothing,
        fails: |world| {
            let log = world.spad.audit_file();
            std::fs::remove_dir_all(log.parent().expect("a directory")).expect("gone");
        },
        then: Then::Taken,
        said: &[],
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
        then: Then::Taken,
        said: &["needs a restart"],
    },
];

/// What is wrong with this reload, if anything.
fn fault(reload: &Reload) -> Option<String> {
    let mut world = stopped();
    (reload.before)(&mut world);
    world.spad.start();
    hide_shown_too(&world);
    (reload.fails)(&world);
    let answer = world.spad.cli(&["reload"]);
    let mut faults = Vec::new();
    if world.hidden().contains(&Reach::Open) {
        faults.push("a stranger reaches what is hidden".to_owned());
    }
    let is_refused = reload.then == Then::Refused;
    if answer.success == is_refused {
        faults.push(format!("its success is {}", answer.success));
    }
    if (world.tcp(SHOWN) == Reach::Open) != is_refused {
        faults.push("not the configuration that it says is in force".to_owned());
    }
    // A moment later too, whatever the writer does by itself; and clients are served as before.
    world.send_counted(&world.laptop.open(&["tcp/8080"]), "opened");
    wait::soon("it opens", || (world.tcp(WEB) == Reach::Open).then_some(()));
    if (world.tcp(SHOWN) == Reach::Open) != is_refused {
        faults.push("it changed afterwards".to_owned());
    }
    let warnings = world.spad.status()["warnings"].to_string();
    if warnings.contains("the last reload was refused") != is_refused {
        faults.push(format!("the status warns: {warnings}"));
    }
    let said = format!("{}{}", answer.stdout, answer.stderr);
    let all = format!("{said}{}", world.spad.said());
    // A broken key's file is said together with the command that fixes it.
    let help: &[&str] = match is_refused {
        true if reload.said.contains(&"chmod 600") => &["the running configuration stays"],
        true => &["the running configuration stays", "help: "],
        false => &[],
    };
    // What a refused one says is told to whoever asked, not only to the log.
    let place = if is_refused { &said } else { &all };
    for part in reload.said.iter().chain(help) {
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
