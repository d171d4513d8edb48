//! Files of sequences for one use each.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use spa_tests::settings::Settings;
use spa_tests::wait;
use spa_tests::world::World;

use crate::knockd_comparison::fixture::{By, CLIENT, CLIENT_V6, Doors, Stage, door};

/// Both with a file of these sequences, one a line, and knockd's file.
fn stage(sequences: &str) -> (Stage, PathBuf) {
    let world = World::stopped(&Settings::default());
    let file = world.lab.path().join("sequences");
    std::fs::write(&file, sequences).expect("the file");
    world.sequences("side", sequences);
    let doors = Doors {
        knockd: door(&format!("one_time_sequences = {}", file.display())),
        spad: "[[knock]]\nname = \"side\"\none_time = \"side\"\nopen = [\"web\"]\n".to_owned(),
    };
    (Stage::in_world(world, &doors, &[]), file)
}

#[track_caller]
fn wait_written(file: &Path, text: &str) {
    wait::soon(text, || {
        (std::fs::read_to_string(file).expect("the file") == text).then_some(())
    });
}

#[test]
fn knockd_writes_over_the_first_digit_of_a_used_sequence_and_spad_writes_elsewhere() {
    let lines = "7000,8000,9000\n7100,8100,9100\n7200,8200,9200\n";
    let (stage, file) = stage(lines);
    stage.knock(CLIENT, &[7000, 8000, 9000]);
    assert_eq!(stage.opened(CLIENT), By { knockd: 1, spad: 1 });
    wait_written(&file, "#000,8000,9000\n7100,8100,9100\n7200,8200,9200\n");
    wait_written(&stage.world.spad.config().join("side"), lines);
    stage.knock(CLIENT, &[7000, 8000, 9000]);
    assert_eq!(stage.opened(CLIENT), By { knockd: 1, spad: 1 }, "used");
    stage.knock(CLIENT, &[7100, 8100, 9100]);
    assert_eq!(stage.opened(CLIENT), By { knockd: 2, spad: 2 });
}

#[test]
fn the_next_one_time_sequence_over_ipv6_is_heard_by_spad_alone() {
    let (stage, _) = stage("7000,8000,9000\n7100,8100,9100\n7200,8200,9200\n");
    stage.knock(CLIENT_V6, &[7000, 8000, 9000]);
    assert_eq!(stage.opened(CLIENT_V6), By { knockd: 1, spad: 1 });
    stage.knock(CLIENT_V6, &[7100, 8100, 9100]);
    assert_eq!(stage.opened(CLIENT_V6), By { knockd: 1, spad: 2 });
    // Over IPv4 knockd hears it.
    stage.knock(CLIENT, &[7100, 8100, 9100]);
    assert_eq!(stage.opened(CLIENT), By { knockd: 1, spad: 0 });
}

#[test]
fn the_wrong_one_time_sequence_was_not_seen_to_be_marked() {
    // Alike in the bytes that knockd compares.
    let (stage, file) = stage(" 7000,8000,9000\n 7000,8000,9001\n 7000,8000,9002\n");
    stage.knock(CLIENT, &[7000, 8000, 9000]);
    assert_eq!(stage.opened(CLIENT), By { knockd: 1, spad: 1 });
    wait_written(&file, "#7000,8000,9000\n 7000,8000,9001\n 7000,8000,9002\n");
    stage.knock(CLIENT, &[7000, 8000, 9001]);
    assert_eq!(stage.opened(CLIENT), By { knockd: 2, spad: 2 });
    wait_written(&file, "#7000,8000,9000\n#7000,8000,9001\n 7000,8000,9002\n");
}

#[test]
fn the_last_one_time_sequence_ends_knockd_by_a_double_free_and_spad_goes_on() {
    let (mut stage, _) = stage("7000,8000,9000\n");
    stage.knock(CLIENT, &[7000, 8000, 9000]);
    let ended = wait::soon("knockd ends", || stage.knockd.process.ended());
    let said = stage.knockd.process.said();
    assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{said}");
    assert!(said.contains("double free"), "{said}");
    assert_eq!(stage.knockd.logged("side: OPEN SESAME"), 1);
    stage.settle_spad();
    assert_eq!(stage.world.spad.counted("knock_opened"), 1);
    let left = &stage.world.spad.status()["sequences_left"]["side"];
    assert_eq!(left.as_u64(), Some(0));
}
