//! A configuration with a fault is refused with its place and its mend; what ran goes on.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use spa_tests::reach::Reachability;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// Writes `spad.toml` with these replacements in what the settings give.
fn edit(bed: &TestBed, edits: &[(&str, &str)]) {
    let file = bed.spad.config().join("spad.toml");
    let mut text = std::fs::read_to_string(&file).expect("spad.toml");
    for (old, new) in edits {
        assert!(text.contains(old), "{old:?} in\n{text}");
        text = text.replace(old, new);
    }
    std::fs::write(&file, text).expect("spad.toml");
}

/// Every one of these must stand in the text.
#[track_caller]
fn assert_contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not said in:\n{text}");
    }
}

#[test]
fn a_good_configuration_passes_the_check() {
    let bed = TestBed::stopped(&Settings::default());
    let checked = bed.spad.cli(&["check"]);
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
    let bed = TestBed::stopped(&Settings::default());
    edit(
        &bed,
        &[
            ("hide = [\"ssh\"", "hide = [\"ssg\""),
            ("ttl = \"2s\"", "ttl = \"2\""),
            ("max_skew", "max_scew"),
        ],
    );
    let checked = bed.spad.cli(&["check"]);
    assert_eq!(checked.code, Some(1));
    let text = format!("{}{}", checked.stdout, checked.stderr);
    assert_contains(
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
    let bed = TestBed::stopped(&Settings::default());
    for (edits, words) in cases {
        bed.spad.configure(&Settings::default());
        edit(&bed, edits);
        let checked = bed.spad.cli(&["check"]);
        assert_eq!(
            checked.code,
            Some(1),
            "{edits:?}\n{}{}",
            checked.stdout,
            checked.stderr
        );
        assert_contains(&format!("{}{}", checked.stdout, checked.stderr), words);
    }
}

#[test]
fn each_fault_of_a_clients_file_is_refused() {
    let bed = TestBed::stopped(&Settings::default());
    let file = bed.spad.config().join("clients.d/laptop.toml");
    let good = std::fs::read_to_string(&file).expect("the client's file");
    let key = bed.laptop.public().to_string();
    let secret = bed.laptop.secret_text();
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
        let checked = bed.spad.cli(&["check"]);
        assert_eq!(
            checked.code,
            Some(1),
            "{text}\n{}{}",
            checked.stdout,
            checked.stderr
        );
        let output = format!("{}{}", checked.stdout, checked.stderr);
        assert_contains(&output, &[word, "laptop.toml"]);
        assert!(
            !output.contains(&secret) && !output.contains(&secret[12..30]),
            "a secret is shown:\n{output}"
        );
    }
}

#[test]
fn two_clients_with_one_key_are_refused() {
    let bed = TestBed::stopped(&Settings::default());
    let clients = bed.spad.config().join("clients.d");
    std::fs::copy(clients.join("laptop.toml"), clients.join("twin.toml")).expect("a copy");
    let checked = bed.spad.cli(&["check"]);
    assert_eq!(checked.code, Some(1));
    assert_contains(
        &format!("{}{}", checked.stdout, checked.stderr),
        &["laptop", "twin"],
    );
}

#[test]
fn a_first_start_with_a_broken_configuration_is_refused_with_the_place() {
    let bed = TestBed::stopped(&Settings::default());
    edit(&bed, &[("ttl = \"2s\"", "ttl = 2")]);
    let started = bed.spad.cli(&["run"]);
    assert_eq!(started.code, Some(1));
    assert_contains(&started.stderr, &["spad.toml:", "ttl", "help:"]);
    assert!(
        !bed.lab
            .server
            .run_ok("nft", &["list", "tables"])
            .contains("spad"),
        "nothing was hidden"
    );
}

#[test]
fn a_reload_with_a_fault_keeps_what_runs_and_says_why() {
    let bed = TestBed::new();
    edit(&bed, &[("hide = [\"ssh\"", "hide = [\"ssg\"")]);
    let reloaded = bed.spad.cli(&["reload"]);
    assert_eq!(reloaded.code, Some(1));
    assert_contains(
        &format!("{}{}", reloaded.stdout, reloaded.stderr),
        &["spad.toml:1:9", "did you mean `ssh`"],
    );
    bed.spad.wait_audited(&[("event", "reload_failed")]);
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn a_reload_hides_what_is_new_and_shows_what_is_hidden_no_more() {
    let mut bed = TestBed::new();
    bed.spad.configure(&Settings {
        hide: &["ssh", "chat"],
        ..Settings::default()
    });
    bed.spad.reload();
    assert_eq!(bed.tcp(WEB), Reachability::Open, "hidden no more");
    bed.spad.configure(&Settings::default());
    bed.spad.process().signal(Signal::HUP);
    wait::eventually("hidden again, by the signal too", || {
        (bed.tcp(WEB) == Reachability::Refused).then_some(())
    });
}

#[test]
fn a_broken_configuration_at_a_later_start_is_replaced_by_the_last_good_one_loudly() {
    let mut bed = TestBed::new();
    bed.spad.stop();
    edit(&bed, &[("ttl = \"2s\"", "ttl = 2")]);
    bed.spad.start();
    assert_contains(&bed.spad.output(), &["spad.toml:", "ttl"]);
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    bed.open(&["tcp/8080"]);
    let warnings = bed
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
    let mut bed = TestBed::new();
    edit(
        &bed,
        &[
            (
                "chat = \"udp/9999\"",
                "chat = \"udp/9999\"\nadmin = \"tcp/8081\"",
            ),
            ("\"chat\"]", "\"chat\", \"admin\"]"),
        ],
    );
    assert_eq!(bed.tcp(8081), Reachability::Open);
    for read in ["check", "reload"] {
        let read = bed.spad.cli(&[read]).ok();
        assert_contains(
            &format!("{}{}", read.stdout, read.stderr),
            &["nobody may open the hidden service `admin`", "help:"],
        );
    }
    assert_eq!(bed.tcp(8081), Reachability::Refused);
    bed.spad.stop();
    bed.spad.start();
    assert_eq!(bed.tcp(8081), Reachability::Refused);
}

#[test]
fn a_key_file_that_others_may_read_is_refused_with_the_mend() {
    let mut bed = TestBed::new();
    bed.spad.stop();
    let key = bed.spad.state().join("server.key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("its mode");
    let started = bed.spad.cli(&["run"]);
    assert_eq!(started.code, Some(1));
    assert_contains(&started.stderr, &["server.key", "chmod"]);
    let secret = std::fs::read_to_string(&key).expect("the key");
    assert!(!started.stderr.contains(secret.trim()));
}

/// Needs root, as giving away does.
#[test]
fn a_reload_that_may_not_read_the_servers_key_is_refused_with_the_help() {
    let bed = TestBed::new();
    let key = bed.spad.state().join("server.key");
    std::os::unix::fs::chown(&key, Some(0), Some(0)).expect("root's");
    let reloaded = bed.spad.cli(&["reload"]);
    assert_eq!(reloaded.code, Some(1));
    assert_contains(&reloaded.stderr, &["server.key", "help: run `spad check`"]);
    let _ = bed.spad.cli(&["init"]).ok();
    bed.spad.reload();
}

#[test]
fn a_start_without_the_servers_key_is_refused_with_the_mend() {
    let mut bed = TestBed::new();
    bed.spad.stop();
    std::fs::remove_file(bed.spad.state().join("server.key")).expect("the key");
    let started = bed.spad.cli(&["run"]);
    assert_eq!(started.code, Some(1));
    let help = "help: restore server.key from the backup; or `spad init` makes a new one, which every client must";
    assert_contains(&started.stderr, &["server.key", help]);
    for command in [&["check"][..], &["key", "show"]] {
        let output = bed.spad.cli(command);
        assert!(!output.success, "{command:?}");
        assert_contains(&output.stderr, &["server.key", help]);
    }
    let status = bed.spad.cli(&["status"]).stderr;
    assert_contains(
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
    let bed = TestBed::new();
    let file = bed.spad.config().join("spad.toml");
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("its mode");
    for asked in ["check", "reload"] {
        let refused = bed.spad.cli(&[asked]);
        assert_eq!(refused.code, Some(1), "{asked}");
        let output = format!("{}{}", refused.stdout, refused.stderr);
        let mend = format!(" {}\n", file.display());
        assert_contains(&output, &["spad.toml", "help: ch", &mend]);
        assert!(!output.contains("run this as root"), "{output}");
    }
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("its mode");
    bed.spad.reload();
}

#[test]
fn a_newly_hidden_service_is_shown_again_unless_it_was_reached_or_confirmed() {
    let bed = TestBed::with(&Settings {
        trial: "2s",
        ttl: "30s",
        ..Settings::default()
    });
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    bed.open(&["udp/9999"]);
    // Said, answered, said again: only then is a UDP flow a connection.
    bed.lab.client.enter(|| {
        let socket = std::net::UdpSocket::bind((spa_tests::lab::CLIENT4, 0)).unwrap();
        socket.set_read_timeout(Some(wait::TIMEOUT)).unwrap();
        socket.connect((spa_tests::lab::SERVER4, CHAT)).unwrap();
        for _ in 0..2 {
            socket.send(b"there?").unwrap();
            socket.recv(&mut [0; 16]).unwrap();
        }
    });
    wait::eventually("shown again", || {
        (bed.tcp(WEB) == Reachability::Open).then_some(())
    });
    let stranger = std::net::IpAddr::from(spa_tests::lab::STRANGER4);
    let seen = bed
        .lab
        .client
        .enter(|| spa_tests::reach::udp_from(stranger, spa_tests::lab::SERVER4.into(), CHAT));
    assert_eq!(
        seen,
        Reachability::Refused,
        "the one that was reached stays hidden"
    );
    // The engine may hear of it a moment after the kernel did it.
    wait::eventually("the status tells it", || {
        let output = bed.spad.cli(&["status"]).ok().stdout;
        let both = ["tcp/22, tcp/8080", "tcp/8080, tcp/22"];
        both.iter()
            .any(|shown| {
                output.contains(&format!("\nhidden      chat (everybody can see {shown})\n"))
            })
            .then_some(())
    });
    let status = bed.spad.status();
    assert_eq!(status["hidden"], serde_json::json!(["chat"]), "{status}");
}

#[test]
fn a_confirmed_service_stays_hidden() {
    let mut bed = TestBed::with(&Settings {
        trial: "2s",
        ..Settings::default()
    });
    let _ = bed.spad.cli(&["confirm"]).ok();
    bed.stays_closed(WEB, std::time::Duration::from_millis(2500));
    bed.spad.stop();
    bed.spad.start();
    bed.stays_closed(WEB, std::time::Duration::from_millis(2500));
}
