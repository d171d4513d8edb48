//! Files of sequences for one use each.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use spa_tests::settings::Settings;
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

use crate::knockd_comparison::fixture::{
    CLIENT, CLIENT_V6, DoorPair, KnockdComparison, PerServer, door,
};

/// Both with a file of these sequences, one a line, and knockd's file.
fn comparison(sequences: &str) -> (KnockdComparison, PathBuf) {
    let bed = TestBed::stopped(&Settings::default());
    let file = bed.lab.path().join("sequences");
    std::fs::write(&file, sequences).expect("the file");
    bed.write_sequences("side", sequences);
    let doors = DoorPair {
        knockd: door(&format!("one_time_sequences = {}", file.display())),
        spad: "[[knock]]\nname = \"side\"\none_time = \"side\"\nopen = [\"web\"]\n".to_owned(),
    };
    (KnockdComparison::with_bed(bed, &doors, &[]), file)
}

#[track_caller]
fn wait_written(file: &Path, text: &str) {
    wait::eventually(text, || {
        (std::fs::read_to_string(file).expect("the file") == text).then_some(())
    });
}

#[test]
fn knockd_writes_over_the_first_digit_of_a_used_sequence_and_spad_writes_elsewhere() {
    let lines = "7000,8000,9000\n7100,8100,9100\n7200,8200,9200\n";
    let (comparison, file) = comparison(lines);
    comparison.knock(CLIENT, &[7000, 8000, 9000]);
    assert_eq!(comparison.opened(CLIENT), PerServer { knockd: 1, spad: 1 });
    wait_written(&file, "#000,8000,9000\n7100,8100,9100\n7200,8200,9200\n");
    wait_written(&comparison.bed.spad.config().join("side"), lines);
    comparison.knock(CLIENT, &[7000, 8000, 9000]);
    assert_eq!(
        comparison.opened(CLIENT),
        PerServer { knockd: 1, spad: 1 },
        "used"
    );
    comparison.knock(CLIENT, &[7100, 8100, 9100]);
    assert_eq!(comparison.opened(CLIENT), PerServer { knockd: 2, spad: 2 });
}

#[test]
fn the_next_one_time_sequence_over_ipv6_is_heard_by_spad_alone() {
    let (comparison, _) = comparison("7000,8000,9000\n7100,8100,9100\n7200,8200,9200\n");
    comparison.knock(CLIENT_V6, &[7000, 8000, 9000]);
    assert_eq!(
        comparison.opened(CLIENT_V6),
        PerServer { knockd: 1, spad: 1 }
    );
    comparison.knock(CLIENT_V6, &[7100, 8100, 9100]);
    assert_eq!(
        comparison.opened(CLIENT_V6),
        PerServer { knockd: 1, spad: 2 }
    );
    // Over IPv4 knockd hears it.
    comparison.knock(CLIENT, &[7100, 8100, 9100]);
    assert_eq!(comparison.opened(CLIENT), PerServer { knockd: 1, spad: 0 });
}

#[test]
fn the_wrong_one_time_sequence_was_not_seen_to_be_marked() {
    // Alike in the bytes that knockd compares.
    let (comparison, file) = comparison(" 7000,8000,9000\n 7000,8000,9001\n 7000,8000,9002\n");
    comparison.knock(CLIENT, &[7000, 8000, 9000]);
    assert_eq!(comparison.opened(CLIENT), PerServer { knockd: 1, spad: 1 });
    wait_written(&file, "#7000,8000,9000\n 7000,8000,9001\n 7000,8000,9002\n");
    comparison.knock(CLIENT, &[7000, 8000, 9001]);
    assert_eq!(comparison.opened(CLIENT), PerServer { knockd: 2, spad: 2 });
    wait_written(&file, "#7000,8000,9000\n#7000,8000,9001\n 7000,8000,9002\n");
}

#[test]
fn the_last_one_time_sequence_ends_knockd_by_a_double_free_and_spad_goes_on() {
    let (mut comparison, _) = comparison("7000,8000,9000\n");
    comparison.knock(CLIENT, &[7000, 8000, 9000]);
    let ended = wait::eventually("knockd ends", || comparison.knockd.process.try_wait());
    let output = comparison.knockd.process.output();
    assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{output}");
    assert!(output.contains("double free"), "{output}");
    assert_eq!(comparison.knockd.logged("side: OPEN SESAME"), 1);
    comparison.wait_spad_processed();
    assert_eq!(comparison.bed.spad.verdict_count("knock_opened"), 1);
    let left = &comparison.bed.spad.status()["sequences_left"]["side"];
    assert_eq!(left.as_u64(), Some(0));
}
