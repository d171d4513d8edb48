//! `spad import knockd`, as people run it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::{Said, Server};

const SSH: &str = "[openSSH]\nsequence = 7000,8000,9000\nseq_timeout = 5\ncommand = /sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\ncmd_timeout = 20\nstop_command = /sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n";

fn put(server: &Server, text: &str) -> String {
    let path = server.path("knockd.conf");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn import(server: &Server, text: &str, more: &[&str]) -> Said {
    let path = put(server, text);
    server.run(&[&["import", "knockd", &path][..], more].concat())
}

#[test]
fn what_is_imported_stands_in_the_configuration_once() {
    let server = Server::new();
    let file = server.path("etc/spad.toml");
    let old = fs::read_to_string(&file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    let said = import(&server, SSH, &[]).is(0).says("1 new door");
    for step in [
        "spad",
        "check",
        "restart spad",
        "hide = []",
        "disable --now knockd",
    ] {
        assert!(said.out.contains(step), "{step}: {}", said.out);
    }
    let new = fs::read_to_string(&file).unwrap();
    assert!(new.starts_with(&old));
    assert!(new.contains("sequence = \"7000,8000,9000\"\nopen = [\"ssh\"]\nttl = \"20s\"\n"));
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o604
    );
    server.run(&["check"]).is(0);
    let all = server.everything();
    let said = import(&server, SSH, &[])
        .is(0)
        .says("imported already: openssh");
    assert!(!said.out.contains("next:"), "{}", said.out);
    assert_eq!(server.everything(), all);
}

#[test]
fn a_dry_run_prints_what_an_import_writes_and_touches_nothing() {
    let server = Server::new();
    put(&server, SSH);
    let before = server.everything();
    let said = import(&server, SSH, &["--dry-run"]).is(0);
    assert_eq!(server.everything(), before);
    import(&server, SSH, &[]).is(0);
    let new = fs::read_to_string(server.path("etc/spad.toml")).unwrap();
    let door = said.out.split_once(":\n\n").unwrap().1.trim();
    assert!(
        door.contains("[[knock]]") && new.contains(door),
        "{}",
        said.out
    );
}

#[test]
fn an_error_in_one_line_keeps_everything_from_being_written() {
    let server = Server::new();
    let wrong = format!("{SSH}[b]\nsequence = 7001,0\ncomand = /bin/true\n");
    put(&server, &wrong);
    let before = server.everything();
    for more in [&[][..], &["--dry-run"]] {
        let said = import(&server, &wrong, more)
            .is(1)
            .says("nothing was changed");
        let said = said
            .says("knockd.conf:8:17")
            .says("did you mean `command`?");
        assert_eq!(said.out, "");
        assert_eq!(server.everything(), before);
    }
}

#[test]
fn without_a_configuration_init_comes_first() {
    let server = Server::new();
    fs::remove_file(server.path("etc/spad.toml")).unwrap();
    import(&server, SSH, &[]).is(1).says("spad init");
    assert!(!server.path("etc/spad.toml").exists());
    server.run(&["init"]).is(0);
    server.configure("hide = []", "hide = [");
    import(&server, SSH, &[]).is(1).says("mend it");
}

#[test]
fn a_file_that_others_can_change_or_that_is_none_is_not_read() {
    let server = Server::new();
    let path = put(&server, SSH);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let run = |path: &str| server.run(&["import", "knockd", path, "--dry-run"]);
    run(&path).is(1).says("chmod go-w");
    run("/nonexistent/knockd.conf")
        .is(1)
        .says("whether the path is right");
    run("/dev/null").is(1).says("not a regular file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(&path, b"[a]\nsequence = \xff\n").unwrap();
    run(&path).is(1).says("UTF-8");
    fs::write(&path, vec![b'#'; 300_000]).unwrap();
    run(&path).is(1).says("longer than 256 KiB");
}

#[test]
fn a_configuration_behind_a_link_stays_behind_it() {
    let server = Server::new();
    let (file, real) = (server.path("etc/spad.toml"), server.path("real.toml"));
    fs::rename(&file, &real).unwrap();
    symlink(&real, &file).unwrap();
    import(&server, SSH, &[]).is(0);
    assert!(file.symlink_metadata().unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("[[knock]]"));
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o022, 0);
}

#[test]
fn nothing_of_the_file_is_run() {
    let server = Server::new();
    let mark = server.path("mark");
    let text = format!(
        "[a]\nsequence = 1,2\ncommand = /usr/bin/touch {0}\nstop_command = touch {0}; $(touch {0})\n",
        mark.display()
    );
    for more in [&["--dry-run"][..], &[]] {
        let _ = import(&server, &text, more);
        assert!(!mark.exists());
    }
}

#[test]
fn a_report_as_json_names_the_doors_and_what_was_left_out() {
    let server = Server::new();
    let text = format!("{SSH}[idle]\nsequence = 1,2\n");
    let said = import(&server, &text, &["--json"]).is(0);
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["doors"], serde_json::json!(["openssh"]));
    assert_eq!(report["left_out"], 1);
    assert_eq!(report["services"], serde_json::json!(["ssh"]));
}
