//! `spad import knockd`, as people run it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::cli::{CliOutput, Server};

const SSH: &str = "[openSSH]\nsequence = 7000,8000,9000\nseq_timeout = 5\ncommand = /sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\ncmd_timeout = 20\nstop_command = /sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n";

fn put(server: &Server, text: &str) -> String {
    let path = server.path("knockd.conf");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn import(server: &Server, text: &str, more: &[&str]) -> CliOutput {
    let path = put(server, text);
    server.run(&[&["import", "knockd", &path][..], more].concat())
}

#[test]
fn what_is_imported_stands_in_the_configuration_once() {
    let server = Server::new();
    let file = server.path("etc/spad.toml");
    let old = fs::read_to_string(&file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    let output = import(&server, SSH, &[]).exits_with(0).prints("1 new door");
    for step in [
        "spad",
        "check",
        "restart spad",
        "hide = []",
        "answer = \"drop\"",
        "before the trial is over",
        "disable --now knockd",
    ] {
        assert!(output.out.contains(step), "{step}: {}", output.out);
    }
    let new = fs::read_to_string(&file).unwrap();
    assert!(new.starts_with(&old));
    assert!(new.contains("sequence = \"7000,8000,9000\"\nopen = [\"ssh\"]\nttl = \"20s\"\n"));
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o604
    );
    server.run(&["check"]).exits_with(0);
    let all = server.all_files();
    let output = import(&server, SSH, &[])
        .exits_with(0)
        .prints("imported already: openssh");
    assert!(!output.out.contains("next:"), "{}", output.out);
    assert_eq!(server.all_files(), all);
}

#[test]
fn a_dry_run_prints_what_an_import_writes_and_touches_nothing() {
    let server = Server::new();
    put(&server, SSH);
    let before = server.all_files();
    let output = import(&server, SSH, &["--dry-run"]).exits_with(0);
    assert_eq!(server.all_files(), before);
    import(&server, SSH, &[]).exits_with(0);
    let new = fs::read_to_string(server.path("etc/spad.toml")).unwrap();
    server
        .run(&["check"])
        .prints("ok: 1 service, 0 clients, 1 door\n");
    let door = output.out.split_once(":\n\n").unwrap().1.trim();
    assert!(
        door.contains("[[knock]]") && new.contains(door),
        "{}",
        output.out
    );
}

#[test]
fn an_error_in_one_line_keeps_everything_from_being_written() {
    let server = Server::new();
    let wrong = format!("{SSH}[b]\nsequence = 7001,0\ncomand = /bin/true\n");
    put(&server, &wrong);
    let before = server.all_files();
    for more in [&[][..], &["--dry-run"]] {
        let output = import(&server, &wrong, more)
            .exits_with(1)
            .prints("nothing was changed");
        let output = output
            .prints("knockd.conf:8:17")
            .prints("did you mean `command`?");
        assert_eq!(output.out, "");
        assert_eq!(server.all_files(), before);
    }
}

#[test]
fn without_a_configuration_init_comes_first() {
    let server = Server::new();
    fs::remove_file(server.path("etc/spad.toml")).unwrap();
    import(&server, SSH, &[]).exits_with(1).prints("spad init");
    assert!(!server.path("etc/spad.toml").exists());
    server.run(&["init"]).exits_with(0);
    server.configure("hide = []", "hide = [");
    import(&server, SSH, &[]).exits_with(1).prints("mend it");
}

#[test]
fn a_file_that_others_can_change_or_that_is_none_is_not_read() {
    let server = Server::new();
    let path = put(&server, SSH);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let run = |path: &str| server.run(&["import", "knockd", path, "--dry-run"]);
    run(&path).exits_with(1).prints("chmod go-w");
    run("/nonexistent/knockd.conf")
        .exits_with(1)
        .prints("whether the path is right");
    run("/dev/null").exits_with(1).prints("not a regular file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(&path, b"[a]\nsequence = \xff\n").unwrap();
    run(&path).exits_with(1).prints("UTF-8");
    fs::write(&path, vec![b'#'; 300_000]).unwrap();
    run(&path).exits_with(1).prints("longer than 256 KiB");
}

#[test]
fn a_configuration_behind_a_link_stays_behind_it() {
    let server = Server::new();
    let (file, real) = (server.path("etc/spad.toml"), server.path("real.toml"));
    fs::rename(&file, &real).unwrap();
    symlink(&real, &file).unwrap();
    import(&server, SSH, &[]).exits_with(0);
    assert!(file.symlink_metadata().unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("[[knock]]"));
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o022, 0);
}

#[test]
fn nothing_of_the_file_is_run() {
    let server = Server::new();
    let mark = server.path("mark");
    let text = format!(
        "[a]\nsequence = 1,5\ncommand = /usr/bin/touch {0}\nstop_command = touch {0}; $(touch {0})\n",
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
    let text = format!("{SSH}[idle]\nsequence = 1,5\n");
    let output = import(&server, &text, &["--json"]).exits_with(0);
    let report: serde_json::Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!(report["doors"], serde_json::json!(["openssh"]));
    assert_eq!(report["left_out"], 1);
    assert_eq!(report["services"], serde_json::json!(["ssh"]));
}

/// A door with a file of sequences for one use.
fn one_time(server: &Server, lines: &str) -> String {
    let path = server.path("smtp");
    fs::write(&path, lines).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    format!(
        "[smtp]\none_time_sequences = {}\ncommand = ufw allow from %IP% to any port 25 proto tcp\n",
        path.display()
    )
}

#[test]
fn sequences_for_one_use_are_copied_without_the_used_ones_and_nobody_else_reads_them() {
    let server = Server::new();
    let text = one_time(&server, "#1001,1005\n 2001,2002:udp\n 3001,3005\n");
    import(&server, &text, &["--dry-run"])
        .exits_with(0)
        .prints("2001,2002:udp\n3001,3005\n");
    let copy = server.path("etc/one-time/smtp");
    assert!(!copy.parent().unwrap().exists());
    import(&server, &text, &[]).exits_with(0);
    assert_eq!(
        fs::read_to_string(&copy).unwrap(),
        "2001,2002:udp\n3001,3005\n"
    );
    for path in [copy.as_path(), copy.parent().unwrap()] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o027, 0);
    }
    server.run(&["check"]).exits_with(0);
    let all = server.all_files();
    import(&server, &text, &[])
        .exits_with(0)
        .prints("imported already: smtp");
    assert_eq!(server.all_files(), all);
}

#[test]
fn a_file_in_the_place_of_the_copy_is_kept_and_nothing_is_written() {
    let server = Server::new();
    let text = one_time(&server, " 2001,2005\n");
    put(&server, &text);
    let copy = server.path("etc/one-time/smtp");
    fs::create_dir(copy.parent().unwrap()).unwrap();
    fs::write(&copy, "9001,9002\n").unwrap();
    let before = server.all_files();
    import(&server, &text, &[])
        .exits_with(1)
        .prints("holds something else");
    assert_eq!(server.all_files(), before);
    fs::remove_file(&copy).unwrap();
    symlink(server.path("elsewhere"), &copy).unwrap();
    import(&server, &text, &[])
        .exits_with(1)
        .prints("holds something else");
    assert!(!server.path("elsewhere").exists());
    fs::remove_dir_all(copy.parent().unwrap()).unwrap();
    fs::create_dir(server.path("elsewhere")).unwrap();
    symlink(server.path("elsewhere"), copy.parent().unwrap()).unwrap();
    import(&server, &text, &[])
        .exits_with(1)
        .prints("is not a directory");
    assert_eq!(fs::read_dir(server.path("elsewhere")).unwrap().count(), 0);
    let spad = fs::read_to_string(server.path("etc/spad.toml")).unwrap();
    assert!(!spad.contains("\n[[knock]]"));
}

#[test]
fn a_command_is_run_as_nobody_unless_another_user_is_named() {
    for (more, lines) in [
        (&[][..], "user = \"nobody\"\n"),
        (&["--run-as", "daemon"], "user = \"daemon\"\n"),
        (&["--run-as", "root"], "as_root = true\nuser = \"root\"\n"),
    ] {
        let server = Server::new();
        let text = "[a]\nsequence = 1,5\ncommand = /bin/echo from %IP%\n";
        import(&server, text, more)
            .exits_with(0)
            .prints("SPA_SOURCE");
        let spad = fs::read_to_string(server.path("etc/spad.toml")).unwrap();
        let argv =
            "[commands.a]\nargv = [\"/usr/bin/env\", \"-S\", \"/bin/echo from ${SPA_SOURCE}\"]\n";
        assert!(spad.contains(argv), "{spad}");
        let (_, command) = spad.split_once(argv).unwrap();
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text
                .lines()
                .take(lines.lines().count())
                .map(str::to_owned)
                .collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(command), sorted(lines));
    }
    let server = Server::new();
    let text = "[a]\nsequence = 1,5\ncommand = /bin/echo\n";
    import(&server, text, &["--run-as", "a b"])
        .exits_with(1)
        .prints("not the name of a user");
}
