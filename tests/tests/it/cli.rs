//! Both command lines, as people and scripts meet them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use spa_tests::binaries;
use spa_tests::identity::Identity;
use spa_tests::lab::SERVER4;
use spa_tests::process::{Finished, run};
use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::sshd::Sshd;
use spa_tests::test_bed::TestBed;

fn help(binary: &Path, command: &[&str]) -> Finished {
    run(Command::new(binary)
        .args(command)
        .arg("--help")
        .env("NO_COLOR", "1"))
}

/// All commands of a binary, as its own help lists them, each with its words.
fn commands(binary: &Path, above: &[String]) -> Vec<Vec<String>> {
    let words: Vec<&str> = above.iter().map(String::as_str).collect();
    let text = help(binary, &words).ok().stdout;
    let listed = text.split_once("Commands:\n").map_or("", |(_, rest)| rest);
    let mut all = vec![above.to_vec()];
    for line in listed.lines().take_while(|line| line.starts_with("  ")) {
        let indented = line.strip_prefix("  ").unwrap_or_default();
        let Some(name) = indented
            .split_whitespace()
            .next()
            .filter(|_| !indented.starts_with(' '))
        else {
            continue;
        };
        if name != "help" {
            all.extend(commands(binary, &[above, &[name.to_owned()]].concat()));
        }
    }
    all
}

#[test]
fn every_promised_command_is_there() {
    let promised = [
        (
            binaries::spad(),
            "init key client check run confirm status grants reload firewall replay",
        ),
        (binaries::spa(), "key hosts host open packet completions"),
    ];
    for (binary, names) in promised {
        let found: Vec<String> = commands(binary, &[])
            .into_iter()
            .filter_map(|words| words.first().cloned())
            .collect();
        for name in names.split(' ') {
            assert!(
                found.iter().any(|found| found == name),
                "{name} is not in {found:?}"
            );
        }
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    for binary in [binaries::spad(), binaries::spa()] {
        for words in commands(binary, &[]) {
            let borrowed: Vec<&str> = words.iter().map(String::as_str).collect();
            let shown = help(binary, &borrowed);
            assert_eq!(shown.code, Some(0), "{words:?}: {}", shown.stderr);
            assert!(shown.stderr.is_empty(), "{words:?}: {}", shown.stderr);
            // A group's help lists its commands.
            let group = !words.is_empty() && shown.stdout.contains("\nCommands:\n");
            assert!(
                group || shown.stdout.to_lowercase().contains("example"),
                "{words:?} has no example:\n{}",
                shown.stdout
            );
            assert!(!shown.stdout.contains('\u{1b}'), "{words:?} is coloured");
        }
    }
}

#[test]
fn every_flag_says_what_it_does() {
    for binary in [binaries::spad(), binaries::spa()] {
        for words in commands(binary, &[]) {
            let text = run(Command::new(binary).args(&words).arg("-h")).ok().stdout;
            let lines: Vec<&str> = text.lines().collect();
            for (index, line) in lines.iter().enumerate() {
                let flag = line.trim_start();
                if !flag.starts_with('-') {
                    continue;
                }
                let depth = line.len() - flag.len();
                let beside = flag
                    .split_once("  ")
                    .is_some_and(|(_, output)| !output.trim().is_empty());
                let below = lines.get(index + 1).is_some_and(|next| {
                    let output = next.trim_start();
                    !output.is_empty()
                        && !output.starts_with('-')
                        && next.len() - output.len() > depth
                });
                assert!(beside || below, "{words:?}: {flag:?} is not explained");
            }
        }
    }
}

#[test]
fn a_wrong_use_ends_with_two_and_says_so_on_stderr() {
    for (binary, arguments) in [
        (binaries::spad(), &["frobnicate"][..]),
        (binaries::spad(), &["run", "--frobnicate"]),
        (binaries::spad(), &["client", "add"]),
        (binaries::spa(), &["open", "--frobnicate"]),
        (binaries::spa(), &["packet"]),
    ] {
        let ended = run(Command::new(binary).args(arguments));
        assert_eq!(
            ended.code,
            Some(2),
            "{arguments:?}\n{}{}",
            ended.stdout,
            ended.stderr
        );
        assert!(
            ended.stdout.is_empty() && !ended.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn spa_tells_by_its_exit_code_how_it_went() {
    let mut bed = TestBed::new();
    let _sshd = Sshd::start(&bed.lab.server, bed.lab.path(), 22);
    bed.enrol_spa(SERVER4.into());
    let code = |arguments: &[&str]| {
        let ended = bed.spa(arguments);
        (
            ended.code,
            format!("{arguments:?}\n{}{}", ended.stdout, ended.stderr),
        )
    };
    let expect = |arguments: &[&str], expected: i32| {
        let (code, output) = code(arguments);
        assert_eq!(code, Some(expected), "{output}");
    };
    expect(&["open", "gw:tcp/8080"], 0);
    expect(&["open", "gw:udp/9999"], 3);
    expect(&["open", "gw:tcp/8080", "--no-wait"], 0);
    expect(&["open", "nobody:tcp/8080"], 6);
    let key = bed.server_public.to_string();
    let _ = bed
        .spa(&[
            "host",
            "add",
            "far",
            "--address",
            "nowhere.invalid",
            "--port",
            "62201",
            "--key",
            &key,
        ])
        .ok();
    expect(&["open", "far:tcp/8080"], 7);
    bed.spad.stop();
    assert_ne!(bed.wait_closed(WEB), Reachability::Open);
    let ended = bed.spa(&["open", "gw:tcp/8080", "--timeout", "1s"]);
    assert_eq!(ended.code, Some(4), "{}{}", ended.stdout, ended.stderr);
    assert!(!ended.stderr.is_empty(), "it says what to look at");
}

#[test]
fn spa_without_a_key_says_how_to_make_one_and_makes_it() {
    let bed = TestBed::stopped(&Settings::default());
    let ended = bed.spa(&["key", "show"]);
    assert_eq!(ended.code, Some(6));
    assert!(ended.stderr.contains("spa key new"), "{}", ended.stderr);
    let made = bed.spa(&["key", "new"]).ok();
    let shown = bed.spa(&["key", "show"]).ok();
    let public = shown.stdout.trim();
    assert!(public.contains("spa-pub-"), "{public}");
    let output = format!("{}{}", made.stdout, made.stderr);
    assert!(
        made.stdout.contains("spa-pub-") && !output.contains("spa-secret-"),
        "{output}"
    );
    let again = bed.spa(&["key", "new"]);
    assert_ne!(again.code, Some(0), "a key is never overwritten");
    assert_eq!(bed.spa(&["key", "show"]).ok().stdout.trim(), public);
}

#[test]
fn no_output_shows_a_secret() {
    let mut bed = TestBed::new();
    bed.enrol_spa(SERVER4.into());
    bed.open(&["tcp/8080"]);
    let mut output = String::new();
    for arguments in [
        &["key", "show"][..],
        &["client", "list"],
        &["client", "show", "laptop"],
        &["status"],
        &["status", "--json"],
        &["grants", "--json"],
        &["check"],
        &["firewall", "show"],
        &["reload"],
    ] {
        let ended = bed.spad.cli(arguments);
        output.push_str(&ended.stdout);
        output.push_str(&ended.stderr);
    }
    for arguments in [
        &["key", "show"][..],
        &["hosts"],
        &["open", "gw:tcp/8080", "-v"],
        &["packet", "gw", "--hex"],
    ] {
        let ended = bed.spa(arguments);
        output.push_str(&ended.stdout);
        output.push_str(&ended.stderr);
    }
    output.push_str(&std::fs::read_to_string(bed.spad.audit_file()).unwrap_or_default());
    output.push_str(&bed.spad.process().output());
    let server =
        std::fs::read_to_string(bed.spad.state().join("server.key")).expect("the server's key");
    for secret in [server.trim(), &bed.laptop.secret_text()] {
        let middle = secret.get(15..35).expect("a key's middle");
        assert!(!output.contains(middle), "a secret is shown");
    }
    assert!(output.contains("laptop"), "something was said at all");
}

#[test]
fn a_secret_key_in_a_public_keys_place_is_refused_and_not_echoed() {
    let bed = TestBed::stopped(&Settings::default());
    let secret = bed.laptop.secret_text();
    let ended = bed
        .spad
        .cli(&["client", "add", "desk", "--key", &secret, "--allow", "web"]);
    assert!(!ended.success);
    assert!(ended.stderr.contains("secret"), "{}", ended.stderr);
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(&secret[12..30]));
}

#[test]
fn a_client_is_not_added_twice_nor_without_services_that_exist() {
    let bed = TestBed::stopped(&Settings::default());
    let add = |name: &str, identity: &Identity, allow: &str| {
        bed.spad.cli(&[
            "client",
            "add",
            name,
            "--key",
            &identity.public().to_string(),
            "--allow",
            allow,
        ])
    };
    let other = Identity::new(&bed.server_public);
    for (refused, word) in [
        (add("laptop", &other, "web"), "laptop"),
        (add("twin", &bed.laptop, "web"), "laptop"),
        (add("desk", &other, "wbe"), "did you mean `web`"),
        (add("../desk", &other, "web"), "name"),
    ] {
        assert_eq!(
            refused.code.map(|code| code != 0),
            Some(true),
            "{}",
            refused.stdout
        );
        assert!(
            refused.stderr.contains(word),
            "{word} is not said in {}",
            refused.stderr
        );
    }
    let files: Vec<_> = std::fs::read_dir(bed.spad.config().join("clients.d"))
        .expect("clients.d")
        .flatten()
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
}

/// All files below, with their contents.
fn tree(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).expect("a directory").flatten() {
            match std::fs::read(entry.path()) {
                Ok(bytes) => {
                    found.insert(entry.path().display().to_string(), bytes);
                }
                Err(_) => waiting.push(entry.path()),
            }
        }
    }
    found
}

#[test]
fn every_add_has_an_exact_inverse() {
    let bed = TestBed::stopped(&Settings::default());
    bed.enrol_spa(SERVER4.into());
    let (server, client) = (bed.spad.config(), bed.lab.path().join("spa"));
    let before = (tree(&server), tree(&client));
    bed.add_client("desk", &Identity::new(&bed.server_public), "web");
    let key = bed.server_public.to_string();
    let _ = bed
        .spa(&[
            "host",
            "add",
            "two",
            "--address",
            "192.0.2.9",
            "--port",
            "4242",
            "--key",
            &key,
        ])
        .ok();
    assert_ne!((tree(&server), tree(&client)), before);
    let _ = bed.spad.cli(&["client", "remove", "desk"]).ok();
    let _ = bed.spa(&["host", "remove", "two"]).ok();
    assert_eq!(tree(&server), before.0);
    assert_eq!(tree(&client), before.1);
}

#[test]
fn nothing_is_asked_where_nobody_can_answer() {
    let bed = TestBed::new();
    let ended = bed.spad.cli(&["replay", "reset"]);
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("--yes"), "{}", ended.stderr);
    let _ = bed.spad.cli(&["replay", "reset", "--yes"]).ok();
    bed.open(&["tcp/8080"]);
}

#[test]
fn what_scripts_read_is_json() {
    let bed = TestBed::new();
    bed.enrol_spa(SERVER4.into());
    bed.open(&["tcp/8080"]);
    let status = bed.spad.status();
    assert_eq!(status.get("clients"), Some(&1.into()), "{status}");
    let grants = bed.spad.cli(&["grants", "--json"]).ok().json();
    assert!(grants.to_string().contains("\"laptop\""), "{grants}");
    let hosts = bed.spa(&["hosts", "--json"]).ok().json();
    assert!(hosts.to_string().contains("\"gw\""), "{hosts}");
}

#[test]
fn without_a_daemon_the_commands_that_need_it_say_so() {
    let bed = TestBed::stopped(&Settings::default());
    for arguments in [&["status"][..], &["grants"], &["reload"], &["confirm"]] {
        let ended = bed.spad.cli(arguments);
        assert_eq!(ended.code, Some(1), "{arguments:?}");
        assert!(
            ended.stderr.contains("cannot reach the daemon")
                && ended.stderr.contains("journalctl -u spad"),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
}

#[test]
fn completions_are_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let written = run(Command::new(binaries::spa()).args(["completions", shell])).ok();
        assert!(
            written.stdout.contains("spa") && written.stdout.lines().count() > 20,
            "{shell}"
        );
    }
}
