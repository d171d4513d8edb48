//! From the first unit of a boot to the last one of a shutdown.

use spa_tests::reach::Reachability;

use crate::machine::Machine;
use crate::port_monitor::PortMonitor;

#[test]
fn a_hidden_service_is_never_reached_while_the_machine_boots_or_shuts_down() {
    let mut machine = Machine::new(&["nftables"]);
    let monitor = PortMonitor::start(&machine.lab);
    machine.boot();
    machine.wait_exposed();
    for unit in ["nftables", "spad-guard", "spad"] {
        machine.wait_active(unit);
    }
    machine.shut_down();
    let seen = monitor.finish();
    assert!(seen.exposed > 0, "nobody came through at all: {seen:?}");
    assert_eq!(seen.reached, 0, "{seen:?}");
}

#[test]
fn a_packet_opens_after_a_boot_and_again_after_the_next_one() {
    let mut machine = Machine::new(&["nftables"]);
    machine.boot();
    machine.open();
    machine.shut_down();
    machine.boot();
    machine.wait_exposed();
    assert_ne!(machine.hidden_port(), Reachability::Open);
    machine.open();
}

#[test]
fn a_machine_whose_spad_toml_was_lost_hides_what_it_hid() {
    let mut machine = Machine::new(&["nftables"]);
    machine.boot();
    machine.open();
    machine.shut_down();
    let _ = machine.prepare("rm /etc/spad/spad.toml");
    let monitor = PortMonitor::start(&machine.lab);
    machine.boot();
    machine.wait_exposed();
    let seen = monitor.finish();
    assert_eq!(seen.reached, 0, "{seen:?}\n{}", machine.journal());
}

#[test]
fn what_the_readme_says_undoes_everything_for_good() {
    let readme = include_str!("../../../README.md");
    let (_, undo) = readme.split_once("To undo everything").expect("the words");
    let script = undo.split("```").nth(1).expect("the lines");
    let script = script.strip_prefix("sh\n").expect("the lines");
    let mut machine = Machine::new(&["nftables"]);
    machine.boot();
    machine.wait_active("spad");
    machine.wait_exposed();
    let _ = machine.run_ok(&["sh", "-euc", script]);
    assert_eq!(machine.hidden_port(), Reachability::Open);
    machine.systemctl(&["restart", "nftables"]);
    assert_eq!(
        machine.hidden_port(),
        Reachability::Open,
        "{}",
        machine.journal()
    );
    let left = machine.run_ok(&["find", "/etc/systemd/system", "-name", "spad*"]);
    assert_eq!(left, "");
}
