//! What knockd does inside: what shows when it is run, and what does not.

use std::net::SocketAddr;

use spa_tests::lab::SERVER4;
use spa_tests::wait;

use crate::knockd_comparison::fixture::{
    CLIENT, DoorPair, KnockdComparison, PerServer, SEQUENCE, STRANGER, syn,
};

/// knockd's door with this command.
fn running(command: &str) -> DoorPair {
    let mut doors = DoorPair::new("7000,8000,9000");
    doors.knockd =
        format!("[side]\n\tsequence = 7000,8000,9000\n\ttcpflags = syn\n\tcommand = {command}\n");
    doors
}

#[test]
fn knockds_commands_are_a_shells_as_root_with_its_packet_socket() {
    let output_file = tempfile::NamedTempFile::new().expect("a file");
    let comparison = KnockdComparison::with(&running(&format!(
        "(id -un; echo $0 %IP%; readlink /proc/self/fd/*; cat /proc/net/packet; echo end) > {}",
        output_file.path().display()
    )));
    comparison.knock(CLIENT, &SEQUENCE);
    let output = wait::eventually("the command has run", || {
        let output = std::fs::read_to_string(output_file.path()).unwrap_or_default();
        output.ends_with("end\n").then_some(output)
    });
    assert!(
        output.starts_with(&format!("root\nsh {CLIENT}\n")),
        "{output}"
    );
    let mut sockets = output.lines().filter_map(|line| {
        let inode = line.strip_prefix("socket:[")?;
        inode.strip_suffix(']')
    });
    let packet = |inode: &str| {
        let mut lines = output.lines();
        lines.any(|line| line.ends_with(&format!(" {inode}")))
    };
    assert!(sockets.any(packet), "{output}");
}

#[test]
fn knockds_debug_output_is_a_month_late_and_spads_audit_is_not() {
    let comparison = KnockdComparison::starting(&DoorPair::new("7000,8000,9000"), &["-D"]);
    comparison.knock(CLIENT, &SEQUENCE);
    assert_eq!(comparison.opened(CLIENT), PerServer { knockd: 1, spad: 1 });
    let line = comparison
        .bed
        .spad
        .wait_audited(&[("event", "grant"), ("door", "side")]);
    let time = line["ts"].as_str().expect("a time").to_owned();
    let month: u32 = time[5..7].parse().expect("a month");
    let shown = format!("{}-{:02}-{} ", &time[..4], month - 1, &time[8..10]);
    let output = comparison.knockd.process.output();
    assert!(output.contains(&shown), "{shown}: {output}");
}

#[test]
fn the_end_of_a_command_was_not_seen_to_end_knockd() {
    let mut comparison = KnockdComparison::with(&running("true"));
    for round in 1..=40 {
        comparison.knock(CLIENT, &SEQUENCE);
        comparison.wait_knockd_processed();
        assert_eq!(comparison.knockd.logged("side: OPEN SESAME"), round);
    }
    assert!(comparison.knockd.process.try_wait().is_none());
}

#[test]
fn attempts_that_are_lost_stay_in_knockds_memory() {
    let comparison = KnockdComparison::with(&DoorPair::new("7000,8000,9000"));
    let knock = |(from, port)| {
        let from = SocketAddr::new(from, 40_000);
        syn(from, (SERVER4, port).into())
    };
    // The stranger's attempt is the oldest, and ended; the client's is lost with it.
    let frames = [(STRANGER, 7000), (CLIENT, 7000), (STRANGER, 9000)].map(knock);
    let frames: Vec<_> = std::iter::repeat_n(frames, 150).flatten().collect();
    let after_so_many = |_| {
        for _ in 0..3 {
            comparison.send(&frames);
            comparison.wait_knockd_processed();
        }
        comparison.knockd.memory()
    };
    let memory: Vec<u64> = (0..5).map(after_so_many).collect();
    let more = memory[4].saturating_sub(memory[0]);
    assert!(memory.is_sorted() && more >= 100, "{memory:?} kB");
}
