//! What a program in the place of `nft` may do to us.

use std::os::unix::fs::PermissionsExt as _;

use spad_sys::clock;

use super::*;

/// A script in the place of `nft`.
fn program(script: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nft");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    (directory, path)
}

fn feed(script: &str, text: &str) -> Result<u32, NftError> {
    let (_directory, program) = program(script);
    run_program(&program, &["-f", "-"], text, Duration::from_secs(1), None)
}

/// More than a pipe holds.
fn long_text() -> String {
    "x".repeat(1 << 20)
}

#[test]
fn one_that_reads_everything_and_ends_well_has_loaded_it() {
    assert!(feed("cat >/dev/null", &long_text()).is_ok());
}

#[test]
fn one_that_hangs_is_killed_with_all_that_it_started_whatever_signals_it_ignores() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!(
        "trap '' TERM INT HUP; sleep 600 & echo $! >{0}; echo $$ >>{0}; while :; do sleep 600; done",
        pids.display()
    );
    let began = clock::now().boot;
    // Never read: its input pipe fills.
    let error = feed(&script, &long_text()).unwrap_err();
    assert!(matches!(error, NftError::TimedOut { .. }), "{error}");
    assert!(clock::now().boot < began.saturating_add(Duration::from_secs(5)));
    for pid in std::fs::read_to_string(pids).unwrap().lines() {
        let gone = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        let until = clock::now().boot.saturating_add(Duration::from_secs(5));
        while !gone() && clock::now().boot < until {
            std::thread::yield_now();
        }
        assert!(gone(), "{pid} lives");
    }
}

#[test]
fn one_that_closes_its_outputs_and_stays_is_killed() {
    let error = feed("exec >&- 2>&-; sleep 600", "").unwrap_err();
    assert!(matches!(error, NftError::TimedOut { .. }), "{error}");
}

#[test]
fn one_that_never_stops_to_talk_is_killed_and_its_words_are_limited() {
    let error = feed("yes", "").unwrap_err();
    assert!(matches!(error, NftError::TimedOut { .. }), "{error}");
    let error = feed("yes | head -c 10000000; exit 1", "").unwrap_err();
    assert!(error.to_string().len() < 1000, "{error}");
}

#[test]
fn one_that_fails_is_told_in_its_own_words_or_by_how_it_ended() {
    let error = feed("echo no such family >&2; exit 1", "").unwrap_err();
    assert!(error.to_string().contains("no such family"), "{error}");
    let error = feed("kill -9 $$", "").unwrap_err();
    assert!(error.to_string().contains("signal: 9"), "{error}");
}

#[test]
fn one_that_ends_well_without_reading_has_loaded_nothing() {
    let error = feed("exec <&-; exit 0", &long_text()).unwrap_err();
    assert!(error.to_string().contains("before it had read"), "{error}");
}

#[test]
fn one_whose_child_keeps_its_output_open_does_not_keep_us_waiting() {
    let began = clock::now().boot;
    assert!(feed("cat >/dev/null; sleep 4 &", "x").is_ok());
    assert!(clock::now().boot < began.saturating_add(Duration::from_secs(3)));
}

#[test]
fn one_that_cannot_be_run_is_named() {
    let (_directory, program) = program("");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = run_program(&program, &[], "", TIME_LIMIT, None).unwrap_err();
    let text = error.to_string();
    let named = format!("cannot run {}: Permission denied", program.display());
    assert!(text.starts_with(&named), "{text}");
}
