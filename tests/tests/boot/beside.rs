//! Beside another firewall that is started, stopped and reloaded.

use std::time::Duration;

use spa_tests::reach::Reach;

use crate::machine::Machine;
use crate::watch::Watch;

/// Between a flush and the next table; on a loaded machine, with unoptimised programs.
const WINDOW: Duration = Duration::from_secs(3);

/// The firewall's unit does all this; the port is hidden whenever `systemctl` has returned.
#[track_caller]
fn each_verb_leaves_it_hidden(machine: &Machine, unit: &str, spad: &str) {
    let reload = match unit {
        "nftables" | "firewalld" => "reload",
        _ => "restart",
    };
    for verb in [
        "restart", reload, "stop", "start", "stop", "restart", "start",
    ] {
        machine.systemctl(&["reset-failed", unit]);
        let watch = Watch::start(&machine.lab);
        machine.systemctl(&[verb, unit]);
        let seen = machine.hidden_port();
        assert_ne!(
            seen,
            Reach::Open,
            "right after {verb} {unit}, spad {spad}\n{}",
            machine.journal()
        );
        machine.wait_active("spad-guard");
        machine.wait_idle();
        assert_ne!(
            machine.hidden_port(),
            Reach::Open,
            "{verb} {unit}, spad {spad}"
        );
        let seen = watch.seen();
        println!(
            "{verb} {unit}, spad {spad}: reached {} of {} times, for {:?} at most",
            seen.reached, seen.tries, seen.longest
        );
        assert!(
            seen.longest < WINDOW,
            "{verb} {unit}, spad {spad}: {seen:?}"
        );
    }
}

#[track_caller]
fn beside(unit: &str) {
    let mut machine = Machine::new(&[unit]);
    machine.boot();
    machine.wait_active(unit);
    machine.wait_active("spad");
    machine.wait_shown();
    let _ = machine.must(&["spad", "confirm"]);
    each_verb_leaves_it_hidden(&machine, unit, "running");
    machine.open();
    machine.systemctl(&["stop", "spad"]);
    machine.wait_closed();
    each_verb_leaves_it_hidden(&machine, unit, "stopped");
    machine.systemctl(&["start", "spad"]);
    machine.open();
}

#[test]
fn what_nftables_service_flushes_is_hidden_again_when_systemctl_returns() {
    beside("nftables");
}

#[test]
fn firewalld_may_be_started_stopped_and_reloaded_and_shows_nothing() {
    beside("firewalld");
}

#[test]
fn ufw_may_be_started_stopped_and_reloaded_and_shows_nothing() {
    beside("ufw");
}

#[test]
fn netfilter_persistent_may_be_started_stopped_and_reloaded_and_shows_nothing() {
    beside("netfilter-persistent");
}

#[test]
fn a_firewall_that_was_never_started_before_shows_nothing_when_it_is() {
    let mut machine = Machine::new(&[]);
    machine.boot();
    machine.wait_active("spad-guard");
    machine.wait_shown();
    machine.systemctl(&["stop", "spad"]);
    each_verb_leaves_it_hidden(&machine, "nftables", "stopped");
}
