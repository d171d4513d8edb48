//! The configuration's fixtures: each file of `config/bad` holds one fault, and what
//! `spad check` says of it stands beside it; those of `config/good` are accepted.
//!
//! A file is spad.toml; a line `#### clients.d/NAME.toml` begins another one, `#### NAME 0640`
//! one with this mode.
//! `BLESS=1 cargo test -p spad --test it config::` writes what is said now; read it before committing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lays the fixture out as files.
fn write_fixture(fixture: &str, directory: &Path) {
    let clients = directory.join("clients.d");
    fs::create_dir(&clients).unwrap();
    for directory in [directory, &clients] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut name = "spad.toml".to_owned();
    let mut text = String::new();
    for line in fixture.split_inclusive('\n') {
        if let Some(next) = line.strip_prefix("#### ") {
            write(directory, &name, &text);
            (name, text) = (next.trim().to_owned(), String::new());
        } else {
            text.push_str(line);
        }
    }
    write(directory, &name, &text);
}

fn write(directory: &Path, name: &str, text: &str) {
    let (name, mode) = name.split_once(' ').unwrap_or((name, "0644"));
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    std::os::unix::fs::chown(&path, None, Some(group())).unwrap();
    let mode = u32::from_str_radix(mode, 8).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The engine's group.
fn group() -> u32 {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| users.lines().find(|line| line.starts_with(name));
    let user = of("spad:").or_else(|| of("nobody:")).unwrap();
    user.split(':').nth(3).unwrap().parse().unwrap()
}

/// Exit code, and what was said on both outputs, the directory's name replaced.
fn check(fixture: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("etc");
    fs::create_dir(&config).unwrap();
    write_fixture(fixture, &config);
    let output = Command::new(env!("CARGO_BIN_EXE_spad"))
        .args(["check", "--config"])
        .arg(&config)
        .arg("--state")
        .arg(directory.path().join("var"))
        .output()
        .unwrap();
    let text = [output.stderr, output.stdout].concat();
    let text = String::from_utf8(text).unwrap();
    (
        output.status.code(),
        text.replace(config.to_str().unwrap(), "/etc/spad"),
    )
}

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/config")
        .join(kind);
    let paths = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

/// Runs all fixtures of a kind; gives those that said something else than before.
fn run(kind: &str, code: i32) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in fixtures(kind) {
        let fixture = fs::read_to_string(&path).unwrap();
        let (exit, output) = check(&fixture);
        let expected_path = path.with_extension("stderr");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected_path, &output).unwrap();
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if exit != Some(code) || output != expected {
            wrong.push(format!(
                "{}: exit {exit:?}\n--- said\n{output}--- expected\n{expected}",
                path.display()
            ));
        }
    }
    wrong
}

#[test]
fn a_bad_file_is_refused_with_its_place_and_its_mend() {
    let wrong = run("bad", 1);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_good_file_is_accepted() {
    let wrong = run("good", 0);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_expected_text_has_its_fixture_and_every_error_a_mend() {
    for kind in ["good", "bad"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/it/config")
            .join(kind);
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            assert!(path.with_extension("toml").exists(), "{}", path.display());
            if kind == "bad" && path.extension().is_some_and(|e| e == "stderr") {
                let text = fs::read_to_string(&path).unwrap();
                let errors = text.matches("error: ").count();
                let mends = text.matches(" = help: ").count();
                assert!(
                    errors >= 1 && mends >= errors,
                    "{}:\n{text}",
                    path.display()
                );
            }
        }
    }
}
