//! What becomes of other programs' files. Each file of `import/knockd` is a knockd.conf; what
//! `spad import knockd` adds to the spad.toml that `spad init` makes, and what it says,
//! stands beside it.
//!
//! A line `#### /path` begins a file of sequences.
//! `BLESS=1 cargo test -p spad --test it import::` writes what is said now; read it before committing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use spa_findings::{Finding, Source};
use spa_proto::Timestamp;
use spad_config::{Files, check};
use spad_migrate::knockd::{ImportInput, Imported, import, one_time_files};

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// What `spad init` writes.
fn fresh() -> String {
    include_str!("../../../src/cli/spad.toml").replace("@PORT@", "62201")
}

/// What comes of it beside this spad.toml.
fn imported(spad: &str, fixture: &str) -> Imported {
    import_into(spad, &BTreeMap::new(), fixture)
}

/// The same once more.
fn import_again(first: &Imported, fixture: &str) -> Imported {
    import_into(&first.spad, &listed(first), fixture)
}

/// The files of sequences that an import makes, where they are then.
fn listed(imported: &Imported) -> BTreeMap<PathBuf, String> {
    let files = imported.files.iter();
    let files = files.map(|(name, text)| (Path::new("/etc/spad").join(name), text.clone()));
    files.collect()
}

fn import_into(spad: &str, listed: &BTreeMap<PathBuf, String>, fixture: &str) -> Imported {
    let mut parts = fixture.split("#### ");
    let knockd = parts.next().unwrap_or_default().to_owned();
    let knockd = Source::new(Path::new("/etc/knockd.conf"), knockd);
    let files: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once('\n')).collect();
    let read = |path: String| {
        let read = match files.get(path.as_str()) {
            Some(text) => Ok(Source::new(Path::new(&path), (*text).to_owned())),
            None => Err(Finding::error(Path::new(&path), "cannot be read").help("write it")),
        };
        (path, read)
    };
    let one_time = one_time_files(&knockd).into_iter().map(read).collect();
    import(ImportInput {
        knockd: &knockd,
        spad: &Source::new(Path::new("/etc/spad/spad.toml"), spad.to_owned()),
        one_time: &one_time,
        existing_sequences: listed,
        run_as: "nobody",
        now: NOW,
    })
}

fn report(imported: &Imported) -> String {
    let mut report = String::new();
    if !imported.findings.is_empty() {
        writeln!(report, "{}", imported.findings).unwrap();
    }
    if imported.findings.has_errors() {
        return report;
    }
    writeln!(
        report,
        "==== spad.toml, at its end\n{}",
        imported.added.trim()
    )
    .unwrap();
    for (path, text) in &imported.files {
        write!(report, "==== {path}\n{text}").unwrap();
    }
    writeln!(
        report,
        "==== {} new, {} left out; {}",
        imported.doors.len(),
        imported.left_out,
        imported.services.join(", ")
    )
    .unwrap();
    report
}

/// What was written is what the loader takes, without a word against it but that of doors
/// in general.
fn passes_check(imported: &Imported) {
    let directory = Path::new("/etc/spad");
    let mut files = Files::empty(directory);
    files.server = Some(Source::new(
        &directory.join("spad.toml"),
        imported.spad.clone(),
    ));
    files.one_time = listed(imported);
    let loaded = check(&files, NOW);
    let loaded = loaded.unwrap_or_else(|findings| panic!("{findings}\n{}", imported.spad));
    assert!(loaded.config.knock.len() >= imported.doors.len());
}

fn fixtures() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/import/knockd");
    let paths = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "conf"))
        .collect();
    paths.sort();
    assert!(paths.len() > 12);
    paths
}

#[test]
fn each_file_of_knockds_becomes_what_stands_beside_it() {
    let mut wrong = Vec::new();
    for path in fixtures() {
        let imported = imported(&fresh(), &fs::read_to_string(&path).unwrap());
        let output = report(&imported);
        let expected_path = path.with_extension("expected");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected_path, &output).unwrap();
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if output != expected {
            wrong.push(format!(
                "{}\n--- said\n{output}--- expected\n{expected}",
                path.display()
            ));
        }
        for finding in &imported.findings {
            assert!(finding.help.is_some(), "{finding}");
        }
        if !imported.findings.has_errors() {
            passes_check(&imported);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_second_import_adds_nothing() {
    for path in fixtures() {
        let fixture = fs::read_to_string(&path).unwrap();
        let first = imported(&fresh(), &fixture);
        if first.findings.has_errors() {
            continue;
        }
        let again = import_again(&first, &fixture);
        assert!(!again.findings.has_errors(), "{}", again.findings);
        assert_eq!(again.spad, first.spad, "{}", path.display());
        assert_eq!((again.already, again.added.as_str()), (first.doors, ""));
        assert!(again.doors.is_empty() && again.files.is_empty());
    }
}

#[test]
fn what_stands_in_spad_toml_is_left_as_it_is_and_used_again() {
    let ssh = "[ssh]\nsequence = 7000,8000,9000\ncommand = /sbin/iptables -A INPUT -s %IP% -p tcp -m multiport --dports 22,80 -j ACCEPT\nstop_command = /sbin/iptables -F\n";
    let old = "# mine\nhide = []\n[services]\nmy-ssh = { ports = [\"tcp/22\"], max_ttl = \"5s\" }\nhttp = \"tcp/8000\" # no end of line";
    let done = imported(old, ssh);
    assert!(!done.findings.has_errors(), "{}", done.findings);
    assert!(done.spad.starts_with(old));
    assert!(
        done.added
            .contains("[services.tcp-80]\nports = [\"tcp/80\"]\n"),
        "{}",
        done.added
    );
    assert!(
        done.added
            .contains("open = [\"my-ssh\", \"tcp-80\"]\nttl = \"5s\"\n"),
        "{}",
        done.added
    );
    passes_check(&done);
    let shared = "hide = []\n[services]\nall = { ports = [\"tcp/22\", \"tcp/80\", \"tcp/81\"] }\n";
    let done = imported(shared, ssh);
    assert!(done.doors.is_empty() && done.left_out == 1 && done.spad == shared);
    assert!(
        done.findings.to_string().contains("which has tcp/81 too"),
        "{}",
        done.findings
    );
}

#[test]
fn an_interface_is_left_to_the_administrator_for_it_could_lock_clients_out() {
    let knockd = "[options]\ninterface = eth1\n";
    for spad in [
        "hide = []\n[listen] # here\nport = 4000\n",
        "[listen]\ninterfaces = [\"eth0\"]\n",
    ] {
        let done = imported(spad, knockd);
        assert_eq!(done.spad, spad);
        let output = done.findings.to_string();
        assert!(
            output.contains("interfaces = [\"eth1\"] into [listen]"),
            "{output}"
        );
        assert!(!done.findings.has_errors());
    }
    let done = imported("[listen]\ninterfaces = [\"eth0\", \"eth1\"]\n", knockd);
    assert!(done.findings.is_empty(), "{}", done.findings);
}

#[test]
fn a_service_that_leads_to_another_host_is_opened_by_no_imported_door() {
    let spad = "hide = []\n[services]\nssh = { ports = [\"tcp/22\"], to = \"10.0.0.5:22\" }\n";
    let done = imported(
        spad,
        "[a]\nsequence = 1,5\ncommand = ufw allow from %IP% to any port 22 proto tcp\n",
    );
    assert_eq!((done.spad.as_str(), done.left_out), (spad, 1));
    let output = done.findings.to_string();
    assert!(output.contains("leads to another host"), "{output}");
}

#[test]
fn a_spad_toml_that_would_be_too_long_to_be_read_is_not_written() {
    let spad = "#".repeat((1 << 20) - 100);
    let done = imported(&spad, "[a]\nsequence = 1,5\ncommand = ufw allow 22/tcp\n");
    let output = done.findings.to_string();
    assert!(output.contains("longer than 1024 KiB"), "{output}");
    assert_eq!(
        (done.findings.has_errors(), done.spad.as_str()),
        (true, spad.as_str())
    );
}

#[test]
fn of_another_kind_of_file_some_faults_are_told_and_no_more() {
    let done = imported(&fresh(), &"what\n".repeat(50_000));
    assert_eq!(done.findings.len(), 101);
    let many: String = (0..300)
        .map(|door| format!("[door {door}]\nsequence = 1,5\ncommand = iptables -D INPUT 1\n"))
        .collect();
    let done = imported(&fresh(), &many);
    assert!(done.findings.has_errors());
    let output = done.findings.to_string();
    assert!(output.contains("more than 256 doors"), "{output}");
}

#[test]
fn a_door_of_the_same_name_that_says_something_else_is_left_alone() {
    let spad = fresh() + "\n[[knock]]\nname = \"ssh\"\nsequence = \"1,5\"\nopen = [\"ssh\"]\n";
    let done = imported(
        &spad,
        "[SSH]\nsequence = 7000,8000\ncommand = ufw allow from %IP% to any port 22 proto tcp\n",
    );
    assert_eq!((done.spad.as_str(), done.left_out), (spad.as_str(), 1));
    assert!(
        done.findings.to_string().contains("says something else"),
        "{}",
        done.findings
    );
}

#[test]
fn a_spad_toml_with_an_error_gets_nothing_added() {
    let done = imported(
        "hide = [\n",
        "[a]\nsequence = 1,5\ncommand = ufw allow 22/tcp\n",
    );
    assert!(done.findings.has_errors() && done.spad.is_empty());
}

/// Lines of fixtures, and pieces of them.
fn lines() -> impl Strategy<Value = String> {
    let all: Vec<String> = fixtures()
        .iter()
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            text.lines()
                .map(|line| line.chars().take(300).collect())
                .collect::<Vec<String>>()
        })
        .collect();
    let line = prop_oneof![
        6 => prop::sample::select(all),
        1 => "[\\PC\t]{0,40}",
        1 => "(\\[[a-zA-Z =\"\\\\]{0,9}\\])",
        1 => "(command|start_command_6|sequence|target|interface|tcpflags|cmd_timeout) = [a-z0-9%IP /,:.!\"'\\\\-]{0,40}",
    ];
    prop::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
}

/// A file without a fault in its lines, about a few ports and names, so that doors meet.
fn valid_config() -> impl Strategy<Value = String> {
    let port = || prop::sample::select(vec![22, 25, 80, 443, 8080, 9000, 7000, 62201]);
    let knock = (port(), prop::sample::select(vec!["", ":udp", ":TCP"]))
        .prop_map(|(port, end)| format!("{port}{end}"));
    let sequence = prop::collection::vec(knock, 1..5).prop_map(|knocks| knocks.join(","));
    let command = prop_oneof![
        4 => port().prop_map(|port| format!("/sbin/iptables -A INPUT -s %IP% -p tcp --dport {port} -j ACCEPT")),
        1 => (port(), port()).prop_map(|(a, b)| format!("nft add rule inet f c ip saddr %IP% udp dport {{ {a}, {b} }} accept")),
        1 => Just("/sbin/iptables -D INPUT 1".to_owned()),
        1 => "/[a-z/]{1,9}( [a-z%IP=.,\"$;]{0,9}){0,4}",
    ];
    let more = prop_oneof![
        Just("stop_command = iptables -D INPUT 1\ncmd_timeout = 1000000\n".to_owned()),
        (1_u32..2000).prop_map(|time| format!("seq_timeout = {time}\n")),
        Just("tcpflags = syn,!ack\n".to_owned()),
        Just("target = 192.0.2.1\n".to_owned()),
        Just(String::new()),
    ];
    let door = ("[a-zA-Z \\]\\[\"\\\\敲#]{1,5}", sequence, command, more).prop_map(
        |(name, sequence, command, more)| {
            format!("[{name}]\nsequence = {sequence}\ncommand = {command}\n{more}")
        },
    );
    prop::collection::vec(door, 0..5).prop_map(|doors| doors.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_imported_passes_the_check(text in prop_oneof![lines(), valid_config()]) {
        let done = imported(&fresh(), &text);
        for finding in &done.findings {
            prop_assert!(finding.help.is_some(), "{}", finding);
        }
        if !done.findings.has_errors() {
            passes_check(&done);
            let again = import_again(&done, &text);
            prop_assert_eq!(&again.spad, &done.spad);
        }
    }
}
