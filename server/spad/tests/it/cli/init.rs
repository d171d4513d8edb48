//! `spad init` and `spad key`.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use spa_keys::ServerSecret;

use crate::cli::Server;

#[test]
fn init_makes_what_is_missing_and_never_touches_what_is_there() {
    let server = Server::new();
    let before = server.all_files();
    server.run(&["init"]).exits_with(0);
    assert_eq!(server.all_files(), before);
    fs::remove_file(server.path("etc/spad.toml")).unwrap();
    let next = server
        .run(&["init"])
        .exits_with(0)
        .prints("hide = [\"ssh\"] in ");
    assert!(next.out.contains(" check\n"), "{}", next.out);
    fs::remove_file(server.path("etc/spad.toml")).unwrap();
    for port in ["0", "70000", "x"] {
        let output = server.run(&["init", "--port", port]);
        output
            .exits_with(2)
            .prints("a port is a number from 1 to 65535");
    }
    server
        .run(&["init", "--port", "4000"])
        .exits_with(0)
        .prints("4000");
    server
        .run(&["init", "--port", "4001"])
        .exits_with(1)
        .prints("never overwritten");
    let key = fs::read(server.path("var/server.key")).unwrap();
    assert!(
        before.iter().any(|(_, text)| *text == key),
        "the key was replaced"
    );
    server.run(&["check"]).exits_with(0);
}

#[test]
fn init_said_again_tells_what_the_configuration_hides() {
    let server = Server::new();
    server.add("anna", 1).exits_with(0);
    server
        .run(&["init"])
        .exits_with(0)
        .prints("nothing is hidden yet");
    server.configure("hide = []", "hide = [\"ssh\"]");
    let output = server.run(&["init"]).exits_with(0);
    let output = output
        .prints("hides ssh, and has 1 client.")
        .prints(" reload");
    assert!(!output.out.contains("nothing is hidden"), "{}", output.out);
}

#[test]
fn after_a_restore_init_says_that_hidden_ports_go_on_trial_and_how_to_end_that() {
    let server = Server::new();
    server.configure("hide = []", "hide = [\"ssh\"]");
    let output = server.run(&["init"]).exits_with(0);
    assert!(!output.err.contains("TRIAL"), "{}", output.err);
    fs::remove_dir_all(server.path("var")).unwrap();
    let output = server.run(&["init"]).exits_with(0);
    output
        .prints("tcp/22 will be hidden ON TRIAL, for 600 s")
        .prints("EVERYBODY CAN REACH IT")
        .prints("`spad confirm` hides them for good");
    fs::remove_dir_all(server.path("var")).unwrap();
    server.configure("[guard]", "[guard]\ntrial = \"0s\"");
    let output = server.run(&["init"]).exits_with(0);
    assert!(!output.err.contains("TRIAL"), "{}", output.err);
}

/// Needs root, as giving away does.
#[test]
fn keys_that_the_daemon_may_not_read_are_found_by_check_and_given_to_it_by_init() {
    let server = Server::new();
    server.add("anna", 1).exits_with(0);
    server.run(&["check"]).exits_with(0);
    let engine = fs::metadata(server.path("var/server.key")).unwrap().uid();
    assert_ne!(engine, 0, "root runs this");
    let key = server.path("var/server.key");
    chown(&key, Some(0), Some(0)).unwrap();
    let gid = fs::metadata(server.path("var")).unwrap().gid();
    let help = format!("chown {engine}:{gid} {} && chmod 600", key.display());
    server
        .run(&["check"])
        .exits_with(1)
        .prints(&help)
        .prints("1 error");
    server.run(&["init"]).exits_with(0);
    assert_eq!(fs::metadata(&key).unwrap().uid(), engine);
    server.run(&["check"]).exits_with(0);
    for directory in ["var", "var/keys"] {
        let path = server.path(directory);
        chown(&path, Some(0), Some(0)).unwrap();
        let help = format!("chgrp {gid} {} && chmod g+rx", path.display());
        server.run(&["check"]).exits_with(1).prints(&help);
        server.run(&["init"]).exits_with(0).prints(&help);
        chown(&path, Some(0), Some(gid)).unwrap();
        server.run(&["check"]).exits_with(0);
    }
}

#[test]
fn a_check_without_the_servers_key_is_not_ok() {
    let server = Server::new();
    server.run(&["check"]).exits_with(0);
    fs::remove_file(server.path("var/server.key")).unwrap();
    let output = server.run(&["check"]).exits_with(1);
    let output = output
        .prints("the server's key is missing")
        .prints("spad init");
    assert!(!output.out.contains("ok:"), "{}", output.out);
}

#[test]
fn a_key_that_was_there_starts_with_raised_floors_and_says_so() {
    let server = Server(tempfile::tempdir().unwrap());
    fs::create_dir(server.path("var")).unwrap();
    fs::set_permissions(server.path("var"), fs::Permissions::from_mode(0o700)).unwrap();
    let key = ServerSecret::from_bytes([7; 32]);
    fs::rename(server.secret(&key.to_text()), server.path("var/server.key")).unwrap();
    let output = server
        .run(&["init"])
        .exits_with(0)
        .prints("packets are refused for 120 s");
    assert!(output.out.contains(&key.public().to_string()));
}

#[test]
fn init_keeps_secrets_to_their_owner() {
    let server = Server::new();
    let mode = |name: &str| {
        fs::metadata(server.path(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    // Root lets the engine's group look in; nobody else gets in.
    assert_eq!(mode("var") & !0o050, 0o700);
    assert_eq!(mode("var/keys") & !0o050, 0o700);
    assert_eq!(mode("var/server.key"), 0o600);
    assert_eq!(mode("etc/spad.toml") & 0o022, 0);
}

#[test]
fn the_engine_owns_the_files_of_the_state_and_cannot_put_others_in_their_place() {
    let server = Server::new();
    let uid = |name: &str| fs::metadata(server.path(name)).unwrap().uid();
    let me = uid("etc");
    for directory in ["var", "var/keys"] {
        assert_eq!(uid(directory), me, "{directory}");
        let mode = fs::metadata(server.path(directory)).unwrap().mode();
        assert_eq!(mode & 0o022, 0, "{directory}");
    }
    if me == 0 {
        for file in ["var/server.key", "var/journal.a", "var/horizon"] {
            assert_ne!(uid(file), 0, "{file}");
        }
    }
}

#[test]
fn key_show_prints_the_public_key_and_nothing_else() {
    let server = Server::new();
    let output = server.run(&["key", "show"]).exits_with(0);
    assert!(
        output.out.starts_with("spad-pub-")
            && output.out.lines().count() == 1
            && output.err.is_empty()
    );
    server
        .run(&["key", "show", "--json"])
        .exits_with(0)
        .prints("{\"public_key\":\"spad-pub-");
}

#[test]
fn a_key_found_on_another_machine_is_adopted_only_when_told() {
    let server = Server::new();
    fs::write(
        server.path("var/machine-id"),
        "0123456789abcdef0123456789abcdef\n",
    )
    .unwrap();
    server.run(&["init"]).exits_with(0).prints("spad key adopt");
    server.run(&["key", "adopt"]).exits_with(1).prints("--yes");
    server.run(&["key", "adopt", "--yes"]).exits_with(0);
    server
        .run(&["key", "adopt"])
        .exits_with(0)
        .prints("already");
}
