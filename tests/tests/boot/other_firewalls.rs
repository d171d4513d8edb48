//! Beside another firewall that is started, stopped and reloaded.

use std::time::Duration;

use spa_tests::reach::Reachability;
use spa_tests::wait;

use crate::machine::Machine;
use crate::port_monitor::PortMonitor;

/// Between a flush and the next table; on a loaded machine, with unoptimised programs.
const MAX_EXPOSURE: Duration = Duration::from_secs(3);

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
        let monitor = PortMonitor::start(&machine.lab);
        machine.systemctl(&[verb, unit]);
        let at_once = machine.hidden_port();
        // What firewalld does after a signal goes on after `systemctl` returned, and until
        // then it drops everything: hidden ports as closed ones.
        let reloads = (unit, verb) == ("firewalld", "reload");
        assert!(
            at_once == Reachability::Refused || (reloads && at_once == Reachability::NoAnswer),
            "{at_once:?} right after {verb} {unit}, spad {spad}\n{}",
            machine.journal()
        );
        machine.wait_active("spad-guard");
        machine.wait_idle();
        let settled = wait::eventually("hidden ports are like closed ones", || {
            let (hidden, closed) = (machine.hidden_port(), machine.closed_port());
            assert_ne!(hidden, Reachability::Open, "{verb} {unit}, spad {spad}");
            (hidden == closed).then_some(hidden)
        });
        assert_eq!(settled, Reachability::Refused, "{verb} {unit}, spad {spad}");
        println!("{verb} {unit}, spad {spad}: at once {at_once:?}");
        let seen = monitor.finish();
        println!(
            "{verb} {unit}, spad {spad}: reached {} of {} times, for {:?} at most",
            seen.reached, seen.tries, seen.max_exposure
        );
        assert!(
            seen.max_exposure < MAX_EXPOSURE,
            "{verb} {unit}, spad {spad}: {seen:?}"
        );
    }
}

#[track_caller]
fn check_alongside(unit: &str) {
    let mut machine = Machine::new(&[unit]);
    machine.boot();
    machine.wait_active(unit);
    machine.wait_active("spad");
    machine.wait_exposed();
    let _ = machine.run_ok(&["spad", "confirm"]);
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
    check_alongside("nftables");
}

#[test]
fn firewalld_may_be_started_stopped_and_reloaded_and_shows_nothing() {
    check_alongside("firewalld");
}

#[test]
fn ufw_may_be_started_stopped_and_reloaded_and_shows_nothing() {
    check_alongside("ufw");
}

#[test]
fn netfilter_persistent_may_be_started_stopped_and_reloaded_and_shows_nothing() {
    check_alongside("netfilter-persistent");
}

#[test]
fn a_firewall_that_was_never_started_before_shows_nothing_when_it_is() {
    let mut machine = Machine::new(&[]);
    machine.boot();
    machine.wait_active("spad-guard");
    machine.wait_exposed();
    machine.systemctl(&["stop", "spad"]);
    each_verb_leaves_it_hidden(&machine, "nftables", "stopped");
}
