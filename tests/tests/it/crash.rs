//! Whatever becomes of the daemon: open ports close on time, hidden ones stay hidden.

use std::time::Duration;

use spa_tests::reach::Reach;
use spa_tests::settings::{Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

#[test]
fn a_port_open_when_the_daemon_is_killed_closes_on_time() {
    let mut world = World::with(&Settings::ttl("3s"));
    world.open(&["tcp/8080"]);
    let known = wait::now();
    world.spad.kill();
    assert_eq!(world.tcp(WEB), Reach::Open, "the grant outlives the daemon");
    world.wait_closed(WEB);
    assert!(
        known.elapsed() <= Duration::from_millis(3700),
        "{:?}",
        known.elapsed()
    );
}

#[test]
fn hidden_ports_stay_hidden_when_the_daemon_is_killed_or_stopped() {
    let mut world = World::new();
    world.spad.kill();
    assert_eq!(world.hidden(), [Reach::Refused; 4]);
    world.spad.start();
    world.spad.stop();
    assert_eq!(world.hidden(), [Reach::Refused; 4]);
}

#[test]
fn one_process_ending_ends_the_other() {
    let mut world = World::new();
    let engine = world.spad.process().id();
    let binary = spa_tests::binaries::spad();
    let writer = world
        .lab
        .server
        .processes()
        .into_iter()
        .filter(|id| u32::try_from(*id) != Ok(engine))
        .find(|id| std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == binary))
        .expect("the firewall writer's process");
    let writer = rustix::process::Pid::from_raw(writer).expect("a process id");
    rustix::process::kill_process(writer, rustix::process::Signal::KILL).expect("its end");
    let status = wait::soon("the engine ends too", || world.spad.process().ended());
    assert!(!status.success(), "so that it is started anew: {status}");
    let said = world.spad.said();
    let how = "the firewall writer has ended (signal: 9 (SIGKILL))";
    assert!(said.contains(how), "{said}");
    assert_eq!(world.tcp(WEB), Reach::Refused);
}
