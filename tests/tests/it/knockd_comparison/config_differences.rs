//! What a file may say: what knockd makes of it in silence, spad refuses with its place.

use std::net::SocketAddr;

use spa_tests::lab::SERVER4;
use spa_tests::settings::Settings;
use spa_tests::world::World;

use crate::knockd_comparison::fixture::{By, CLIENT, Doors, Stage, door, syn};

/// spad's check of a door with these lines ends with an error that contains this.
#[track_caller]
fn refused(lines: &str, said: &str) {
    let world = World::stopped(&Settings::default());
    let door = format!("[[knock]]\nname = \"side\"\nopen = [\"web\"]\n{lines}\n");
    world.append("spad.toml", &door);
    let check = world.spad.cli(&["check"]);
    assert!(!check.success);
    assert!(check.stderr.contains(said), "{}", check.stderr);
}

/// knockd with this door, beside a spad without any.
fn knockd(lines: &str) -> Stage {
    Stage::with(&Doors {
        knockd: door(lines),
        spad: String::new(),
    })
}

const OPENED: By<usize> = By { knockd: 1, spad: 0 };

#[test]
fn a_port_that_is_no_number_is_port_0_for_knockd_and_an_error_for_spad() {
    let stage = knockd("sequence = ssh,http");
    let frame = |own| {
        let from = SocketAddr::new(CLIENT, own);
        syn(from, (SERVER4, 0).into())
    };
    stage.send(&[40_000, 40_001].map(frame));
    assert_eq!(stage.opened(CLIENT), OPENED);
    refused("sequence = \"ssh,http\"", "`ssh` is no knock");
}

#[test]
fn what_stands_behind_a_number_is_cut_off_by_knockd_and_an_error_for_spad() {
    let stage = knockd("sequence = 7000x,-1");
    stage.knock(CLIENT, &[7000, 65535]);
    assert_eq!(stage.opened(CLIENT), OPENED);
    refused("sequence = \"7000x,8000\"", "`7000x` is no knock");
    refused("sequence = \"8000,-1\"", "`-1` is no knock");
}

#[test]
fn a_time_that_is_no_number_shuts_knockds_door_for_ever_and_is_an_error_for_spad() {
    let doors = Doors {
        knockd: door("sequence = 7000,8000").replace("seq_timeout = 30", "seq_timeout = soon"),
        spad: String::new(),
    };
    let stage = Stage::with(&doors);
    stage.knock(CLIENT, &[7000, 8000]);
    assert_eq!(stage.opened(CLIENT).knockd, 0);
    refused("sequence = \"7000,8000\"\nwithin = \"soon\"", "soon");
}

#[test]
fn a_sequence_of_one_knock_is_a_door_for_knockd_and_an_error_for_spad() {
    let stage = knockd("sequence = 7000");
    stage.knock(CLIENT, &[7000]);
    assert_eq!(stage.opened(CLIENT), OPENED);
    refused("sequence = \"7000\"", "one knock is no sequence");
}

#[test]
fn of_two_sequences_that_begin_alike_knockd_opens_the_shorter_and_spad_refuses_both() {
    let more = door("sequence = 7000,8000,9000").replace("[side]", "[longer]");
    let stage = Stage::with(&Doors {
        knockd: format!("{}{more}", door("sequence = 7000,8000")),
        spad: String::new(),
    });
    stage.knock(CLIENT, &[7000, 8000, 9000]);
    assert_eq!(stage.opened(CLIENT), OPENED);
    assert_eq!(stage.knockd.logged("longer: Stage 2"), 1);
    assert_eq!(stage.knockd.logged("longer: OPEN SESAME"), 0);
    refused(
        "sequence = \"7000,8000\"\n[[knock]]\nname = \"longer\"\nopen = [\"web\"]\nsequence = \"7000,8000,9000\"",
        "opens both",
    );
}
