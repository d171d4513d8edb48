//! What stays open when processes end.

use std::time::Duration;

use rustix::process::Signal;
use spa_tests::lab::SERVER4;
use spa_tests::settings::{EXPOSED, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

use crate::knockd_comparison::fixture::{
    CLIENT, DoorPair, KnockdComparison, PerServer, SEQUENCE, STRANGER, is_open, signal,
};

/// How long doors are open, in seconds: time enough for what comes in between, on a busy machine.
const OPEN: u32 = 8;

/// Both doors are open to the client.
fn opened() -> KnockdComparison {
    let comparison = KnockdComparison::with(&DoorPair::lasting("7000,8000,9000", OPEN));
    comparison.knock(CLIENT, &SEQUENCE);
    assert_eq!(comparison.opened(CLIENT), PerServer { knockd: 1, spad: 1 });
    wait::eventually("the start command has run", || {
        knockd_port_is_open(&comparison.bed).then_some(())
    });
    comparison
}

/// Whether knockd's port is open to the client.
fn knockd_port_is_open(bed: &TestBed) -> bool {
    is_open(&bed.lab.client, SERVER4.into(), EXPOSED)
}

/// The rules by which knockd lets somebody in.
fn rules(bed: &TestBed) -> String {
    let listed = bed.lab.server.run_ok("iptables", &["-S", "INPUT"]);
    let rules = listed.lines().filter(|line| line.ends_with("-j ACCEPT"));
    rules.collect::<Vec<_>>().join("\n")
}

fn wait_spad_closes(bed: &TestBed) {
    wait::eventually("spad's port closes", || {
        (!is_open(&bed.lab.client, SERVER4.into(), WEB)).then_some(())
    });
}

#[test]
fn both_close_on_time_where_nothing_ends() {
    let comparison = opened();
    comparison.knockd.wait_logged("side: command timeout", 1);
    wait::eventually("knockd closes", || {
        (!knockd_port_is_open(&comparison.bed)).then_some(())
    });
    wait_spad_closes(&comparison.bed);
}

#[test]
fn what_is_open_when_all_is_killed_stays_open_at_knockd_alone() {
    let mut comparison = opened();
    // As systemd does when a service is killed, and as any crash or reboot that keeps rules.
    for child in comparison.knockd.children() {
        signal(child, Signal::KILL);
    }
    comparison.knockd.process.signal_and_wait(Signal::KILL);
    comparison.bed.spad.kill();
    wait_spad_closes(&comparison.bed);
    wait::until_after(wait::now(), Duration::from_secs(2));
    assert!(
        knockd_port_is_open(&comparison.bed),
        "nobody is left to close it"
    );
}

#[test]
fn a_term_to_the_process_that_waits_leaves_the_port_open_at_knockd_alone() {
    let mut comparison = opened();
    let children = comparison.knockd.children();
    assert_eq!(children.len(), 1, "the one that waits");
    for child in children {
        signal(child, Signal::TERM);
    }
    wait::eventually("it ends", || {
        comparison.knockd.children().is_empty().then_some(())
    });
    comparison.bed.spad.stop();
    wait_spad_closes(&comparison.bed);
    wait::until_after(wait::now(), Duration::from_secs(2));
    assert!(knockd_port_is_open(&comparison.bed));
    assert_eq!(comparison.knockd.logged("side: command timeout"), 0);
    comparison.wait_knockd_processed();
}

#[test]
fn a_stop_loses_the_second_close_at_knockd_alone() {
    let mut comparison = opened();
    wait::until_after(wait::now(), Duration::from_secs(2));
    comparison.knock(STRANGER, &SEQUENCE);
    assert_eq!(
        comparison.opened(STRANGER),
        PerServer { knockd: 1, spad: 1 }
    );
    let second = format!("-s {STRANGER}/32");
    wait::eventually("the second start command has run", || {
        rules(&comparison.bed).contains(&second).then_some(())
    });
    // It waits for the first child and ends before the second, which systemd then kills.
    let children = comparison.knockd.children();
    comparison.knockd.process.signal(Signal::TERM);
    comparison.bed.spad.stop();
    let ended = wait::eventually("knockd ends", || comparison.knockd.process.try_wait());
    assert_eq!(ended.code(), Some(15));
    for child in children.into_iter().skip(1) {
        signal(child, Signal::KILL);
    }
    wait_spad_closes(&comparison.bed);
    let left = rules(&comparison.bed);
    assert!(!left.contains(&format!("-s {CLIENT}/32")), "{left}");
    assert!(left.contains(&second), "{left}");
    wait::eventually("nothing of the stranger's is left in spad's sets", || {
        let table = ["list", "table", "inet", "spad"];
        let listed = comparison.bed.lab.server.run_ok("nft", &table);
        (!listed.contains(&STRANGER.to_string())).then_some(())
    });
}

#[test]
fn a_hangup_with_a_wrong_file_ends_knockd_and_a_reload_leaves_spad_as_it_was() {
    let mut comparison = KnockdComparison::with(&DoorPair::new("7000,8000,9000"));
    comparison.wait_processed();
    crate::knockd_comparison::fixture::configure(
        &comparison.bed.lab,
        "[side]\n\tsequnce = 7000,8000\n",
    );
    comparison
        .bed
        .append_config("spad.toml", "[[knock]]\nsequnce = \"7000,8000\"");
    comparison.knockd.process.signal(Signal::HUP);
    let ended = wait::eventually("knockd ends", || comparison.knockd.process.try_wait());
    assert_eq!(ended.code(), Some(1));
    let refused = comparison.bed.spad.cli(&["reload"]);
    assert!(!refused.success, "{}", refused.stdout);
    assert!(refused.stderr.contains("sequnce"), "{}", refused.stderr);
    comparison.knock(CLIENT, &SEQUENCE);
    comparison.bed.spad.wait_verdict_count("knock_opened", 1);
}
