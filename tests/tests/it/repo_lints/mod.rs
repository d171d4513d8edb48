//! The house is in order: what a compiler does not check.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

mod config_layers;

const MEMBERS: [&str; 17] = [
    "keys",
    "proto",
    "findings",
    "server/model",
    "server/sys",
    "server/ipc",
    "server/sandbox",
    "server/config",
    "server/capture",
    "server/replay",
    "server/engine",
    "server/firewall",
    "server/migrate",
    "server/spad",
    "client",
    "tests",
    "fuzz",
];

/// What both programs are made of.
const LIBRARIES: [&str; 3] = ["spa-keys", "spa-proto", "spa-findings"];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
}

/// Every Rust file of these folders, with its text; paths from the top.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| top().join(folder)).collect();
    while let Some(next) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                waiting.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                found.push((
                    path.strip_prefix(top())
                        .expect("a path below the top")
                        .to_owned(),
                    text,
                ));
            }
        }
    }
    assert!(found.len() > 3, "the sources were not found");
    found.sort();
    found
}

fn manifest(member: &str) -> toml::Table {
    let text = std::fs::read_to_string(top().join(member).join("Cargo.toml")).expect("a manifest");
    text.parse().expect("TOML")
}

#[test]
fn the_crates_depend_on_each_other_one_way_only() {
    // Of the server's crates, those that each may use besides LIBRARIES.
    let allowed = |member: &str| match member {
        "server/sys" | "server/ipc" | "server/replay" => &["spad-model"][..],
        "server/sandbox" => &["spad-sys"],
        "server/config" | "server/capture" => &["spad-model", "spad-sys"],
        "server/engine" => &["spad-model", "spad-config", "spad-replay"],
        "server/migrate" => &["spad-model", "spad-config", "spad-sys"],
        "server/firewall" => &[
            "spad-model",
            "spad-config",
            "spad-sys",
            "spad-ipc",
            "spad-sandbox",
        ],
        "server/spad" => &[
            "spad-model",
            "spad-sys",
            "spad-ipc",
            "spad-sandbox",
            "spad-config",
            "spad-capture",
            "spad-replay",
            "spad-engine",
            "spad-firewall",
            "spad-migrate",
        ],
        _ => &[],
    };
    let libraries = |member: &str| match member {
        "keys" => &[][..],
        "proto" | "findings" => &["spa-keys"],
        _ => &LIBRARIES,
    };
    let is_ours =
        |name: &str| name == "spa" || name.starts_with("spa-") || name.starts_with("spad");
    // What cargo makes of the manifests: for tests, for one system only, under another name.
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(top())
        .output()
        .expect("cargo");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("cargo's metadata");
    let list = |of: &Value, name: &str| of.get(name).and_then(Value::as_array).cloned();
    let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
    let packages = list(&metadata, "packages").expect("packages");
    assert_eq!(packages.len(), MEMBERS.len());
    for package in packages {
        let place = PathBuf::from(text(&package, "manifest_path").expect("its manifest"));
        let folder = place
            .parent()
            .and_then(|folder| folder.strip_prefix(top()).ok());
        let member = folder.and_then(Path::to_str).expect("its folder");
        assert!(MEMBERS.contains(&member), "{member}");
        for dependency in list(&package, "dependencies").expect("dependencies") {
            let name = text(&dependency, "name").expect("a name");
            // Tests and fuzz targets look into everything.
            let any = matches!(member, "tests" | "fuzz");
            let may = any
                || allowed(member).contains(&name.as_str())
                || libraries(member).contains(&name.as_str());
            assert!(!is_ours(&name) || may, "{member} must not depend on {name}");
        }
    }
}

#[test]
fn every_crate_keeps_the_workspaces_lints() {
    for member in MEMBERS {
        let manifest = manifest(member);
        let kept = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(toml::Value::as_bool);
        assert_eq!(
            kept,
            Some(true),
            "{member}/Cargo.toml: [lints] workspace = true"
        );
    }
}

/// A line without its comment and without what stands in quotes.
fn code(line: &str) -> String {
    let line = line.split("//").next().unwrap_or_default();
    line.split('"').step_by(2).collect()
}

#[test]
fn unsafe_stands_in_server_sys_only_and_says_why() {
    for (path, text) in sources(&MEMBERS) {
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let words = code(line);
            let found = words
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == "unsafe");
            if !found {
                continue;
            }
            let place = format!("{}:{}", path.display(), index + 1);
            // A program without the standard library must name its own start.
            let allowed = ["server/sys", "proto/no_std_proof"];
            assert!(
                allowed.iter().any(|folder| path.starts_with(folder)),
                "{place}: unsafe outside server/sys"
            );
            let why = lines
                .iter()
                .take(index + 1)
                .rev()
                .take(12)
                .any(|line| line.to_uppercase().contains("SAFETY"));
            assert!(why, "{place}: no SAFETY comment");
        }
    }
    let libraries = MEMBERS
        .into_iter()
        .filter(|member| *member != "server/sys")
        .map(|member| format!("{member}/src/lib.rs"));
    let programs = ["client/src/main.rs", "server/spad/src/main.rs"].map(str::to_owned);
    for root in libraries.chain(programs) {
        let text = std::fs::read_to_string(top().join(&root)).expect("a crate's root");
        assert!(
            text.contains("#![forbid(unsafe_code)]"),
            "{root} does not forbid unsafe code"
        );
    }
}

#[test]
fn every_file_begins_with_what_it_is() {
    for (path, text) in sources(&MEMBERS) {
        // What cargo-fuzz starts has one line only.
        let begins = text.starts_with("//!") || path.starts_with("fuzz/fuzz_targets");
        assert!(
            begins,
            "{}: begin with //! and what it takes, gives, never does",
            path.display()
        );
    }
}

#[test]
fn files_are_short() {
    let mut lengths: Vec<usize> = Vec::new();
    for (path, text) in sources(&MEMBERS) {
        let lines = text.lines().count();
        lengths.push(lines);
        if lines > 400 {
            println!("warning: {} has {lines} lines; 400 is long", path.display());
        }
        assert!(lines <= 800, "{} has {lines} lines", path.display());
    }
    lengths.sort_unstable();
    let median = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
    assert!(median < 200, "the median file has {median} lines");
}

/// The numbers and titles of a Markdown file's headings.
fn headings(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for heading in text.lines().filter(|line| line.starts_with('#')) {
        let heading = heading.trim_start_matches('#').trim();
        let (first, rest) = heading.split_once(' ').unwrap_or((heading, ""));
        let number = first.trim_end_matches('.');
        if !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.') {
            found.insert(number.to_owned());
            found.insert(rest.trim().to_owned());
        } else {
            found.insert(heading.to_owned());
        }
    }
    found
}

/// What a line cites after the specification's name: `§5.2`, or `"Packet"`.
fn cited(rest: &str) -> Vec<String> {
    let numbers = rest.split('§').skip(1).map(|after| {
        let number: String = after
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect();
        number.trim_end_matches('.').to_owned()
    });
    let mut all: Vec<String> = numbers.collect();
    let after = rest.trim_start_matches([',', ' ', ':', '(']);
    if let Some(title) = after
        .strip_prefix('"')
        .and_then(|quoted| quoted.split('"').next())
    {
        all.push(title.to_owned());
    }
    all
}

#[test]
fn every_section_cited_in_code_exists_in_the_specification() {
    const NAME: &str = "docs/protocol.md";
    let specification = std::fs::read_to_string(top().join(NAME)).expect("docs/protocol.md");
    let headings = headings(&specification);
    let mut citations = 0;
    for (path, text) in sources(&["keys", "proto", "findings", "server", "client", "fuzz"]) {
        for (index, line) in text.lines().enumerate() {
            for rest in line.split(NAME).skip(1) {
                for section in cited(rest) {
                    citations += 1;
                    let exists = headings.contains(&section);
                    assert!(
                        exists,
                        "{}:{}: {NAME} has no section {section:?}",
                        path.display(),
                        index + 1
                    );
                }
            }
        }
    }
    assert!(citations > 10, "the citations were not found");
}

#[test]
fn the_tables_of_past_bugs_the_comparison_and_the_assurance_name_tests_that_exist() {
    let mut names = BTreeSet::new();
    for (_, text) in sources(&MEMBERS) {
        for line in text.lines() {
            let name = line.trim_start().strip_prefix("fn ");
            if let Some(name) = name.and_then(|rest| rest.split('(').next()) {
                names.insert(name.to_owned());
            }
        }
    }
    for document in [
        "docs/past-bugs.md",
        "docs/comparison.md",
        "docs/assurance.md",
    ] {
        let text = std::fs::read_to_string(top().join(document)).expect(document);
        let next = text.lines().skip(1).chain([""]);
        let rows = text.lines().zip(next).filter_map(|(row, next)| {
            // A rule stands below a table's head.
            (row.starts_with("| ") && !next.starts_with("|---")).then_some(row)
        });
        let rows: Vec<&str> = rows.collect();
        assert!(rows.len() > 5, "{document}: the rows were not found");
        for row in rows {
            let last = row.trim_end_matches([' ', '|']).rsplit('|').next();
            let tests = last.unwrap_or_default().split('`').skip(1).step_by(2);
            let tests: Vec<&str> = tests.collect();
            assert!(!tests.is_empty(), "{document}: no test in {row}");
            for test in tests {
                let name = test.rsplit("::").next().unwrap_or(test);
                assert!(
                    names.contains(name),
                    "{document} names {test}, which does not exist"
                );
            }
        }
    }
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut documents: Vec<PathBuf> = Vec::new();
    for folder in [top().to_owned(), top().join("docs")] {
        let entries = std::fs::read_dir(folder)
            .expect("a folder")
            .flatten()
            .map(|entry| entry.path());
        documents.extend(entries.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    assert!(documents.len() > 5, "the documents were not found");
    for path in documents {
        let text = std::fs::read_to_string(&path).expect("a document");
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match path.parent() {
                Some(folder) if !file.is_empty() => folder.join(file),
                _ => path.clone(),
            };
            assert!(file.exists(), "{}: {target} leads nowhere", path.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&file).expect("a linked document");
                assert!(
                    anchors(&text).contains(anchor),
                    "{}: {target} names no heading",
                    path.display()
                );
            }
        }
    }
}

/// The names by which links reach the headings of a document, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut in_code = false;
    let headings = text.lines().filter(|line| {
        in_code ^= line.starts_with("```");
        !in_code && line.starts_with('#')
    });
    let anchor = |heading: &str| -> String {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
        title
            .chars()
            .filter(kept)
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn the_drawings_of_the_architecture_show_the_crates_as_they_are() {
    let drawn = Command::new("python3")
        .args(["docs/architecture/draw.py", "--check"])
        .env("CARGO", env!("CARGO"))
        .current_dir(top())
        .output()
        .expect("python3");
    let output = String::from_utf8_lossy(&drawn.stdout).into_owned();
    assert!(
        drawn.status.success(),
        "{output}{}",
        String::from_utf8_lossy(&drawn.stderr)
    );
}
