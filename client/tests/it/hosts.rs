//! Hosts are added and removed without losing anything; the words of the command
//! line are checked; manual pages and completions name all of them.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use crate::common::Client;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_host_is_added_as_the_server_prints_it_and_removed_without_a_trace() {
    let client = Client::new();
    client.write("config.toml", "# mine\n\n# the end\n", 0o640);
    let key = client.server.public().to_string();
    let add = [
        "host",
        "add",
        "gw",
        "--address",
        "gw.example.org",
        "--port",
        "62201",
        "--key",
        &key,
        "--service",
        "ssh=tcp/22",
    ];
    let run = client.spa(add);
    assert_eq!(run.code, 0, "{run:?}");
    let hosts = client.spa(["hosts"]);
    assert_eq!(
        hosts.stdout,
        "gw  gw.example.org port 62201  opens what the server allows; knows ssh=tcp/22\n"
    );
    let run = client.spa(add);
    assert_eq!(run.code, 6, "{run:?}");
    assert!(run.stderr.contains("already"), "{run:?}");
    assert_eq!(client.spa(["host", "remove", "gw"]).code, 0);
    let left = fs::read_to_string(client.path("config.toml")).unwrap();
    assert_eq!(left, "# mine\n\n# the end\n");
    assert_eq!(mode(&client.path("config.toml")), 0o640);
    assert_eq!(client.spa(["host", "remove", "gw"]).code, 6);
    assert_eq!(fs::read_dir(client.path("")).unwrap().count(), 2);
}

#[test]
fn the_word_for_an_address_is_not_taken_for_one() {
    let client = Client::new();
    let key = client.server.public().to_string();
    let add = [
        "host",
        "add",
        "gw",
        "--address",
        "ADDRESS",
        "--port",
        "62201",
        "--key",
        &key,
    ];
    let run = client.spa(add);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("in place of ADDRESS"), "{run:?}");
}

#[test]
fn a_linked_configuration_stays_a_link() {
    let client = Client::new();
    let real = client.home.path().join("real.toml");
    fs::write(&real, "# mine\n").unwrap();
    symlink(&real, client.path("config.toml")).unwrap();
    let key = client.server.public().to_string();
    let run = client.spa([
        "host",
        "add",
        "gw",
        "--address",
        "a",
        "--port",
        "1",
        "--key",
        &key,
    ]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(client.path("config.toml").is_symlink());
    assert!(
        fs::read_to_string(&real)
            .unwrap()
            .starts_with("# mine\n\n[hosts.gw]\n")
    );
}

#[test]
fn hosts_added_at_the_same_time_are_all_kept() {
    let client = Client::new();
    let key = client.server.public().to_string();
    let running: Vec<_> = (0..8)
        .map(|n| {
            let name = format!("h{n}");
            let words = [
                "host",
                "add",
                &name,
                "--address",
                "a",
                "--port",
                "1",
                "--key",
                &key,
                "-q",
            ];
            client.command(words).spawn().unwrap()
        })
        .collect();
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(client.spa(["hosts"]).stdout.lines().count(), 8);
}

#[test]
fn words_that_make_no_sense_are_named_with_the_mend() {
    let client = Client::with_host("");
    let key = client.server.public().to_string();
    let add = |more: [&'static str; 2]| {
        let mut words = vec![
            "host",
            "add",
            "web",
            "--address",
            "a",
            "--port",
            "1",
            "--key",
            &key,
        ];
        words.extend(more);
        client.spa(words)
    };
    for (run, expected) in [
        (client.spa(["gw", "--ttl", "60"]), "needs a unit"),
        (client.spa(["gw", "--ttl", "0s"]), "zero"),
        (
            client.spa(["gw", "--for", "127.0.0.1"]),
            "cannot be granted",
        ),
        (
            client.spa(["gw", "--for=10.0.0.1", "--for=10.0.0.2"]),
            "at most one IPv4",
        ),
        (client.spa(["gw", "-4", "-6"]), "cannot be used with"),
        (
            client.spa(["packet", "gw:tcp/1", "gw"]),
            "one packet is for one host",
        ),
        (client.spa(["--config"]), "a value is required"),
        (
            client.spa(["host", "add", "hosts", "--address=a", "--port=1", "--key=x"]),
            "is a command",
        ),
        (add(["--service", "ssh"]), "NAME=PORTS"),
        (add(["--service", "ssh=22"]), "protocol/port"),
        (add(["--default", "ssh"]), "--service"),
        (
            client.spa([
                "host",
                "add",
                "web",
                "--address=a:1",
                "--port=1",
                "--key",
                &key,
            ]),
            "address alone",
        ),
    ] {
        assert_eq!(run.code, 2, "{expected}: {run:?}");
        assert!(run.stderr.contains(expected), "{expected}: {run:?}");
    }
    assert_eq!(client.spa(["hosts"]).stdout.lines().count(), 1);
    assert!(client.received().is_empty());
}

#[test]
fn later_commands_are_not_pretended() {
    let client = Client::with_host("");
    for word in ["hold", "join", "status", "doctor", "explain"] {
        let run = client.spa([word]);
        assert_eq!(run.code, 6, "{run:?}");
        assert!(run.stderr.contains(&format!("no host `{word}`")), "{run:?}");
    }
}

#[test]
fn manual_pages_and_completions_name_every_option() {
    let client = Client::new();
    let pages = client.home.path().join("made/man");
    let run = client.spa(["man", "--directory", pages.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{run:?}");
    let page = fs::read_to_string(pages.join("spa-open.1")).unwrap();
    for option in [
        "ttl",
        "for",
        "no\\-wait",
        "timeout",
        "dry\\-run",
        "\\-4",
        "\\-6",
        "json",
        "config",
    ] {
        assert!(page.contains(option), "{option}");
    }
    let first = fs::read_to_string(pages.join("spa.1")).unwrap();
    assert!(first.contains("EXIT STATUS"));
    // No page is named that is not made.
    assert!(!first.contains("spa\\-help"));
    assert!(pages.join("spa-host-add.1").exists());
    assert!(
        client
            .spa(["man", "host", "add"])
            .stdout
            .contains("shared\\-key\\-file")
    );
    for shell in ["bash", "zsh", "fish"] {
        let run = client.spa(["completions", shell]);
        assert!(run.code == 0 && run.stdout.contains("no-wait"), "{shell}");
    }
}
