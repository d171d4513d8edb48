//! `spad client`, and what `spad check` says of clients.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use spa_keys::{PreSharedKey, SharedKey};

use crate::cli::{Server, public_key};

#[test]
fn client_add_prints_the_line_for_the_client_and_remove_undoes_it() {
    let server = Server::new();
    server.configure(
        "# address = \"gw.example.org\"",
        "address = \"gw.example.org\"",
    );
    let before = server.all_files();
    let key = server.run(&["key", "show"]).exits_with(0).out;
    let output = server.add("anna", 1).exits_with(0);
    let line = output.out.trim();
    assert!(
        line.starts_with("spa host add gw --address gw.example.org --port "),
        "{line}"
    );
    assert!(line.contains(&format!("--key {} ", key.trim())), "{line}");
    assert!(line.ends_with("--service ssh=tcp/22"), "{line}");
    server
        .run(&["check"])
        .exits_with(0)
        .prints("ok: 1 service, 1 client\n");
    server.run(&["client", "remove", "anna"]).exits_with(0);
    assert_eq!(server.all_files(), before);
    server
        .run(&["client", "remove", "anna"])
        .exits_with(1)
        .prints("no client");
}

#[test]
fn client_add_changes_nothing_where_the_result_would_not_load() {
    let server = Server::new();
    server.add("anna", 1).exits_with(0);
    let before = server.all_files();
    let key = public_key(2);
    let output = server.add("anna", 2);
    output
        .exits_with(1)
        .prints("already")
        .prints("clients.d/anna.toml");
    server.add("bert", 1).exits_with(1).prints("have one key");
    server
        .run(&["client", "add", "bert", "--key", &key, "--allow", "shs"])
        .exits_with(1)
        .prints("did you mean `ssh`");
    server
        .run(&[
            "client",
            "add",
            "bert",
            "--key",
            "spa-pub-x",
            "--allow",
            "ssh",
        ])
        .exits_with(1)
        .prints("damaged");
    let past = [
        "client",
        "add",
        "bert",
        "--key",
        &key,
        "--allow",
        "ssh",
        "--expires",
        "2020-01-01T00:00:00Z",
    ];
    server.run(&past).exits_with(1).prints("expired at once");
    server
        .run(&["client", "add", "../x", "--key", &key, "--allow", "ssh"])
        .exits_with(2);
    server
        .run(&["client", "add", "bert", "--allow", "ssh"])
        .exits_with(2);
    assert_eq!(server.all_files(), before);
}

#[test]
fn a_shared_key_is_copied_for_the_daemon_alone_and_goes_with_the_client() {
    let server = Server::new();
    let secret = SharedKey::from_bytes([8; 32]).to_text();
    let file = server.secret(&secret);
    let before = server.all_files();
    server
        .run(&[
            "client",
            "add",
            "box",
            "--shared-key-file",
            &file,
            "--allow",
            "ssh",
        ])
        .exits_with(0)
        .prints("--service ssh=tcp/22 --shared-key-file FILE")
        .prints("mode 0600");
    let copy = fs::metadata(server.path("var/keys/box.shared")).unwrap();
    assert_eq!(copy.permissions().mode() & 0o777, 0o600);
    let engine = fs::metadata(server.path("var/server.key")).unwrap().uid();
    assert_eq!(copy.uid(), engine, "the daemon's");
    server.run(&["check"]).exits_with(0);
    server
        .run(&[
            "client",
            "add",
            "box2",
            "--shared-key-file",
            &file,
            "--allow",
            "ssh",
        ])
        .exits_with(1)
        .prints("has this key already");
    server.run(&["client", "remove", "box"]).exits_with(0);
    assert_eq!(server.all_files(), before);
}

#[test]
fn check_finds_a_secret_that_a_client_lacks() {
    let server = Server::new();
    let file = server.secret(&PreSharedKey::from_bytes([8; 32]).to_text());
    let key = public_key(1);
    server
        .run(&[
            "client",
            "add",
            "anna",
            "--key",
            &key,
            "--psk-file",
            &file,
            "--allow",
            "ssh",
        ])
        .exits_with(0)
        .prints("--service ssh=tcp/22 --psk-file FILE")
        .prints("mode 0600");
    server.run(&["check"]).exits_with(0);
    fs::remove_file(server.path("var/keys/anna.psk")).unwrap();
    server
        .run(&["check"])
        .exits_with(1)
        .prints("the pre-shared key of `anna`");
}

#[test]
fn disable_and_enable_undo_each_other_and_keep_comments() {
    let server = Server::new();
    server.add("anna", 1).exits_with(0);
    let text = format!(
        "# since May\n{}",
        fs::read_to_string(server.client("anna")).unwrap()
    );
    fs::write(server.client("anna"), &text).unwrap();
    server.run(&["client", "disable", "anna"]).exits_with(0);
    server
        .run(&["client", "list"])
        .exits_with(0)
        .prints("disabled");
    server
        .run(&["client", "disable", "anna"])
        .exits_with(0)
        .prints("already");
    server.run(&["client", "enable", "anna"]).exits_with(0);
    assert_eq!(fs::read_to_string(server.client("anna")).unwrap(), text);
    server
        .run(&["client", "disable", "bert"])
        .exits_with(1)
        .prints("no client");
}

#[test]
fn a_client_can_be_withdrawn_whatever_state_the_files_are_in() {
    let server = Server::new();
    server.add("anna", 1).exits_with(0);
    server.add("bert", 2).exits_with(0);
    fs::write(server.path("etc/spad.toml"), "hide = [").unwrap();
    server
        .run(&["client", "disable", "anna"])
        .exits_with(0)
        .prints("the configuration has errors");
    fs::write(server.client("bert"), b"\xff\xfe").unwrap();
    server
        .run(&["client", "disable", "bert"])
        .exits_with(0)
        .prints("moved to");
    assert!(!server.client("bert").exists());
    server.run(&["client", "enable", "bert"]).exits_with(1);
    assert_eq!(fs::read(server.client("bert")).unwrap(), b"\xff\xfe");
    server.run(&["client", "disable", "bert"]).exits_with(0);
    server.run(&["client", "remove", "bert"]).exits_with(0);
    server.run(&["client", "remove", "anna"]).exits_with(0);
    let left = fs::read_dir(server.path("etc/clients.d")).unwrap();
    assert_eq!(left.count(), 0, "nor what was moved aside");
}

#[test]
fn a_lock_out_by_withdrawing_is_a_warning_with_its_mend() {
    let server = Server::new();
    server.add("anna", 1).exits_with(0);
    server.configure("hide = []", "hide = [\"ssh\"]");
    server.run(&["check"]).exits_with(0);
    server
        .run(&["client", "disable", "anna"])
        .exits_with(0)
        .prints("warning: nobody may open")
        .prints("spad client enable anna");
    server
        .run(&["check"])
        .exits_with(0)
        .prints("warning: nobody may open");
    server
        .run(&["client", "remove", "anna"])
        .exits_with(0)
        .prints("warning: nobody may open");
}

#[test]
fn list_and_show_report_as_json_too() {
    let server = Server::new();
    server.add("anna", 1).exits_with(0);
    let list: serde_json::Value =
        serde_json::from_str(&server.run(&["client", "list", "--json"]).exits_with(0).out).unwrap();
    assert_eq!(list["clients"][0]["name"], "anna");
    assert_eq!(list["clients"][0]["state"], "active");
    let show: serde_json::Value = serde_json::from_str(
        &server
            .run(&["client", "show", "anna", "--json"])
            .exits_with(0)
            .out,
    )
    .unwrap();
    assert_eq!(show["keys"][0], public_key(1));
    assert_eq!(show["key_ids"][0].as_str().unwrap().len(), 16);
    server
        .run(&["client", "show", "ana"])
        .exits_with(1)
        .prints("did you mean `anna`");
}

#[test]
fn check_finds_two_clients_with_one_shared_key() {
    let server = Server::new();
    let file = server.secret(&SharedKey::from_bytes([8; 32]).to_text());
    let add = [
        "client",
        "add",
        "box",
        "--shared-key-file",
        &file,
        "--allow",
        "ssh",
    ];
    server.run(&add).exits_with(0);
    for (from, to) in [
        ("etc/clients.d/box.toml", "etc/clients.d/copy.toml"),
        ("var/keys/box.shared", "var/keys/copy.shared"),
    ] {
        fs::copy(server.path(from), server.path(to)).unwrap();
    }
    server
        .run(&["check"])
        .exits_with(1)
        .prints("have the same key");
}

#[test]
fn client_show_prints_what_holds_with_its_groups_and_list_its_note() {
    let server = Server::new();
    server.configure(
        "[policy]\n",
        "[groups.staff]\nallow = [\"ssh\"]\nhours = [\"mon-fri 08:00-18:00\"]\nmax_ttl = \"1m\"\nmax_grants = 2\ncommands = [\"mail\"]\n[policy]\n",
    );
    let text = format!(
        "key = [{{ key = \"{}\", until = 2099-01-01T00:00:00Z }}, \"{}\"]\ngroups = [\"staff\"]\nmax_ttl = \"2m\"\nnote = \"since May\"\ncommands = [\"backup\"]\nipv4_prefix = 24\nipv6_prefix = 64\n",
        public_key(1),
        public_key(2)
    );
    fs::write(server.client("anna"), text).unwrap();
    let shown = server.run(&["client", "show", "anna"]).exits_with(0);
    let shown = shown.prints(" until 2099-01-01T00:00:00Z\n");
    for row in [
        "groups          staff",
        "allow           ssh",
        "commands        backup, mail",
        "ipv4_prefix     24",
        "ipv6_prefix     64",
        "hours           mon-fri 08:00-18:00 (UTC)",
    ] {
        assert!(shown.out.contains(row), "{}", shown.out);
    }
    let shown = shown
        .prints("max_ttl         60s")
        .prints("max_grants      2");
    drop(shown.prints("note            since May"));
    server
        .run(&["client", "list"])
        .exits_with(0)
        .prints("ssh  # since May");
}

#[test]
fn an_expiry_without_time_and_offset_is_answered_with_an_example() {
    let server = Server::new();
    let key = public_key(1);
    let add = [
        "client",
        "add",
        "anna",
        "--key",
        &key,
        "--allow",
        "ssh",
        "--expires",
        "2027-01-31",
    ];
    server
        .run(&add)
        .exits_with(2)
        .prints("for example 2027-01-31T18:00:00Z");
}

#[test]
fn a_key_is_changed_with_a_time_of_grace_and_its_inverse_takes_it_out_again() {
    let server = Server::new();
    server.add("anna", 1).exits_with(0);
    let before = fs::read_to_string(server.client("anna")).unwrap();
    let (old, new) = (public_key(1), public_key(2));
    let until = "2099-01-01T00:00:00Z";
    let add = ["client", "key", "anna", "--add", &new, "--old-until", until];
    server.run(&add).exits_with(0);
    let text = fs::read_to_string(server.client("anna")).unwrap();
    assert!(
        text.contains(&format!("{{ key = \"{old}\", until = {until} }}")),
        "{text}"
    );
    server.run(&["check"]).exits_with(0);
    server.run(&add).exits_with(1).prints("stands here twice");
    server
        .run(&["client", "key", "anna", "--remove", &public_key(3)])
        .exits_with(1)
        .prints("does not have");
    server
        .run(&["client", "key", "anna", "--remove", &new])
        .exits_with(0);
    server
        .run(&["client", "key", "anna", "--remove", &old])
        .exits_with(1)
        .prints("only key");
    server
        .run(&["client", "key", "anna", "--add", &new])
        .exits_with(0);
    server
        .run(&["client", "key", "anna", "--remove", &old])
        .exits_with(0);
    let after = fs::read_to_string(server.client("anna")).unwrap();
    assert_eq!(after, before.replace(&old, &new));
    server
        .run(&["client", "key", "bert", "--remove", &old])
        .exits_with(1)
        .prints("no client");
}
