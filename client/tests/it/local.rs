//! Keys and configuration of this machine: nothing is lost, nothing leaks, and
//! what is wrong is said before a packet leaves.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::common::Client;
use spa_keys::{ClientSecret, ServerSecret};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_key_is_made_for_its_owner_alone_and_never_replaced() {
    let client = Client::new();
    assert_eq!(mode(&client.path("identity")), 0o600);
    assert_eq!(mode(&client.path("")), 0o700);
    let before = fs::read(client.path("identity")).unwrap();
    let run = client.spa(["key", "new"]);
    assert_eq!(run.code, 6, "{run:?}");
    assert!(run.stderr.contains("not replaced"), "{run:?}");
    assert_eq!(fs::read(client.path("identity")).unwrap(), before);
    assert_eq!(fs::read_dir(client.path("")).unwrap().count(), 1);
}

#[test]
fn every_new_directory_on_the_way_is_private() {
    let client = Client::new();
    let deep = client.home.path().join("a/b/c");
    let run = client.spa(["--config", deep.to_str().unwrap(), "key", "new"]);
    assert_eq!(run.code, 0, "{run:?}");
    for directory in ["a", "a/b", "a/b/c"] {
        assert_eq!(mode(&client.home.path().join(directory)), 0o700);
    }
}

#[test]
fn a_key_that_others_can_read_is_refused_and_nothing_is_sent() {
    let client = Client::with_host("");
    for bad in [0o640, 0o604, 0o660] {
        fs::set_permissions(client.path("identity"), fs::Permissions::from_mode(bad)).unwrap();
        for words in [["gw", "-v"], ["packet", "gw"], ["key", "show"]] {
            let run = client.spa(words);
            assert_eq!(run.code, 6, "{run:?}");
            assert!(run.stderr.contains("chmod 600"), "{run:?}");
            assert!(run.stdout.is_empty(), "{run:?}");
        }
    }
    assert!(client.received().is_empty());
}

#[test]
fn a_missing_or_damaged_key_says_how_to_mend_it() {
    let client = Client::with_host("");
    let text = fs::read_to_string(client.path("identity")).unwrap();
    let public = ClientSecret::from_bytes([1; 32]).public().to_string();
    let damaged = text.trim().split_at(text.trim().len() - 9).0.to_owned() + "AAAAAAAAA";
    for (text, expected) in [
        (damaged.as_str(), "damaged"),
        (public.as_str(), "a client's public key"),
        ("", "there is no key here"),
    ] {
        client.write("identity", text, 0o600);
        let run = client.spa(["gw"]);
        assert_eq!(run.code, 6, "{run:?}");
        assert!(run.stderr.contains(expected), "{run:?}");
    }
    fs::remove_file(client.path("identity")).unwrap();
    let run = client.spa(["gw"]);
    assert_eq!(run.code, 6, "{run:?}");
    assert!(run.stderr.contains("`spa key new` makes one"), "{run:?}");
    assert!(client.received().is_empty());
}

#[test]
fn one_unknown_host_keeps_the_others_from_being_asked() {
    let client = Client::with_host("");
    for words in [["open", "gw", "gx"], ["open", "gw", "gw:nothing"]] {
        let run = client.spa(words);
        assert_eq!(run.code, 6, "{run:?}");
    }
    assert!(client.spa(["gx"]).stderr.contains("did you mean `gw`?"));
    assert!(client.received().is_empty());
}

#[test]
fn a_configuration_that_others_can_write_is_refused() {
    let client = Client::with_host("");
    for bad in [0o620, 0o602, 0o666] {
        fs::set_permissions(client.path("config.toml"), fs::Permissions::from_mode(bad)).unwrap();
        let run = client.spa(["gw"]);
        assert_eq!(run.code, 6, "{run:?}");
        assert!(run.stderr.contains("others can write it"), "{run:?}");
    }
    assert!(client.received().is_empty());
}

#[test]
fn a_configuration_that_is_no_file_ends_at_once() {
    let client = Client::new();
    fs::create_dir(client.path("config.toml")).unwrap();
    assert_eq!(client.spa(["hosts"]).code, 6);
    fs::remove_dir(client.path("config.toml")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(client.path("config.toml"))
        .status();
    assert!(made.unwrap().success());
    assert_eq!(client.spa(["hosts"]).code, 6);
}

#[test]
fn bad_configurations_are_explained_as_expected() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/config");
    let key = ServerSecret::from_bytes([7; 32]).public().to_string();
    let mut count = 0;
    for case in fs::read_dir(cases).unwrap() {
        let case = case.unwrap().path();
        if case.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let client = Client::new();
        let text = fs::read_to_string(&case)
            .unwrap()
            .replace("SERVER_KEY", &key);
        client.write("config.toml", &text, 0o600);
        let run = client.spa(["hosts"]);
        assert_eq!(run.code, 6, "{case:?}: {run:?}");
        let directory = client.path("");
        let shown = run.stderr.replace(directory.to_str().unwrap(), "");
        let expected = case.with_extension("stderr");
        // `UPDATE_EXPECTED=1 cargo test -p spa --test it` writes them anew, to be read.
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &shown).unwrap();
        }
        assert_eq!(shown, fs::read_to_string(&expected).unwrap(), "{case:?}");
        count += 1;
    }
    assert!(count >= 5);
}
