//! A configuration with a fault is refused with its place and its mend; what ran goes on.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use spa_tests::reach::Reach;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

/// Writes `spad.toml` with these replacements in what the settings give.
fn edit(world: &World, edits: &[(&str, &str)]) {
    let file = world.spad.config().join("spad.toml");
    let mut text = std::fs::read_to_string(&file).expect("spad.toml");
    for (old, new) in edits {
        assert!(text.contains(old), "{old:?} in\n{text}");
        text = text.replace(old, new);
    }
    std::fs::write(&file, text).expect("spad.toml");
}

/// Every one of these must stand in the text.
#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not said in:\n{text}");
    }
}

#[test]
fn a_good_configuration_passes_the_check() {
    let world = World::stopped(&Settings::default());
    let checked = world.spad.cli(&["check"]);
    assert_eq!(
        checked.code,
        Some(0),
        "{}{}",
        checked.stdout,
        checked.stderr
    );
}

#[test]
fn the_check_tells_all_faults_at_once_each_with_place_caret_and_mend() {
    let world = World::stopped(&Settings::default());
    edit(
        &world,
        &[
            ("hide = [\"ssh\"", "hide = [\"ssg\""),
            ("ttl = \"2s\"", "ttl = \"2\""),
            ("max_skew", "max_scew"),
        ],
    );
    let checked = world.spad.cli(&["check"]);
    assert_eq!(checked.code, Some(1));
    let text = format!("{}{}", checked.stdout, checked.stderr);
    says(
        &text,
        &[
            "spad.toml:1:9",
            "ssg",
            "did you mean `ssh`",
            "spad.toml:12:",
            "max_scew",
            "^",
            "help:",
        ],
    );
}

#[test]
fn each_fault_of_a_file_is_refused() {
    type Edits<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(Edits<'_>, &[&str])] = &[
        (&[("port = 62201", "port = 0")], &["spad.toml:", "port"]),
        (&[("ttl = \"2s\"", "ttl = \"2m\"")], &["max_ttl"]),
        (
            &[("chat = \"udp/9999\"", "chat = \"udp/62201\"")],
            &["62201"],
        ),
        (
            &[("[services]", "[services]\nssh = \"tcp/2222\"")],
            &["spad.toml:5:", "ssh"],
        ),
        (&[("[grants]", "[grant]")], &["grant"]),
        (
            &[("answer = \"as_closed\"", "answer = \"open\"")],
            &["answer", "as_closed"],
        ),
        (
            &[("ssh = \"tcp/22\"", "ssh = \"tcp/99999\"")],
            &["tcp/99999"],
        ),
        (&[("rate = \"1000/s\"", "rate = 1000")], &["rate"]),
        (
            &[(
                "always_allow = [\"lo\"]",
                "always_allow = [\"192.0.2.0/64\"]",
            )],
            &["192.0.2.0/64"],
        ),
    ];
    let world = World::stopped(&Settings::default());
    for (edits, words) in cases {
        world.spad.configure(&Settings::default());
        edit(&world, edits);
        let checked = world.spad.cli(&["check"]);
        assert_eq!(
            checked.code,
            Some(1),
            "{edits:?}\n{}{}",
            checked.stdout,
            checked.stderr
        );
        says(&format!("{}{}", checked.stdout, checked.stderr), words);
    }
}

#[test]
fn each_fault_of_a_clients_file_is_refused() {
    let world = World::stopped(&Settings::default());
    let file = world.spad.config().join("clients.d/laptop.toml");
    let good = std::fs::read_to_string(&file).expect("the client's file");
    let key = world.laptop.public().to_string();
    let secret = world.laptop.secret_text();
    let damaged = key.replace(&key[20..22], if &key[20..22] == "AA" { "BB" } else { "AA" });
    let cases: Vec<(String, &str)> = vec![
        (good.replace(&key, &damaged), "laptop.toml:"),
        (good.replace(&key, &secret), "secret"),
        (good.replace("\"ssh\"", "\"sssh\""), "did you mean `ssh`"),
        (
            format!("sources = [\"home.example\"]\n{good}"),
            "home.example",
        ),
        (
            format!("expire = \"2030-01-01T00:00:00Z\"\n{good}"),
            "expires",
        ),
        (format!("max_ttl = \"60\"\n{good}"), "max_ttl"),
    ];
    for (text, word) in cases {
        std::fs::write(&file, &text).expect("the client's file");
        let checked = world.spad.cli(&["check"]);
        assert_eq!(
            checked.code,
            Some(1),
            "{text}\n{}{}",
            checked.stdout,
            checked.stderr
        );
        let said = format!("{}{}", checked.stdout, checked.stderr);
        says(&said, &[word, "laptop.toml"]);
        assert!(
            !said.contains(&secret) && !said.contains(&secret[12..30]),
            "a secret is shown:\n{said}"
        );
    }
}

#[test]
fn two_clients_with_one_key_are_refused() {
    let world = World::stopped(&Settings::default());
    let clients = world.spad.config().join("clients.d");
    std::fs::copy(clients.join("laptop.toml"), clients.join("twin.toml")).expect("a copy");
    let checked = world.spad.cli(&["check"]);
    assert_eq!(checked.code, Some(1));
    says(
        &format!("{}{}", checked.stdout, checked.stderr),
        &["laptop", "twin"],
    );
}

#[test]
fn a_first_start_with_a_broken_configuration_is_refused_with_the_place() {
    let world = World::stopped(&Settings::default());
    edit(&world, &[("ttl = \"2s\"", "ttl = 2")]);
    let started = world.spad.cli(&["run"]);
    assert_eq!(started.code, Some(1));
    says(&started.stderr, &["spad.toml:", "ttl", "help:"]);
    assert!(
        !world
            .lab
            .server
            .must("nft", &["list", "tables"])
            .contains("spad"),
        "nothing was hidden"
    );
}

#[test]
fn a_reload_with_a_fault_keeps_what_runs_and_says_why() {
    let world = World::new();
    edit(&world, &[("hide = [\"ssh\"", "hide = [\"ssg\"")]);
    let reloaded = world.spad.cli(&["reload"]);
    assert_eq!(reloaded.code, Some(1));
    says(
        &format!("{}{}", reloaded.stdout, reloaded.stderr),
        &["spad.toml:1:9", "did you mean `ssh`"],
    );
    world.spad.wait_audited(&[("event", "reload_failed")]);
    assert_eq!(world.tcp(WEB), Reach::Refused);
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn a_reload_hides_what_is_new_and_shows_what_is_hidden_no_more() {
    let mut world = World::new();
    world.spad.configure(&Settings {
        hide: &["ssh", "chat"],
        ..Settings::default()
    });
    world.spad.reload();
    assert_eq!(world.tcp(WEB), Reach::Open, "hidden no more");
    world.spad.configure(&Settings::default());
    world.spad.process().signal(Signal::HUP);
    wait::soon("hidden again, by the signal too", || {
        (world.tcp(WEB) == Reach::Refused).then_some(())
    });
}

#[test]
fn a_broken_configuration_at_a_later_start_is_replaced_by_the_last_good_one_loudly() {
    let mut world = World::new();
    world.spad.stop();
    edit(&world, &[("ttl = \"2s\"", "ttl = 2")]);
    world.spad.start();
    says(&world.spad.said(), &["spad.toml:", "ttl"]);
    assert_eq!(world.tcp(WEB), Reach::Refused);
    world.open(&["tcp/8080"]);
    let warnings = world
        .spad
        .status()
        .get("warnings")
        .map(ToString::to_string)
        .unwrap_or_default();
    assert!(
        warnings.contains("last"),
        "the status tells it too: {warnings}"
    );
}

#[test]
fn a_service_nobody_may_open_is_hidden_by_a_reload_as_by_a_start_and_warned_of() {
    let mut world = World::new();
    edit(
        &world,
        &[
            (
                "chat = \"udp/9999\"",
                "chat = \"udp/9999\"\nadmin = \"tcp/8081\"",
            ),
            ("\"chat\"]", "\"chat\", \"admin\"]"),
        ],
    );
    assert_eq!(world.tcp(8081), Reach::Open);
    for read in ["check", "reload"] {
        let read = world.spad.cli(&[read]).ok();
        says(
            &format!("{}{}", read.stdout, read.stderr),
            &["nobody may open the hidden service `admin`", "help:"],
        );
    }
    assert_eq!(world.tcp(8081), Reach::Refused);
    world.spad.stop();
    world.spad.start();
    assert_eq!(world.tcp(8081), Reach::Refused);
}

#[test]
fn a_key_file_that_others_may_read_is_refused_with_the_mend() {
    let mut world = World::new();
    world.spad.stop();
    let key = world.spad.state().join("server.key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("its mode");
    let started = world.spad.cli(&["run"]);
    assert_eq!(started.code, Some(1));
    says(&started.stderr, &["server.key", "chmod"]);
    let secret = std::fs::read_to_string(&key).expect("the key");
    assert!(!started.stderr.contains(secret.trim()));
}

/// Needs root, as giving away does.
#[test]
fn a_reload_that_may_not_read_the_servers_key_is_refused_with_the_help() {
    let world = World::new();
    let key = world.spad.state().join("server.key");
    std::os::unix::fs::chown(&key, Some(0), Some(0)).expect("root's");
    let reloaded = world.spad.cli(&["reload"]);
    assert_eq!(reloaded.code, Some(1));
    says(&reloaded.stderr, &["server.key", "help: run `spad check`"]);
    let _ = world.spad.cli(&["init"]).ok();
    world.spad.reload();
}

#[test]
fn a_start_without_the_servers_key_is_refused_with_the_mend() {
    let mut world = World::new();
    world.spad.stop();
    std::fs::remove_file(world.spad.state().join("server.key")).expect("the key");
    let started = world.spad.cli(&["run"]);
    assert_eq!(started.code, Some(1));
    let help = "help: restore server.key from the backup; or `spad init` makes a new one, which every client must";
    says(&started.stderr, &["server.key", help]);
    for command in [&["check"][..], &["key", "show"]] {
        let said = world.spad.cli(command);
        assert!(!said.success, "{command:?}");
        says(&said.stderr, &["server.key", help]);
    }
    let status = world.spad.cli(&["status"]).stderr;
    says(
        &status,
        &[
            "cannot reach the daemon",
            "journalctl -u spad",
            "restart it",
        ],
    );
}

#[test]
fn a_file_that_the_engine_may_not_read_is_refused_at_a_reload_with_the_mend() {
    let world = World::new();
    let file = world.spad.config().join("spad.toml");
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("its mode");
    for asked in ["check", "reload"] {
        let refused = world.spad.cli(&[asked]);
        assert_eq!(refused.code, Some(1), "{asked}");
        let said = format!("{}{}", refused.stdout, refused.stderr);
        let mend = format!(" {}\n", file.display());
        says(&said, &["spad.toml", "help: ch", &mend]);
        assert!(!said.contains("run this as root"), "{said}");
    }
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("its mode");
    world.spad.reload();
}

#[test]
fn a_newly_hidden_service_is_shown_again_unless_it_was_reached_or_confirmed() {
    let world = World::with(&Settings {
        trial: "2s",
        ttl: "30s",
        ..Settings::default()
    });
    assert_eq!(world.tcp(WEB), Reach::Refused);
    world.open(&["udp/9999"]);
    // Said, answered, said again: only then is a UDP flow a connection.
    world.lab.client.enter(|| {
        let socket = std::net::UdpSocket::bind((spa_tests::lab::CLIENT4, 0)).unwrap();
        socket.set_read_timeout(Some(wait::SOON)).unwrap();
        socket.connect((spa_tests::lab::SERVER4, CHAT)).unwrap();
        for _ in 0..2 {
            socket.send(b"there?").unwrap();
            socket.recv(&mut [0; 16]).unwrap();
        }
    });
    wait::soon("shown again", || {
        (world.tcp(WEB) == Reach::Open).then_some(())
    });
    let stranger = std::net::IpAddr::from(spa_tests::lab::STRANGER4);
    let seen = world
        .lab
        .client
        .enter(|| spa_tests::reach::udp_from(stranger, spa_tests::lab::SERVER4.into(), CHAT));
    assert_eq!(
        seen,
        Reach::Refused,
        "the one that was reached stays hidden"
    );
    // The engine may hear of it a moment after the kernel did it.
    wait::soon("the status tells it", || {
        let said = world.spad.cli(&["status"]).ok().stdout;
        let both = ["tcp/22, tcp/8080", "tcp/8080, tcp/22"];
        both.iter()
            .any(|shown| {
                said.contains(&format!("\nhidden      chat (everybody can see {shown})\n"))
            })
            .then_some(())
    });
    let status = world.spad.status();
    assert_eq!(status["hidden"], serde_json::json!(["chat"]), "{status}");
}

#[test]
fn a_confirmed_service_stays_hidden() {
    let mut world = World::with(&Settings {
        trial: "2s",
        ..Settings::default()
    });
    let _ = world.spad.cli(&["confirm"]).ok();
    world.stays_closed(WEB, std::time::Duration::from_millis(2500));
    world.spad.stop();
    world.spad.start();
    world.stays_closed(WEB, std::time::Duration::from_millis(2500));
}
