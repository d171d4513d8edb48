//! knockd's files of sequences for one use each.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use spa_tests::wait;

use crate::stage::{CLIENT, CLIENT_V6, Doors, Stage, door};

/// knockd with a file of these sequences, one a line, and the file.
fn knockd(sequences: &str) -> (Stage, PathBuf, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("sequences");
    std::fs::write(&file, sequences).expect("the file");
    let stage = Stage::with(&Doors {
        knockd: door(&format!("one_time_sequences = {}", file.display())),
        spad: String::new(),
    });
    (stage, file, directory)
}

#[track_caller]
fn wait_written(file: &Path, text: &str) {
    wait::soon(text, || {
        (std::fs::read_to_string(file).expect("the file") == text).then_some(())
    });
}

#[test]
fn knockd_writes_over_the_first_digit_of_a_used_sequence() {
    let (stage, file, _directory) = knockd("7000,8000,9000\n7100,8100,9100\n7200,8200,9200\n");
    stage.knock(CLIENT, &[7000, 8000, 9000]);
    assert_eq!(stage.opened(CLIENT).knockd, 1);
    wait_written(&file, "#000,8000,9000\n7100,8100,9100\n7200,8200,9200\n");
    stage.knock(CLIENT, &[7000, 8000, 9000]);
    assert_eq!(stage.opened(CLIENT).knockd, 1, "it is used");
    stage.knock(CLIENT, &[7100, 8100, 9100]);
    assert_eq!(stage.opened(CLIENT).knockd, 2);
}

#[test]
fn knockd_is_deaf_to_the_next_one_time_sequence_over_ipv6() {
    let (stage, _file, _directory) = knockd(" 7000,8000,9000\n 7100,8100,9100\n 7200,8200,9200\n");
    stage.knock(CLIENT_V6, &[7000, 8000, 9000]);
    assert_eq!(stage.opened(CLIENT_V6).knockd, 1);
    stage.knock(CLIENT_V6, &[7100, 8100, 9100]);
    assert_eq!(stage.opened(CLIENT_V6).knockd, 1);
    stage.knock(CLIENT, &[7100, 8100, 9100]);
    assert_eq!(stage.opened(CLIENT).knockd, 1, "over IPv4 it hears it");
}

#[test]
fn knockd_was_not_seen_to_mark_the_wrong_one_time_sequence() {
    // Alike in the bytes that it compares.
    let (stage, file, _directory) = knockd(" 7000,8000,9000\n 7000,8000,9001\n 7000,8000,9002\n");
    stage.knock(CLIENT, &[7000, 8000, 9000]);
    assert_eq!(stage.opened(CLIENT).knockd, 1);
    wait_written(&file, "#7000,8000,9000\n 7000,8000,9001\n 7000,8000,9002\n");
    stage.knock(CLIENT, &[7000, 8000, 9001]);
    assert_eq!(stage.opened(CLIENT).knockd, 2);
    wait_written(&file, "#7000,8000,9000\n#7000,8000,9001\n 7000,8000,9002\n");
}

#[test]
fn the_last_one_time_sequence_ends_knockd_by_a_double_free() {
    use std::os::unix::process::ExitStatusExt;
    let (mut stage, _file, _directory) = knockd(" 7000,8000,9000\n");
    stage.knock(CLIENT, &[7000, 8000, 9000]);
    let ended = wait::soon("knockd ends", || stage.knockd.process.ended());
    let said = stage.knockd.process.said();
    assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{said}");
    assert!(said.contains("double free"), "{said}");
    // It opened before; what waits to close it is a child, which goes on.
    assert_eq!(stage.knockd.logged("side: OPEN SESAME"), 1);
}
