//! What stays open when processes end.

use std::time::Duration;

use rustix::process::Signal;
use spa_tests::lab::SERVER4;
use spa_tests::settings::{SHOWN, WEB};
use spa_tests::wait;
use spa_tests::world::World;

use crate::knockd_comparison::fixture::{
    By, CLIENT, Doors, SEQUENCE, STRANGER, Stage, is_open, signal,
};

/// How long doors are open, in seconds: time enough for what comes in between, on a busy machine.
const OPEN: u32 = 8;

/// Both doors are open to the client.
fn opened() -> Stage {
    let stage = Stage::with(&Doors::lasting("7000,8000,9000", OPEN));
    stage.knock(CLIENT, &SEQUENCE);
    assert_eq!(stage.opened(CLIENT), By { knockd: 1, spad: 1 });
    wait::soon("the start command has run", || {
        shown(&stage.world).then_some(())
    });
    stage
}

/// Whether knockd's port is open to the client.
fn shown(world: &World) -> bool {
    is_open(&world.lab.client, SERVER4.into(), SHOWN)
}

/// The rules by which knockd lets somebody in.
fn rules(world: &World) -> String {
    let listed = world.lab.server.must("iptables", &["-S", "INPUT"]);
    let rules = listed.lines().filter(|line| line.ends_with("-j ACCEPT"));
    rules.collect::<Vec<_>>().join("\n")
}

fn closes_at_spad(world: &World) {
    wait::soon("spad's port closes", || {
        (!is_open(&world.lab.client, SERVER4.into(), WEB)).then_some(())
    });
}

#[test]
fn both_close_on_time_where_nothing_ends() {
    let stage = opened();
    stage.knockd.wait_logged("side: command timeout", 1);
    wait::soon("knockd closes", || (!shown(&stage.world)).then_some(()));
    closes_at_spad(&stage.world);
}

#[test]
fn what_is_open_when_all_is_killed_stays_open_at_knockd_alone() {
    let mut stage = opened();
    // As systemd does when a service is killed, and as any crash or reboot that keeps rules.
    for child in stage.knockd.children() {
        signal(child, Signal::KILL);
    }
    stage.knockd.process.end_by(Signal::KILL);
    stage.world.spad.kill();
    closes_at_spad(&stage.world);
    wait::until_after(wait::now(), Duration::from_secs(2));
    assert!(shown(&stage.world), "nobody is left to close it");
}

#[test]
fn a_term_to_the_process_that_waits_leaves_the_port_open_at_knockd_alone() {
    let mut stage = opened();
    let children = stage.knockd.children();
    assert_eq!(children.len(), 1, "the one that waits");
    for child in children {
        signal(child, Signal::TERM);
    }
    wait::soon("it ends", || {
        stage.knockd.children().is_empty().then_some(())
    });
    stage.world.spad.stop();
    closes_at_spad(&stage.world);
    wait::until_after(wait::now(), Duration::from_secs(2));
    assert!(shown(&stage.world));
    assert_eq!(stage.knockd.logged("side: command timeout"), 0);
    stage.settle_knockd();
}

#[test]
fn a_stop_loses_the_second_close_at_knockd_alone() {
    let mut stage = opened();
    wait::until_after(wait::now(), Duration::from_secs(2));
    stage.knock(STRANGER, &SEQUENCE);
    assert_eq!(stage.opened(STRANGER), By { knockd: 1, spad: 1 });
    let second = format!("-s {STRANGER}/32");
    wait::soon("the second start command has run", || {
        rules(&stage.world).contains(&second).then_some(())
    });
    // It waits for the first child and ends before the second, which systemd then kills.
    let children = stage.knockd.children();
    stage.knockd.process.signal(Signal::TERM);
    stage.world.spad.stop();
    let ended = wait::soon("knockd ends", || stage.knockd.process.ended());
    assert_eq!(ended.code(), Some(15));
    for child in children.into_iter().skip(1) {
        signal(child, Signal::KILL);
    }
    closes_at_spad(&stage.world);
    let left = rules(&stage.world);
    assert!(!left.contains(&format!("-s {CLIENT}/32")), "{left}");
    assert!(left.contains(&second), "{left}");
    wait::soon("nothing of the stranger's is left in spad's sets", || {
        let table = ["list", "table", "inet", "spad"];
        let listed = stage.world.lab.server.must("nft", &table);
        (!listed.contains(&STRANGER.to_string())).then_some(())
    });
}

#[test]
fn a_hangup_with_a_wrong_file_ends_knockd_and_a_reload_leaves_spad_as_it_was() {
    let mut stage = Stage::with(&Doors::of("7000,8000,9000"));
    stage.settle();
    crate::knockd_comparison::fixture::configure(
        &stage.world.lab,
        "[side]\n\tsequnce = 7000,8000\n",
    );
    stage
        .world
        .append("spad.toml", "[[knock]]\nsequnce = \"7000,8000\"");
    stage.knockd.process.signal(Signal::HUP);
    let ended = wait::soon("knockd ends", || stage.knockd.process.ended());
    assert_eq!(ended.code(), Some(1));
    let refused = stage.world.spad.cli(&["reload"]);
    assert!(!refused.success, "{}", refused.stdout);
    assert!(refused.stderr.contains("sequnce"), "{}", refused.stderr);
    stage.knock(CLIENT, &SEQUENCE);
    stage.world.spad.wait_counted("knock_opened", 1);
}
