//! Files that are not as they must be, and commands called wrongly.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::cli::Server;

#[test]
fn files_that_others_can_change_are_refused() {
    let server = Server::new();
    server.add("anna", 1).exits_with(0);
    for (name, mode) in [
        ("etc/spad.toml", 0o646),
        ("etc/clients.d/anna.toml", 0o664),
        ("etc/clients.d", 0o777),
        ("etc", 0o775),
    ] {
        let path = server.path(name);
        let old = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        server
            .run(&["check"])
            .exits_with(1)
            .prints("lets others write")
            .prints("chmod go-w");
        fs::set_permissions(&path, old).unwrap();
    }
    server.run(&["check"]).exits_with(0);
    std::os::unix::fs::symlink(server.path("etc/spad.toml"), server.client("link")).unwrap();
    server
        .run(&["check"])
        .exits_with(1)
        .prints("not a regular file");
    fs::remove_file(server.client("link")).unwrap();
    fs::create_dir(server.client("directory")).unwrap();
    server
        .run(&["check"])
        .exits_with(1)
        .prints("not a regular file");
}

/// Needs root: who is not reads as himself, and cannot give files away.
#[test]
fn what_the_daemon_may_not_read_at_a_reload_is_found_by_the_check() {
    let server = Server::new();
    server.add("anna", 1).exits_with(0);
    for (name, mode) in [
        ("etc/spad.toml", 0o600),
        ("etc/spad.toml", 0o640),
        ("etc/clients.d/anna.toml", 0o600),
        ("etc/clients.d", 0o700),
        ("etc", 0o700),
    ] {
        let path = server.path(name);
        let status = fs::metadata(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&path, None, Some(0)).unwrap();
        let output = server.run(&["check"]).exits_with(1);
        let output = output.prints("let the users of the daemon not read this");
        let mend = format!(" {}\n", path.display());
        assert!(output.err.contains("help: ch"), "{}", output.err);
        assert!(output.err.contains(&mend), "{}", output.err);
        assert!(!output.out.contains("ok:"), "{}", output.out);
        std::os::unix::fs::chown(&path, None, Some(status.gid())).unwrap();
        fs::set_permissions(&path, status.permissions()).unwrap();
    }
    server.run(&["check"]).exits_with(0);
}

#[test]
fn who_may_open_what_is_not_judged_while_a_client_cannot_be_read() {
    let server = Server::new();
    server.add("anna", 1).exits_with(0);
    server.configure("hide = []", "hide = [\"ssh\"]");
    server.run(&["check"]).exits_with(0);
    for (name, mode) in [("etc/clients.d", 0o777), ("etc/clients.d/anna.toml", 0o666)] {
        let path = server.path(name);
        let old = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let output = server
            .run(&["check"])
            .exits_with(1)
            .prints("lets others write");
        assert!(!output.err.contains("nobody may open"), "{}", output.err);
        fs::set_permissions(&path, old).unwrap();
    }
    fs::remove_file(server.client("anna")).unwrap();
    server
        .run(&["check"])
        .exits_with(0)
        .prints("nobody may open");
}

#[test]
fn a_file_too_long_or_not_utf_8_is_refused() {
    let server = Server::new();
    let good = fs::read(server.path("etc/spad.toml")).unwrap();
    fs::write(server.path("etc/spad.toml"), "#".repeat((1 << 20) + 1)).unwrap();
    server
        .run(&["check"])
        .exits_with(1)
        .prints("longer than 1024 KiB");
    fs::write(
        server.path("etc/spad.toml"),
        [&good[..], b"# \xff\n"].concat(),
    )
    .unwrap();
    server.run(&["check"]).exits_with(1).prints("not UTF-8");
    fs::remove_file(server.path("etc/spad.toml")).unwrap();
    server.run(&["check"]).exits_with(1).prints("spad init");
}

#[test]
fn a_fault_of_usage_ends_with_2_and_help_with_0() {
    let server = Server::new();
    server.run(&["nonsense"]).exits_with(2);
    server.run(&["init", "--port", "0"]).exits_with(2);
    server.run(&["init", "--port", "65536"]).exits_with(2);
    server.run(&["client", "add"]).exits_with(2);
    server.run(&["check", "--nonsense"]).exits_with(2);
    server.run(&["--help"]).exits_with(0).prints("Example:");
    server
        .run(&["client", "add", "--help"])
        .exits_with(0)
        .prints("Example:");
    server
        .run(&["completions", "bash"])
        .exits_with(0)
        .prints("complete");
    server.run(&["man"]).exits_with(0).prints(".TH");
    server
        .run(&["man", server.path("made/man").to_str().unwrap()])
        .exits_with(0);
    assert!(server.path("made/man/spad-client-add.8").exists());
    // No page is named that is not made.
    for page in ["made/man/spad.8", "made/man/spad-client.8"] {
        let page = fs::read_to_string(server.path(page)).unwrap();
        assert!(page.contains("\\-show") || page.contains("\\-check"));
        assert!(!page.contains("\\-help(8)"));
    }
    assert!(!server.path("made/man/spad-firewall-writer.8").exists());
}

#[test]
fn a_configuration_that_cannot_be_read_is_called_an_error_once() {
    let server = Server::new();
    fs::remove_file(server.path("etc/spad.toml")).unwrap();
    let output = server.run(&["firewall", "show"]);
    let output = output.exits_with(1).prints("spad.toml");
    assert!(!output.err.contains("error: error:"), "{}", output.err);
}
