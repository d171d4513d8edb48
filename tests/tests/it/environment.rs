//! Where `spad` cannot do its work it says what is missing and how to get it.

use std::os::unix::fs::MetadataExt as _;

use spa_tests::lab::SERVER4;
use spa_tests::process::{Finished, run};
use spa_tests::programs::run as run_request;
use spa_tests::reach::Reach;
use spa_tests::settings::{Settings, WEB};
use spa_tests::spad::Spad;
use spa_tests::world::World;
use spa_tests::{binaries, wait};

/// `spad run` of this world behind another command in the server's namespace.
fn run_behind(world: &World, wrapper: &[&str]) -> Finished {
    let (first, rest) = wrapper.split_first().expect("a command");
    let mut command = world.lab.server.command(first);
    command.args(rest).arg(binaries::spad());
    world.spad.complete(&mut command, &["run"]);
    run(&mut command)
}

/// The firewall. Handles tell where a rule was put back, too.
fn rules(world: &World) -> String {
    let list = ["-a", "-s", "list", "ruleset"];
    world.lab.server.must("nft", &list)
}

#[test]
fn a_second_server_on_the_same_state_is_refused_and_the_first_goes_on() {
    let world = World::new();
    let (before, processes) = (rules(&world), world.lab.server.processes());
    // The second would show what the first hides.
    let file = world.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    let other = text.replacen("\"ssh\", ", "", 1);
    assert_ne!(other, text);
    std::fs::write(&file, other).expect("spad.toml");
    let second = world.spad.cli(&["run"]);
    assert_eq!(second.code, Some(1));
    assert_eq!(rules(&world), before);
    assert_eq!(world.lab.server.processes(), processes, "and none is left");
    assert!(second.stderr.contains("help:"), "{}", second.stderr);
    assert!(
        second.stderr.contains("state") || second.stderr.contains("already"),
        "{}",
        second.stderr
    );
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn a_server_of_another_state_does_not_take_the_control_socket_of_one_that_runs() {
    let world = World::new();
    let config = world.spad.config();
    let paths = [
        config.clone(),
        world.lab.path().join("other"),
        config.with_file_name("run"),
    ];
    let paths = paths.each_ref().map(|path| path.to_str().expect("a path"));
    let of_its_own = ["--config", paths[0], "--state", paths[1], "--run", paths[2]];
    let spad = binaries::spad();
    let spad = spad.to_str().expect("a path");
    let server = &world.lab.server;
    let _ = server.must(spad, &[&["init"], &of_its_own[..]].concat());
    let before = rules(&world);
    // What the first would keep there while its disk takes nothing.
    let memory = config.with_file_name("run").join("horizon.memory");
    std::fs::write(&memory, [7; 64]).expect("its memory");
    // One that is let run would serve without end.
    let run = [&["20", spad, "run"], &of_its_own[..]].concat();
    let second = server.run("timeout", &run);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    let said = second.stderr.contains("another spad serves");
    assert!(said, "{}", second.stderr);
    assert_eq!(rules(&world), before);
    assert_eq!(std::fs::read(&memory).expect("its memory"), [7; 64]);
    world.open(&["tcp/8080"]);
    assert_eq!(world.spad.status()["open_grants"], 1);
}

#[test]
fn a_start_that_fails_accepts_nothing_and_is_no_unclean_stop() {
    let mut world = World::new();
    world.spad.stop();
    let key = world.spad.state().join("server.key");
    let aside = key.with_extension("aside");
    std::fs::rename(&key, &aside).expect("the key");
    let ended = world.spad.cli(&["run"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    std::fs::rename(&aside, &key).expect("the key");
    // No packet of before the boot could be told from a used one after an unclean stop.
    world.spad.pretend_new_boot();
    world.spad.start();
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn a_lost_key_of_a_client_is_named_with_the_client_and_the_mend() {
    let world = World::stopped(&Settings::default());
    let file = world.spad.config().join("clients.d/bob.toml");
    let text = "shared_key = true\nallow = [\"web\"]\n";
    std::fs::write(file, text).expect("a client's file");
    let ended = world.spad.cli(&["run"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let said = &ended.stderr;
    assert!(said.contains("a key of `bob` is missing"), "{said}");
    assert!(said.contains("help: add the client anew"), "{said}");
}

#[test]
fn a_missing_capability_is_named() {
    let world = World::stopped(&Settings::default());
    for (without, name) in [("-net_admin", "CAP_NET_ADMIN"), ("-net_raw", "CAP_NET_RAW")] {
        let ended = run_behind(
            &world,
            &["setpriv", "--bounding-set", without, "--inh-caps", without],
        );
        assert_eq!(ended.code, Some(1), "{name}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(name),
            "{name} is not named in: {}",
            ended.stderr
        );
        assert!(ended.stderr.contains("help:"), "{}", ended.stderr);
    }
}

#[test]
fn without_root_the_capabilities_are_named() {
    let world = World::stopped(&Settings::default());
    let ended = run_behind(
        &world,
        &[
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
        ],
    );
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("root") || ended.stderr.contains("CAP_"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_state_directory_that_the_engine_could_change_is_complained_of() {
    let mut world = World::stopped(&Settings::default());
    let (state, key) = (world.spad.state(), world.spad.state().join("server.key"));
    let engine = std::fs::metadata(key).expect("the key").uid();
    std::os::unix::fs::chown(state, Some(engine), None).expect("root");
    world.spad.start();
    let said = world.spad.said();
    assert!(said.contains("help: chown root"), "{said}");
}

#[test]
fn a_missing_nft_is_named_with_how_to_install_it() {
    let mut world = World::stopped(&Settings::default());
    let empty = world.lab.path().join("empty");
    std::fs::create_dir(&empty).expect("a directory");
    let script = "mount --bind \"$0\" /usr/sbin && exec \"$@\"";
    let empty = empty.to_str().expect("a path");
    world.spad.start_behind(&["sh", "-c", script, empty]);
    let ended = world.spad.behind(&["firewall", "load"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let said = ended.stderr.matches("apt-get install nftables").count();
    assert_eq!(said, 1, "{}", ended.stderr);
}

#[test]
fn two_machines_servers_do_not_take_each_others_packets() {
    let world = World::new();
    let mut other = Spad::init(
        &world.lab.client,
        &world.lab.path().join("other"),
        &Settings::default(),
    );
    let key = world.laptop.public().to_string();
    let _ = other
        .cli(&[
            "client",
            "add",
            "laptop",
            "--key",
            &key,
            "--allow",
            "ssh,web,chat",
        ])
        .ok();
    other.start();
    world.open(&["tcp/8080"]);
    assert_eq!(other.counted("opened"), 0);
    assert_eq!(
        spa_tests::reach::tcp(&world.lab.client, SERVER4.into(), WEB),
        Reach::Open
    );
}

#[test]
fn a_server_key_from_another_machine_is_refused_until_adopted() {
    let mut world = World::new();
    world.spad.stop();
    world.spad.pretend_other_machine();
    world.spad.start();
    world.send_counted(&world.laptop.open(&["tcp/8080"]), "state_unwritable");
    assert_eq!(world.hidden(), [Reach::Refused; 4]);
    let warnings = world.spad.status()["warnings"].to_string();
    assert!(
        warnings.contains("another machine") && warnings.contains("spad key adopt"),
        "{warnings}"
    );
    world.spad.stop();
    let _ = world.spad.disguised_cli(&["key", "adopt", "--yes"]).ok();
    world.spad.start();
    let warnings = world.spad.status()["warnings"].to_string();
    for said in [&warnings, &world.spad.said()] {
        assert!(said.contains("packets sent before "), "{said}");
        assert!(said.contains("UTC are refused, later ones pass"), "{said}");
    }
    assert!(!warnings.contains("spad key adopt"), "{warnings}");
}

#[test]
fn the_engine_has_no_capability_and_the_writer_only_one() {
    let mut world = World::new();
    let engine = i32::try_from(world.spad.process().id()).expect("an id");
    let binary = binaries::spad();
    let all: Vec<i32> = world
        .lab
        .server
        .processes()
        .into_iter()
        .filter(|id| std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == binary))
        .collect();
    assert_eq!(all.len(), 2, "engine and writer: {all:?}");
    for id in all {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a process");
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect("a field");
            line.trim_start_matches(':').trim().to_owned()
        };
        // 1 << 12 is CAP_NET_ADMIN.
        let may = if id == engine {
            "0000000000000000"
        } else {
            "0000000000001000"
        };
        let who = if id == engine { "engine" } else { "writer" };
        for set in ["CapEff", "CapPrm"] {
            assert_eq!(field(set), may, "{set} of the {who}");
        }
        assert!(
            field("Uid").split_whitespace().all(|uid| uid != "0"),
            "the {who} is not root"
        );
        assert!(
            field("Gid").split_whitespace().all(|gid| gid != "0"),
            "nor its group"
        );
        assert!(
            !field("Groups").split_whitespace().any(|gid| gid == "0"),
            "nor another"
        );
        assert_eq!(field("NoNewPrivs"), "1", "{who}");
        if id == engine {
            for task in std::fs::read_dir(format!("/proc/{id}/task")).expect("its threads") {
                let status = task.expect("a thread").path().join("status");
                let status = std::fs::read_to_string(status).expect("its status");
                assert!(status.contains("Seccomp:\t2"), "a filter over each thread");
            }
        }
    }
    wait::soon("it still works", || {
        world.send(&world.laptop.open(&["tcp/8080"]));
        (world.tcp(WEB) == Reach::Open).then_some(())
    });
}

/// The capabilities that a unit leaves its processes, as setpriv takes them.
fn capabilities_of(unit: &str) -> String {
    let units = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let text = std::fs::read_to_string(units.join(unit)).expect("the unit");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .expect("its capabilities");
    line.split_whitespace()
        .fold("-all".to_owned(), |all, name| {
            let name = name.trim_start_matches("CAP_").to_lowercase();
            format!("{all},+{name}")
        })
}

#[test]
fn the_unit_of_the_boot_leaves_the_capabilities_that_hiding_takes() {
    let world = World::stopped(&Settings::default());
    let left = capabilities_of("spad-guard.service");
    let mut command = world.lab.server.command("setpriv");
    command
        .args(["--bounding-set", &left, "--no-new-privs"])
        .arg(binaries::spad());
    world.spad.complete(&mut command, &["firewall", "load"]);
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let listed = run(world
        .lab
        .server
        .command("nft")
        .args(["list", "table", "inet", "spad"]));
    assert!(listed.stdout.contains("hidden"), "{}", listed.stderr);
}

#[test]
fn the_unit_of_the_daemon_leaves_the_capabilities_that_grants_and_commands_take() {
    let mut world = World::stopped(&Settings::default());
    let who = world.script("who", "id -un; trap '' TERM; while :; do sleep 1; done");
    let commands =
        format!("[commands]\nwho = {{ argv = [{who:?}], user = \"daemon\", timeout = \"1s\" }}");
    world.append("spad.toml", &commands);
    world.append("clients.d/laptop.toml", "commands = [\"who\"]");
    let left = capabilities_of("spad.service");
    world
        .spad
        .start_behind(&["setpriv", "--bounding-set", &left, "--no-new-privs"]);
    world.spad.start();
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
    world.send_counted(&world.laptop.seal(&run_request("who")), "started");
    let ended = world.audited("run", 1);
    assert_eq!(ended["output"], "daemon\n", "{ended}");
    assert_eq!(ended["timed_out"], true, "another user's program is ended");
}
