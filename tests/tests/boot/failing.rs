//! What fails while the machine runs, or before it boots.

use std::time::Duration;

use spa_tests::reach::Reachability;
use spa_tests::wait;

use crate::machine::Machine;
use crate::port_monitor::PortMonitor;

/// One that runs, its trial over.
fn running() -> Machine {
    let mut machine = Machine::new(&["nftables"]);
    machine.boot();
    machine.wait_active("spad");
    machine.wait_exposed();
    let _ = machine.run_ok(&["spad", "confirm"]);
    machine
}

#[test]
fn whatever_stops_spad_what_is_hidden_stays_hidden_and_the_run_directory_is_kept() {
    let machine = running();
    machine.open();
    machine.wait_closed();
    let horizon = || machine.run_ok(&["stat", "-c", "%i %u", "/run/spad/horizon.memory"]);
    let before = horizon();
    let monitor = PortMonitor::start(&machine.lab);
    machine.systemctl(&["restart", "spad"]);
    assert_eq!(horizon(), before);
    machine.systemctl(&["stop", "spad"]);
    assert_eq!(horizon(), before);
    assert_ne!(machine.hidden_port(), Reachability::Open);
    machine.systemctl(&["start", "spad"]);
    for who in ["engine", "writer"] {
        let engine = machine.main_process();
        let victim = match who {
            "engine" => engine.clone(),
            _ => machine.child_pid(&engine),
        };
        let _ = machine.run_ok(&["sh", "-c", &format!("kill -9 {victim}")]);
        wait::eventually("systemd starts it again", || {
            (machine.main_process() != engine && machine.state("spad") == "active").then_some(())
        });
        assert_eq!(horizon(), before, "after kill -9 of the {who}");
    }
    let seen = monitor.finish();
    assert_eq!(seen.reached, 0, "{seen:?}");
    machine.open();
}

/// Boots with what the script made of it; nobody reaches the hidden port at any time.
#[track_caller]
fn boots_hidden_after(script: &str) -> Machine {
    let mut machine = running();
    machine.shut_down();
    let _ = machine.prepare(script);
    let monitor = PortMonitor::start(&machine.lab);
    machine.boot();
    machine.wait_exposed();
    wait::until_after(wait::now(), Duration::from_secs(2));
    let seen = monitor.finish();
    assert!(seen.exposed > 0, "{seen:?}");
    assert_eq!(seen.reached, 0, "{seen:?}\n{}", machine.journal());
    machine
}

/// A unit that runs this before the guard.
fn before_the_guard(command: &str) -> String {
    format!(
        "cat >/etc/systemd/system/fault.service <<'UNIT'
[Unit]
DefaultDependencies=no
Before=spad-guard.service nftables.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -euc '{command}'
[Install]
WantedBy=sysinit.target
UNIT
systemctl enable fault.service >&2"
    )
}

/// The guard's unit failed for all to see, spad runs, and all is well once `nft` is back.
#[track_caller]
fn recovers_when_nft_is_back(machine: &Machine) {
    assert_eq!(machine.state("spad-guard"), "failed");
    machine.wait_active("spad");
    let status = machine.run(&["spad", "status"]).stdout;
    assert!(status.contains("emergency"), "{status}");
    let shown = machine.run_ok(&["mv", "/usr/sbin/nft.away", "/usr/sbin/nft"]);
    assert_eq!(shown, "");
    machine.systemctl(&["reload", "spad"]);
    machine.open();
    machine.wait_closed();
    machine.systemctl(&["restart", "spad-guard"]);
    assert_eq!(machine.state("spad-guard"), "active");
}

#[test]
fn a_boot_with_a_read_only_state_hides() {
    let machine = boots_hidden_after(&before_the_guard(
        "mount --bind /var/lib/spad /var/lib/spad; mount -o remount,bind,ro /var/lib/spad",
    ));
    assert_eq!(machine.state("fault"), "active");
    assert_eq!(machine.state("spad-guard"), "active");
    machine.wait_active("spad");
    let written = machine.run(&["touch", "/var/lib/spad/file"]);
    assert!(!written.success, "it can be written to");
}

#[test]
fn a_boot_without_the_state_directory_hides() {
    let machine = boots_hidden_after("rm -r /var/lib/spad");
    assert_eq!(machine.state("spad-guard"), "active");
}

#[test]
fn a_boot_without_nft_hides() {
    let machine = boots_hidden_after("mv /usr/sbin/nft /usr/sbin/nft.away");
    recovers_when_nft_is_back(&machine);
}

#[test]
fn a_boot_with_an_nft_that_hangs_hides_and_ends() {
    let machine = boots_hidden_after(
        "systemctl disable nftables; mv /usr/sbin/nft /usr/sbin/nft.away
         printf '#!/bin/sh\\nexec sleep 1000\\n' >/usr/sbin/nft; chmod 755 /usr/sbin/nft",
    );
    let limit = ["show", "--value", "-p", "TimeoutStartUSec", "spad-guard"];
    let limit = machine.run_ok(&[&["systemctl"], &limit[..]].concat());
    assert_eq!(limit, "45s\n");
    recovers_when_nft_is_back(&machine);
}
