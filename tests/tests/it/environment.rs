//! Where `spad` cannot do its work it says what is missing and how to get it.

use std::os::unix::fs::MetadataExt as _;

use spa_tests::lab::SERVER4;
use spa_tests::process::{Finished, run};
use spa_tests::programs::run_request;
use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::spad::Spad;
use spa_tests::test_bed::TestBed;
use spa_tests::{binaries, wait};

/// `spad run` of this world behind another command in the server's namespace.
fn run_under_wrapper(bed: &TestBed, wrapper: &[&str]) -> Finished {
    let (first, rest) = wrapper.split_first().expect("a command");
    let mut command = bed.lab.server.command(first);
    command.args(rest).arg(binaries::spad());
    bed.spad.add_options(&mut command, &["run"]);
    run(&mut command)
}

/// The firewall. Handles tell where a rule was put back, too.
fn rules(bed: &TestBed) -> String {
    let list = ["-a", "-s", "list", "ruleset"];
    bed.lab.server.run_ok("nft", &list)
}

#[test]
fn a_second_server_on_the_same_state_is_refused_and_the_first_goes_on() {
    let bed = TestBed::new();
    let (before, processes) = (rules(&bed), bed.lab.server.processes());
    // The second would show what the first hides.
    let file = bed.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    let other = text.replacen("\"ssh\", ", "", 1);
    assert_ne!(other, text);
    std::fs::write(&file, other).expect("spad.toml");
    let second = bed.spad.cli(&["run"]);
    assert_eq!(second.code, Some(1));
    assert_eq!(rules(&bed), before);
    assert_eq!(bed.lab.server.processes(), processes, "and none is left");
    assert!(second.stderr.contains("help:"), "{}", second.stderr);
    assert!(
        second.stderr.contains("state") || second.stderr.contains("already"),
        "{}",
        second.stderr
    );
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn a_server_of_another_state_does_not_take_the_control_socket_of_one_that_runs() {
    let bed = TestBed::new();
    let config = bed.spad.config();
    let paths = [
        config.clone(),
        bed.lab.path().join("other"),
        config.with_file_name("run"),
    ];
    let paths = paths.each_ref().map(|path| path.to_str().expect("a path"));
    let of_its_own = ["--config", paths[0], "--state", paths[1], "--run", paths[2]];
    let spad = binaries::spad();
    let spad = spad.to_str().expect("a path");
    let server = &bed.lab.server;
    let _ = server.run_ok(spad, &[&["init"], &of_its_own[..]].concat());
    let before = rules(&bed);
    // What the first would keep there while its disk takes nothing.
    let memory = config.with_file_name("run").join("horizon.memory");
    std::fs::write(&memory, [7; 64]).expect("its memory");
    // One that is let run would serve without end.
    let run = [&["20", spad, "run"], &of_its_own[..]].concat();
    let second = server.run("timeout", &run);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    let output = second.stderr.contains("another spad serves");
    assert!(output, "{}", second.stderr);
    assert_eq!(rules(&bed), before);
    assert_eq!(std::fs::read(&memory).expect("its memory"), [7; 64]);
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.spad.status()["open_grants"], 1);
}

#[test]
fn a_start_that_fails_accepts_nothing_and_is_no_unclean_stop() {
    let mut bed = TestBed::new();
    bed.spad.stop();
    let key = bed.spad.state().join("server.key");
    let aside = key.with_extension("aside");
    std::fs::rename(&key, &aside).expect("the key");
    let ended = bed.spad.cli(&["run"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    std::fs::rename(&aside, &key).expect("the key");
    // No packet of before the boot could be told from a used one after an unclean stop.
    bed.spad.fake_new_boot();
    bed.spad.start();
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn a_lost_key_of_a_client_is_named_with_the_client_and_the_mend() {
    let bed = TestBed::stopped(&Settings::default());
    let file = bed.spad.config().join("clients.d/bob.toml");
    let text = "shared_key = true\nallow = [\"web\"]\n";
    std::fs::write(file, text).expect("a client's file");
    let ended = bed.spad.cli(&["run"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let output = &ended.stderr;
    assert!(output.contains("a key of `bob` is missing"), "{output}");
    assert!(output.contains("help: add the client anew"), "{output}");
}

#[test]
fn a_missing_capability_is_named() {
    let bed = TestBed::stopped(&Settings::default());
    for (without, name) in [("-net_admin", "CAP_NET_ADMIN"), ("-net_raw", "CAP_NET_RAW")] {
        let ended = run_under_wrapper(
            &bed,
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
    let bed = TestBed::stopped(&Settings::default());
    let ended = run_under_wrapper(
        &bed,
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
    let mut bed = TestBed::stopped(&Settings::default());
    let (state, key) = (bed.spad.state(), bed.spad.state().join("server.key"));
    let engine = std::fs::metadata(key).expect("the key").uid();
    std::os::unix::fs::chown(state, Some(engine), None).expect("root");
    bed.spad.start();
    let output = bed.spad.output();
    assert!(output.contains("help: chown root"), "{output}");
}

#[test]
fn a_missing_nft_is_named_with_how_to_install_it() {
    let mut bed = TestBed::stopped(&Settings::default());
    let empty = bed.lab.path().join("empty");
    std::fs::create_dir(&empty).expect("a directory");
    let script = "mount --bind \"$0\" /usr/sbin && exec \"$@\"";
    let empty = empty.to_str().expect("a path");
    bed.spad.set_wrapper(&["sh", "-c", script, empty]);
    let ended = bed.spad.cli_under_wrapper(&["firewall", "load"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let output = ended.stderr.matches("apt-get install nftables").count();
    assert_eq!(output, 1, "{}", ended.stderr);
}

#[test]
fn two_machines_servers_do_not_take_each_others_packets() {
    let bed = TestBed::new();
    let mut other = Spad::init(
        &bed.lab.client,
        &bed.lab.path().join("other"),
        &Settings::default(),
    );
    let key = bed.laptop.public().to_string();
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
    bed.open(&["tcp/8080"]);
    assert_eq!(other.verdict_count("opened"), 0);
    assert_eq!(
        spa_tests::reach::tcp(&bed.lab.client, SERVER4.into(), WEB),
        Reachability::Open
    );
}

#[test]
fn a_server_key_from_another_machine_is_refused_until_adopted() {
    let mut bed = TestBed::new();
    bed.spad.stop();
    bed.spad.fake_other_machine();
    bed.spad.start();
    bed.send_counted(&bed.laptop.open(&["tcp/8080"]), "state_unwritable");
    assert_eq!(bed.probe_hidden(), [Reachability::Refused; 4]);
    let warnings = bed.spad.status()["warnings"].to_string();
    assert!(
        warnings.contains("another machine") && warnings.contains("spad key adopt"),
        "{warnings}"
    );
    bed.spad.stop();
    let _ = bed.spad.cli_with_mounts(&["key", "adopt", "--yes"]).ok();
    bed.spad.start();
    let warnings = bed.spad.status()["warnings"].to_string();
    for output in [&warnings, &bed.spad.output()] {
        assert!(output.contains("packets sent before "), "{output}");
        assert!(
            output.contains("UTC are refused, later ones pass"),
            "{output}"
        );
    }
    assert!(!warnings.contains("spad key adopt"), "{warnings}");
}

#[test]
fn the_engine_has_no_capability_and_the_writer_only_one() {
    let mut bed = TestBed::new();
    let engine = i32::try_from(bed.spad.process().id()).expect("an id");
    let binary = binaries::spad();
    let all: Vec<i32> = bed
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
    wait::eventually("it still works", || {
        bed.send(&bed.laptop.open(&["tcp/8080"]));
        (bed.tcp(WEB) == Reachability::Open).then_some(())
    });
}

/// The capabilities that a unit leaves its processes, as setpriv takes them.
fn unit_capabilities(unit: &str) -> String {
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
    let bed = TestBed::stopped(&Settings::default());
    let left = unit_capabilities("spad-guard.service");
    let mut command = bed.lab.server.command("setpriv");
    command
        .args(["--bounding-set", &left, "--no-new-privs"])
        .arg(binaries::spad());
    bed.spad.add_options(&mut command, &["firewall", "load"]);
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let listed = run(bed
        .lab
        .server
        .command("nft")
        .args(["list", "table", "inet", "spad"]));
    assert!(listed.stdout.contains("hidden"), "{}", listed.stderr);
}

#[test]
fn the_unit_of_the_daemon_leaves_the_capabilities_that_grants_and_commands_take() {
    let mut bed = TestBed::stopped(&Settings::default());
    let who = bed.script("who", "id -un; trap '' TERM; while :; do sleep 1; done");
    let commands =
        format!("[commands]\nwho = {{ argv = [{who:?}], user = \"daemon\", timeout = \"1s\" }}");
    bed.append_config("spad.toml", &commands);
    bed.append_config("clients.d/laptop.toml", "commands = [\"who\"]");
    let left = unit_capabilities("spad.service");
    bed.spad
        .set_wrapper(&["setpriv", "--bounding-set", &left, "--no-new-privs"]);
    bed.spad.start();
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    bed.send_counted(&bed.laptop.seal(&run_request("who")), "started");
    let ended = bed.wait_audit_event("run", 1);
    assert_eq!(ended["output"], "daemon\n", "{ended}");
    assert_eq!(ended["timed_out"], true, "another user's program is ended");
}
