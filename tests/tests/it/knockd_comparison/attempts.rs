//! Attempts: what one host does to its own and to another's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use spa_tests::lab::SERVER4;
use spa_tests::settings::{SHOWN, WEB};
use spa_tests::wait;

use crate::knockd_comparison::fixture::{
    By, CLIENT, Doors, SEQUENCE, STRANGER, Stage, is_open, syn,
};

fn stage() -> Stage {
    Stage::with(&Doors::of("7000,8000,9000"))
}

const KNOCKD_ALONE: By<usize> = By { knockd: 1, spad: 0 };
const SPAD_ALONE: By<usize> = By { knockd: 0, spad: 1 };
const BOTH: By<usize> = By { knockd: 1, spad: 1 };
const NEITHER: By<usize> = By { knockd: 0, spad: 0 };

#[test]
fn the_sequence_opens_both() {
    let stage = stage();
    stage.knock(CLIENT, &SEQUENCE);
    assert_eq!(stage.opened(CLIENT), BOTH);
    assert_eq!(stage.opened(STRANGER), NEITHER);
    for port in [SHOWN, WEB] {
        let client = &stage.world.lab.client;
        wait::soon("the port is open", || {
            is_open(client, SERVER4.into(), port).then_some(())
        });
    }
}

#[test]
fn the_oldest_attempts_wrong_knock_loses_everybodys_progress_at_knockd_alone() {
    let stage = stage();
    stage.knock(STRANGER, &[7000]);
    stage.knock(CLIENT, &[7000]);
    stage.knock(STRANGER, &[9000]);
    stage.knock(CLIENT, &[8000, 9000]);
    assert_eq!(stage.opened(CLIENT), SPAD_ALONE);
    // The other way round nothing is lost.
    stage.knock(CLIENT, &[7000]);
    stage.knock(STRANGER, &[7000, 9000]);
    stage.knock(CLIENT, &[8000, 9000]);
    assert_eq!(stage.opened(CLIENT), By { knockd: 1, spad: 2 });
}

#[test]
fn the_oldest_attempts_success_loses_everybodys_progress_at_knockd_alone() {
    let stage = stage();
    stage.knock(STRANGER, &[7000]);
    stage.knock(CLIENT, &[7000]);
    stage.knock(STRANGER, &[8000, 9000]);
    stage.knock(CLIENT, &[8000, 9000]);
    assert_eq!(stage.opened(STRANGER), BOTH);
    assert_eq!(stage.opened(CLIENT), SPAD_ALONE);
}

#[test]
fn a_segment_that_the_network_repeats_ends_the_attempt_at_knockd_alone() {
    let frame = |port| {
        let from = SocketAddr::new(CLIENT, 40_000);
        syn(from, (SERVER4, port).into())
    };
    for repeated in [[7000, 7000, 8000, 9000], [7000, 8000, 8000, 9000]] {
        let stage = stage();
        stage.send(&repeated.map(frame));
        assert_eq!(stage.opened(CLIENT), SPAD_ALONE, "{repeated:?}");
    }
}

#[test]
fn a_scan_upwards_opens_knockd_alone() {
    let stage = stage();
    let ports: Vec<u16> = (6990..=9010).collect();
    stage.knock(CLIENT, &ports);
    assert_eq!(stage.opened(CLIENT), KNOCKD_ALONE);
    // So does a wrong knock at a port that no door of knockd's names.
    stage.knock(STRANGER, &[7000, 7500, 8000, 8500, 9000]);
    assert_eq!(stage.opened(STRANGER), KNOCKD_ALONE);
}

#[test]
fn knockd_judges_time_when_the_next_packet_comes_and_neither_opens_late() {
    let mut doors = Doors::of("7000,8000,9000");
    doors.knockd = doors.knockd.replace("seq_timeout = 30", "seq_timeout = 2");
    doors.spad = doors.spad.replace("within = \"30s\"", "within = \"2s\"");
    let stage = Stage::with(&doors);
    stage.knock(CLIENT, &[7000, 8000]);
    stage.knockd.wait_logged("side: Stage 2", 1);
    wait::until_after(wait::now(), Duration::from_secs(4));
    assert_eq!(stage.knockd.logged("sequence timeout"), 0);
    stage.knock(CLIENT, &[9000]);
    assert_eq!(stage.opened(CLIENT), NEITHER);
    assert_eq!(stage.knockd.logged("sequence timeout"), 1);
}

#[test]
fn strangers_first_knocks_fill_knockds_memory_and_log_alone() {
    const SOURCES: u16 = 4000;
    let stage = stage();
    stage.settle();
    // It comes with the start.
    wait::soon("what strangers get is logged", || {
        stage
            .world
            .spad
            .said()
            .contains("strangers get")
            .then_some(())
    });
    let (memory, lines) = (stage.knockd.memory(), stage.world.spad.audit().len());
    let said = stage.world.spad.said().len();
    let frame = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let from = IpAddr::V4(Ipv4Addr::new(198, 18, high, low));
        syn(SocketAddr::new(from, 40_000), (SERVER4, 7000).into())
    };
    // In portions, that neither loses one.
    for portion in (0..SOURCES).collect::<Vec<_>>().chunks(500) {
        stage.send(&portion.iter().copied().map(frame).collect::<Vec<_>>());
        stage.settle();
    }
    assert_eq!(stage.knockd.logged("side: Stage 1"), usize::from(SOURCES));
    let more = stage.knockd.memory().saturating_sub(memory);
    // 472 kB where it was measured.
    assert!(more > 300, "{more} kB");
    assert_eq!(stage.world.spad.counted("knock"), u64::from(SOURCES));
    assert_eq!(stage.world.spad.said().len(), said);
    let grants = stage.world.spad.audit().len() - lines;
    assert_eq!(grants, usize::from(SOURCES / 500), "of the packets of spa");
}

#[test]
fn knockds_log_has_lines_of_nothing_and_spads_audit_is_one_object_a_line() {
    let stage = stage();
    stage.knock(CLIENT, &SEQUENCE);
    assert_eq!(stage.opened(CLIENT), BOTH);
    stage.knockd.wait_logged("side: running command", 1);
    let log = stage.knockd.log();
    assert!(log.contains("ACCEPT\n\n"), "{log}");
    let file = stage.world.spad.audit_file();
    let audit = std::fs::read_to_string(file).expect("the audit");
    assert_eq!(audit.lines().count(), stage.world.spad.audit().len());
}
