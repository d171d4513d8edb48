//! What a file may say: what knockd makes of it in silence, spad refuses with its place.

use std::net::SocketAddr;

use spa_tests::lab::SERVER4;
use spa_tests::settings::Settings;
use spa_tests::test_bed::TestBed;

use crate::knockd_comparison::fixture::{CLIENT, DoorPair, KnockdComparison, PerServer, door, syn};

/// spad's check of a door with these lines ends with an error that contains this.
#[track_caller]
fn refused(lines: &str, output: &str) {
    let bed = TestBed::stopped(&Settings::default());
    let door = format!("[[knock]]\nname = \"side\"\nopen = [\"web\"]\n{lines}\n");
    bed.append_config("spad.toml", &door);
    let check = bed.spad.cli(&["check"]);
    assert!(!check.success);
    assert!(check.stderr.contains(output), "{}", check.stderr);
}

/// knockd with this door, beside a spad without any.
fn knockd(lines: &str) -> KnockdComparison {
    KnockdComparison::with(&DoorPair {
        knockd: door(lines),
        spad: String::new(),
    })
}

const OPENED: PerServer<usize> = PerServer { knockd: 1, spad: 0 };

#[test]
fn a_port_that_is_no_number_is_port_0_for_knockd_and_an_error_for_spad() {
    let comparison = knockd("sequence = ssh,http");
    let frame = |own| {
        let from = SocketAddr::new(CLIENT, own);
        syn(from, (SERVER4, 0).into())
    };
    comparison.send(&[40_000, 40_001].map(frame));
    assert_eq!(comparison.opened(CLIENT), OPENED);
    refused("sequence = \"ssh,http\"", "`ssh` is no knock");
}

#[test]
fn what_stands_behind_a_number_is_cut_off_by_knockd_and_an_error_for_spad() {
    let comparison = knockd("sequence = 7000x,-1");
    comparison.knock(CLIENT, &[7000, 65535]);
    assert_eq!(comparison.opened(CLIENT), OPENED);
    refused("sequence = \"7000x,8000\"", "`7000x` is no knock");
    refused("sequence = \"8000,-1\"", "`-1` is no knock");
}

#[test]
fn a_time_that_is_no_number_shuts_knockds_door_for_ever_and_is_an_error_for_spad() {
    let doors = DoorPair {
        knockd: door("sequence = 7000,8000").replace("seq_timeout = 30", "seq_timeout = soon"),
        spad: String::new(),
    };
    let comparison = KnockdComparison::with(&doors);
    comparison.knock(CLIENT, &[7000, 8000]);
    assert_eq!(comparison.opened(CLIENT).knockd, 0);
    refused("sequence = \"7000,8000\"\nwithin = \"soon\"", "soon");
}

#[test]
fn a_sequence_of_one_knock_is_a_door_for_knockd_and_an_error_for_spad() {
    let comparison = knockd("sequence = 7000");
    comparison.knock(CLIENT, &[7000]);
    assert_eq!(comparison.opened(CLIENT), OPENED);
    refused("sequence = \"7000\"", "one knock is no sequence");
}

#[test]
fn of_two_sequences_that_begin_alike_knockd_opens_the_shorter_and_spad_refuses_both() {
    let more = door("sequence = 7000,8000,9000").replace("[side]", "[longer]");
    let comparison = KnockdComparison::with(&DoorPair {
        knockd: format!("{}{more}", door("sequence = 7000,8000")),
        spad: String::new(),
    });
    comparison.knock(CLIENT, &[7000, 8000, 9000]);
    assert_eq!(comparison.opened(CLIENT), OPENED);
    assert_eq!(comparison.knockd.logged("longer: Stage 2"), 1);
    assert_eq!(comparison.knockd.logged("longer: OPEN SESAME"), 0);
    refused(
        "sequence = \"7000,8000\"\n[[knock]]\nname = \"longer\"\nopen = [\"web\"]\nsequence = \"7000,8000,9000\"",
        "opens both",
    );
}
