//! Whatever becomes of the daemon: open ports close on time, hidden ones stay hidden.

use std::time::Duration;

use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

#[test]
fn a_port_open_when_the_daemon_is_killed_closes_on_time() {
    let mut bed = TestBed::with(&Settings::ttl("3s"));
    bed.open(&["tcp/8080"]);
    let known = wait::now();
    bed.spad.kill();
    assert_eq!(
        bed.tcp(WEB),
        Reachability::Open,
        "the grant outlives the daemon"
    );
    bed.wait_closed(WEB);
    assert!(
        known.elapsed() <= Duration::from_millis(3700),
        "{:?}",
        known.elapsed()
    );
}

#[test]
fn hidden_ports_stay_hidden_when_the_daemon_is_killed_or_stopped() {
    let mut bed = TestBed::new();
    bed.spad.kill();
    assert_eq!(bed.probe_hidden(), [Reachability::Refused; 4]);
    bed.spad.start();
    bed.spad.stop();
    assert_eq!(bed.probe_hidden(), [Reachability::Refused; 4]);
}

#[test]
fn one_process_ending_ends_the_other() {
    let mut bed = TestBed::new();
    let engine = bed.spad.process().id();
    let binary = spa_tests::binaries::spad();
    let writer = bed
        .lab
        .server
        .processes()
        .into_iter()
        .filter(|id| u32::try_from(*id) != Ok(engine))
        .find(|id| std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == binary))
        .expect("the firewall writer's process");
    let writer = rustix::process::Pid::from_raw(writer).expect("a process id");
    rustix::process::kill_process(writer, rustix::process::Signal::KILL).expect("its end");
    let status = wait::eventually("the engine ends too", || bed.spad.process().try_wait());
    assert!(!status.success(), "so that it is started anew: {status}");
    let output = bed.spad.output();
    let how = "the firewall writer has ended (signal: 9 (SIGKILL))";
    assert!(output.contains(how), "{output}");
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
}
