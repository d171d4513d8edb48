//! Attempts: what one host does to its own and to another's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use spa_tests::lab::SERVER4;
use spa_tests::settings::{EXPOSED, WEB};
use spa_tests::wait;

use crate::knockd_comparison::fixture::{
    CLIENT, DoorPair, KnockdComparison, PerServer, SEQUENCE, STRANGER, is_open, syn,
};

fn comparison() -> KnockdComparison {
    KnockdComparison::with(&DoorPair::new("7000,8000,9000"))
}

const KNOCKD_ALONE: PerServer<usize> = PerServer { knockd: 1, spad: 0 };
const SPAD_ALONE: PerServer<usize> = PerServer { knockd: 0, spad: 1 };
const BOTH: PerServer<usize> = PerServer { knockd: 1, spad: 1 };
const NEITHER: PerServer<usize> = PerServer { knockd: 0, spad: 0 };

#[test]
fn the_sequence_opens_both() {
    let comparison = comparison();
    comparison.knock(CLIENT, &SEQUENCE);
    assert_eq!(comparison.opened(CLIENT), BOTH);
    assert_eq!(comparison.opened(STRANGER), NEITHER);
    for port in [EXPOSED, WEB] {
        let client = &comparison.bed.lab.client;
        wait::eventually("the port is open", || {
            is_open(client, SERVER4.into(), port).then_some(())
        });
    }
}

#[test]
fn the_oldest_attempts_wrong_knock_loses_everybodys_progress_at_knockd_alone() {
    let comparison = comparison();
    comparison.knock(STRANGER, &[7000]);
    comparison.knock(CLIENT, &[7000]);
    comparison.knock(STRANGER, &[9000]);
    comparison.knock(CLIENT, &[8000, 9000]);
    assert_eq!(comparison.opened(CLIENT), SPAD_ALONE);
    // The other way round nothing is lost.
    comparison.knock(CLIENT, &[7000]);
    comparison.knock(STRANGER, &[7000, 9000]);
    comparison.knock(CLIENT, &[8000, 9000]);
    assert_eq!(comparison.opened(CLIENT), PerServer { knockd: 1, spad: 2 });
}

#[test]
fn the_oldest_attempts_success_loses_everybodys_progress_at_knockd_alone() {
    let comparison = comparison();
    comparison.knock(STRANGER, &[7000]);
    comparison.knock(CLIENT, &[7000]);
    comparison.knock(STRANGER, &[8000, 9000]);
    comparison.knock(CLIENT, &[8000, 9000]);
    assert_eq!(comparison.opened(STRANGER), BOTH);
    assert_eq!(comparison.opened(CLIENT), SPAD_ALONE);
}

#[test]
fn a_segment_that_the_network_repeats_ends_the_attempt_at_knockd_alone() {
    let frame = |port| {
        let from = SocketAddr::new(CLIENT, 40_000);
        syn(from, (SERVER4, port).into())
    };
    for repeated in [[7000, 7000, 8000, 9000], [7000, 8000, 8000, 9000]] {
        let comparison = comparison();
        comparison.send(&repeated.map(frame));
        assert_eq!(comparison.opened(CLIENT), SPAD_ALONE, "{repeated:?}");
    }
}

#[test]
fn a_scan_upwards_opens_knockd_alone() {
    let comparison = comparison();
    let ports: Vec<u16> = (6990..=9010).collect();
    comparison.knock(CLIENT, &ports);
    assert_eq!(comparison.opened(CLIENT), KNOCKD_ALONE);
    // So does a wrong knock at a port that no door of knockd's names.
    comparison.knock(STRANGER, &[7000, 7500, 8000, 8500, 9000]);
    assert_eq!(comparison.opened(STRANGER), KNOCKD_ALONE);
}

#[test]
fn knockd_judges_time_when_the_next_packet_comes_and_neither_opens_late() {
    let mut doors = DoorPair::new("7000,8000,9000");
    doors.knockd = doors.knockd.replace("seq_timeout = 30", "seq_timeout = 2");
    doors.spad = doors.spad.replace("within = \"30s\"", "within = \"2s\"");
    let comparison = KnockdComparison::with(&doors);
    comparison.knock(CLIENT, &[7000, 8000]);
    comparison.knockd.wait_logged("side: Stage 2", 1);
    wait::until_after(wait::now(), Duration::from_secs(4));
    assert_eq!(comparison.knockd.logged("sequence timeout"), 0);
    comparison.knock(CLIENT, &[9000]);
    assert_eq!(comparison.opened(CLIENT), NEITHER);
    assert_eq!(comparison.knockd.logged("sequence timeout"), 1);
}

#[test]
fn strangers_first_knocks_fill_knockds_memory_and_log_alone() {
    const SOURCES: u16 = 4000;
    let comparison = comparison();
    comparison.wait_processed();
    // It comes with the start.
    wait::eventually("what strangers get is logged", || {
        comparison
            .bed
            .spad
            .output()
            .contains("strangers get")
            .then_some(())
    });
    let (memory, lines) = (
        comparison.knockd.memory(),
        comparison.bed.spad.audit().len(),
    );
    let output = comparison.bed.spad.output().len();
    let frame = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let from = IpAddr::V4(Ipv4Addr::new(198, 18, high, low));
        syn(SocketAddr::new(from, 40_000), (SERVER4, 7000).into())
    };
    // In portions, that neither loses one.
    for portion in (0..SOURCES).collect::<Vec<_>>().chunks(500) {
        comparison.send(&portion.iter().copied().map(frame).collect::<Vec<_>>());
        comparison.wait_processed();
    }
    assert_eq!(
        comparison.knockd.logged("side: Stage 1"),
        usize::from(SOURCES)
    );
    let more = comparison.knockd.memory().saturating_sub(memory);
    // 472 kB where it was measured.
    assert!(more > 300, "{more} kB");
    assert_eq!(
        comparison.bed.spad.verdict_count("knock"),
        u64::from(SOURCES)
    );
    assert_eq!(comparison.bed.spad.output().len(), output);
    let grants = comparison.bed.spad.audit().len() - lines;
    assert_eq!(grants, usize::from(SOURCES / 500), "of the packets of spa");
}

#[test]
fn knockds_log_has_lines_of_nothing_and_spads_audit_is_one_object_a_line() {
    let comparison = comparison();
    comparison.knock(CLIENT, &SEQUENCE);
    assert_eq!(comparison.opened(CLIENT), BOTH);
    comparison.knockd.wait_logged("side: running command", 1);
    let log = comparison.knockd.log();
    assert!(log.contains("ACCEPT\n\n"), "{log}");
    let file = comparison.bed.spad.audit_file();
    let audit = std::fs::read_to_string(file).expect("the audit");
    assert_eq!(audit.lines().count(), comparison.bed.spad.audit().len());
}
