//! docs/reference.md describes every key of the configuration, as the code describes it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use spa_findings::{Findings, Source};
use spa_proto::Timestamp;
use spad_config::{Config, Files, Section, check};

const HEAD: &str = "\
# Reference of the configuration

This page describes every key. [operating.md](operating.md) shows their use, task by task. The page is made from the
code: `UPDATE_DOCS=1 cargo test -p spad --test it reference`.

- After a change, run `spad check && spad reload`. An unknown key is an error.
- A *time* is a whole number and a unit, as text: `\"30s\"`, `\"5m\"`, `\"24h\"`, `\"1d\"`.
- A *network* is an address alone or with a length: `\"192.0.2.7\"`, `\"192.0.2.0/24\"`, `\"2001:db8::/32\"`.
- A *name* has 1 to 64 of a-z, 0-9, `_` and `-`, and begins with a letter or digit.
- `spad.toml` may have 1 MiB, and a client's file 64 KiB. There are at most 100,000 clients.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for section in Section::ALL {
        let _ = write!(
            page,
            "\n## `{}`\n\n{}\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
            section.title(),
            section.introduction(),
        );
        for key in section.keys() {
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} |",
                key.name, key.value, key.default, key.meaning
            );
        }
    }
    page
}

#[test]
fn the_reference_says_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/reference.md is not what the code says; UPDATE_DOCS=1 cargo test -p spad --test it reference writes it"
    );
}

const CLIENT: &str =
    "key = \"spa-pub-pOCSkrZRwni5dyxWn1-puxPZBrRqtoyd-dwrRAn4ogkKCWzc\"\nallow = [\"ssh\"]\n";

/// A program of the mode "command".
const ARGV: &str = "argv = [\"/bin/true\", \"{address}\", \"{protocol}\", \"{port}\"]";

/// A configuration in which a line added to `spad.toml`, or to the client's file, is in one section.
struct Example {
    server: String,
    client: String,
    line_in_client: bool,
}

impl Example {
    fn new(section: Section) -> Self {
        let program = "argv = [\"/bin/true\"]\nuser = \"daemon\"\n";
        let firewall = |rest: &str| {
            let program = format!("{{ {ARGV} }}");
            format!("[guard]\nmode = \"command\"\n[firewall]\nclose = {program}\n{rest}")
        };
        let end = match section {
            Section::Service => {
                "[services.web]\nports = [\"tcp/80\"]\nto = \"10.0.0.5\"\n".to_owned()
            }
            Section::Listen => "[listen]\n".to_owned(),
            Section::Grants => "[grants]\n".to_owned(),
            Section::Packets => "[packets]\n".to_owned(),
            Section::Guard => "[guard]\n".to_owned(),
            Section::Firewall => firewall(&format!("open = {{ {ARGV} }}\n")),
            Section::FirewallProgram => firewall(&format!("[firewall.open]\n{ARGV}\n")),
            Section::Policy => "[policy]\n".to_owned(),
            Section::Rules => "[groups.staff]\n".to_owned(),
            Section::Command => format!("[commands.backup]\n{program}"),
            Section::Hooks => "[hooks]\n".to_owned(),
            Section::Program => format!("[hooks.open]\n{program}"),
            Section::Door => {
                "[[knock]]\nname = \"side\"\nsequence = \"8881,7777,9991\"\nopen = [\"ssh\"]\n"
                    .to_owned()
            }
            Section::Log => "[log]\n".to_owned(),
            Section::ServerFile | Section::Client | Section::ClientKey => String::new(),
        };
        let client = match section {
            Section::ClientKey => CLIENT.replacen("key = ", "key.key = ", 1),
            _ => CLIENT.to_owned(),
        };
        let server = match section {
            Section::ServerFile => "services.ssh = \"tcp/22\"\n".to_owned(),
            _ => format!("[services]\nssh = \"tcp/22\"\n{end}"),
        };
        Self {
            server,
            client,
            line_in_client: matches!(section, Section::Client | Section::ClientKey),
        }
    }

    fn with(&self, section: Section, line: &str) -> Result<Config, Findings> {
        let directory = PathBuf::from("/etc/spad");
        let mut files = Files::empty(&directory);
        let (mut server, mut client) = (self.server.clone(), self.client.clone());
        let line = match section {
            Section::ClientKey if !line.is_empty() => format!("key.{line}\n"),
            _ => format!("{line}\n"),
        };
        if self.line_in_client {
            client.push_str(&line);
        } else {
            server.push_str(&line);
        }
        files.server = Some(Source::new(&directory.join("spad.toml"), server));
        files.put_client("anna".parse().unwrap(), client);
        check(&files, Timestamp::from_micros(1)).map(|loaded| loaded.config)
    }
}

#[test]
fn every_key_of_the_reference_is_read_and_every_key_that_is_read_is_in_the_reference() {
    for section in Section::ALL {
        let findings = Example::new(*section)
            .with(*section, "qqqqqqqqqqqqqqqq = 1")
            .unwrap_err();
        let help: Vec<&str> = findings
            .iter()
            .filter_map(|finding| finding.help.as_deref()?.strip_prefix("there is: "))
            .collect();
        let [help] = help[..] else {
            panic!("{}: {findings:?}", section.title());
        };
        let mut read: Vec<&str> = help.split(", ").collect();
        let mut described: Vec<&str> = section.keys().map(|key| key.name).collect();
        read.sort_unstable();
        described.sort_unstable();
        assert_eq!(read, described, "{}", section.title());
    }
}

#[test]
fn a_default_of_the_reference_changes_nothing_when_it_is_written() {
    let mut written = 0;
    for section in Section::ALL {
        let example = Example::new(*section);
        let without = example.with(*section, "").unwrap();
        for key in section.keys() {
            let inner = key.default.strip_prefix('`');
            let inner = inner.and_then(|rest| rest.strip_suffix('`'));
            let Some(value) = inner.filter(|value| !value.contains('`')) else {
                continue;
            };
            written += 1;
            let line = format!("{} = {value}", key.name);
            let with = example.with(*section, &line);
            assert_eq!(with.as_ref(), Ok(&without), "{}: {line}", section.title());
        }
    }
    assert!(written > 20, "only {written} defaults were found");
}
