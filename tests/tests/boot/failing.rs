//! What fails while the machine runs, or before it boots.

use std::time::Duration;

use spa_tests::reach::Reach;
use spa_tests::wait;

use crate::machine::Machine;
use crate::watch::Watch;

/// One that runs, its trial over.
fn running() -> Machine {
    let mut machine = Machine::new(&["nftables"]);
    machine.boot();
    machine.wait_active("spad");
    machine.wait_shown();
    let _ = machine.must(&["spad", "confirm"]);
    machine
}

#[test]
fn whatever_stops_spad_what_is_hidden_stays_hidden_and_the_run_directory_is_kept() {
    let machine = running();
    machine.open();
    machine.wait_closed();
    let horizon = || machine.must(&["stat", "-c", "%i %u", "/run/spad/horizon.memory"]);
    let before = horizon();
    let watch = Watch::start(&machine.lab);
    machine.systemctl(&["restart", "spad"]);
    assert_eq!(horizon(), before);
    machine.systemctl(&["stop", "spad"]);
    assert_eq!(horizon(), before);
    assert_ne!(machine.hidden_port(), Reach::Open);
    machine.systemctl(&["start", "spad"]);
    for who in ["engine", "writer"] {
        let engine = machine.main_process();
        let victim = match who {
            "engine" => engine.clone(),
            _ => machine.child_of(&engine),
        };
        let _ = machine.must(&["sh", "-c", &format!("kill -9 {victim}")]);
        wait::soon("systemd starts it again", || {
            (machine.main_process() != engine && machine.state("spad") == "active").then_some(())
        });
        assert_eq!(horizon(), before, "after kill -9 of the {who}");
    }
    let seen = watch.seen();
    assert_eq!(seen.reached, 0, "{seen:?}");
    machine.open();
}

/// Boots with what the script made of it; nobody reaches the hidden port at any time.
#[track_caller]
fn boots_hidden_after(script: &str) -> Machine {
    let mut machine = running();
    machine.shut_down();
    let _ = machine.prepare(script);
    let watch = Watch::start(&machine.lab);
    machine.boot();
    machine.wait_shown();
    wait::until_after(wait::now(), Duration::from_secs(2));
    let seen = watch.seen();
    assert!(seen.shown > 0, "{seen:?}");
    assert_eq!(seen.reached, 0, "{seen:?}\n{}", machine.journal());
    machine
}

#[test]
fn a_boot_without_the_state_directory_hides() {
    let _ = boots_hidden_after("rm -r /var/lib/spad");
}

#[test]
fn a_boot_without_nft_hides() {
    let _ = boots_hidden_after("mv /usr/sbin/nft /usr/sbin/nft.away");
}

#[test]
fn a_boot_with_an_nft_that_hangs_hides_and_ends() {
    let _ = boots_hidden_after(
        "systemctl disable nftables; printf '#!/bin/sh\\nexec sleep 1000\\n' >/usr/sbin/nft",
    );
}
