//! A process that hangs is noticed: packets are refused for that reason, administrators are
//! told, and what it does too late lets nobody in.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use spa_tests::binaries;
use spa_tests::fake_nft::replace_nft;
use spa_tests::programs::run;
use spa_tests::reach::Reach;
use spa_tests::settings::{Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

/// The process of the server that was started by this hidden subcommand.
#[track_caller]
fn helper(world: &World, subcommand: &str) -> Pid {
    let binary = binaries::spad();
    let found = world.lab.server.processes().into_iter().find(|id| {
        let command = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == binary)
            && command.contains(subcommand)
    });
    Pid::from_raw(found.expect("it runs")).expect("a number")
}

/// Stopped until dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(process: Pid) -> Self {
        kill_process(process, Signal::STOP).expect("it stops");
        Self(process)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been ended.
        let _gone = kill_process(self.0, Signal::CONT);
    }
}

fn warnings(world: &World) -> String {
    let status = world.spad.status();
    status
        .get("warnings")
        .map(Value::to_string)
        .unwrap_or_default()
}

#[test]
fn a_stopped_writer_is_noticed_and_what_it_does_too_late_lets_nobody_in() {
    let world = World::with(&Settings::ttl("30s"));
    let writer = Stopped::new(helper(&world, "firewall-writer"));
    let began = wait::now();
    // The first waits for it, and so does an administrator; the others come when that is known.
    world.send(&world.laptop.open(&["tcp/8080"]));
    let confirmed = world.spad.cli(&["confirm"]);
    let said = &confirmed.stderr;
    assert!(!confirmed.success);
    assert!(said.contains("what was asked for is not done"), "{said}");
    world.spad.wait_counted("firewall_unresponsive", 1);
    let noticed = began.elapsed();
    assert!(noticed < Duration::from_secs(6), "{noticed:?}");
    // Another service: what became of the first must not hang on what is asked for later.
    world.send_counted(&world.laptop.open(&["tcp/22"]), "firewall_unresponsive");
    let told = warnings(&world);
    assert!(
        told.contains("the firewall writer has not responded for"),
        "{told}"
    );
    let asked = wait::now();
    let reload = world.spad.cli(&["reload"]);
    assert!(!reload.success);
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    let said = &reload.stderr;
    assert!(said.contains("the running configuration stays"), "{said}");
    assert!(
        said.contains("the firewall writer has not responded"),
        "{said}"
    );
    assert!(
        world
            .spad
            .said()
            .contains("does not respond: nothing is opened")
    );
    drop(writer);
    wait::soon("it responds again", || {
        world
            .spad
            .said()
            .contains("the firewall writer responds again")
            .then_some(())
    });
    assert_eq!(warnings(&world).find("not responded"), None);
    // What waited in its socket was made, and is undone.
    world.wait_closed(WEB);
    world.stays_closed(WEB, Duration::from_secs(1));
    let grants = world.spad.cli(&["grants", "--json"]).ok().json();
    assert_eq!(grants.to_string(), "[]");
    let refused = world.spad.counted("firewall_unresponsive");
    assert_eq!((refused, world.spad.counted("opened")), (2, 0));
    for line in world.spad.audit() {
        let event = line.get("event").and_then(Value::as_str);
        assert!(!matches!(event, Some("grant" | "expire")), "{line}");
    }
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
    world.spad.reload();
}

#[test]
fn what_a_busy_writer_keeps_waiting_is_refused_and_one_that_hangs_meanwhile_is_noticed() {
    let mut world = World::stopped(&Settings {
        trial: "0s",
        ..Settings::ttl("30s")
    });
    let began = world.lab.path().join("nft.began");
    let works = replace_nft(
        &mut world,
        &format!("echo >>{}; sleep 5; exit 1", began.display()),
    );
    std::fs::write(&works, "").expect("nft works");
    std::fs::write(&began, "").expect("a file");
    std::fs::set_permissions(&began, std::fs::Permissions::from_mode(0o666)).expect("for all");
    world.spad.start();
    std::fs::remove_file(&works).expect("nft takes its time");
    world.lab.server.nft("flush ruleset");
    let runs = || {
        let text = std::fs::read_to_string(&began).unwrap_or_default();
        (!text.is_empty()).then_some(())
    };
    wait::soon("nft runs", runs);
    let sent = wait::now();
    world.send(&world.laptop.open(&["tcp/8080"]));
    world.spad.wait_counted("firewall_unresponsive", 1);
    let refused = sent.elapsed();
    assert!(refused < Duration::from_millis(4500), "{refused:?}");
    assert_eq!(warnings(&world).find("not responded"), None, "it is busy");
    let writer = Stopped::new(helper(&world, "firewall-writer"));
    wait::within(Duration::from_secs(8), "the silence is noticed", || {
        warnings(&world)
            .contains("the firewall writer has not responded for")
            .then_some(())
    });
    std::fs::write(&works, "").expect("nft works");
    drop(writer);
    wait::within(Duration::from_secs(10), "it responds again", || {
        let said = world.spad.said();
        said.contains("the firewall writer responds again")
            .then_some(())
    });
    world.stays_closed(WEB, Duration::from_millis(500));
    assert_eq!(world.spad.counted("opened"), 0);
    wait::within(Duration::from_secs(30), "the table is back", || {
        world.send(&world.laptop.open(&["tcp/8080"]));
        (world.tcp(WEB) == Reach::Open).then_some(())
    });
}

#[test]
fn a_grant_that_was_over_before_the_writer_took_it_is_refused() {
    let world = World::with(&Settings::ttl("1s"));
    let writer = Stopped::new(helper(&world, "firewall-writer"));
    let began = wait::now();
    world.send(&world.laptop.open(&["tcp/8080"]));
    // Before the silence counts as one.
    wait::until_after(began, Duration::from_millis(1500));
    drop(writer);
    world.spad.wait_counted("firewall_unresponsive", 1);
    assert_eq!(world.spad.counted("opened"), 0);
    world.wait_closed(WEB);
    let events: Vec<_> = world.spad.audit();
    let of = |name: &str| events.iter().filter(|line| line["event"] == name).count();
    assert_eq!(
        (of("grant"), of("expire"), of("refuse")),
        (0, 0, 1),
        "{events:?}"
    );
}

/// What the service manager was told by now.
fn told(manager: &UnixDatagram, heard: &mut Vec<String>) {
    let mut buffer = [0; 1024];
    while let Ok(length) = manager.recv(&mut buffer) {
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        heard.push(text.trim_end().to_owned());
    }
}

#[test]
fn a_service_manager_hears_of_life_while_all_live_and_gets_an_error_where_one_hangs_for_good() {
    let mut world = World::stopped(&Settings::default());
    let path = world.lab.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_nonblocking(true).expect("it does not wait");
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    world
        .spad
        .start_behind(&["env", &socket, "WATCHDOG_USEC=1000000"]);
    world.spad.start();
    let mut heard = Vec::new();
    wait::soon("it is ready, alive, and says what it does", || {
        told(&manager, &mut heard);
        let has = |line: &str| heard.iter().any(|other| other == line);
        (has("READY=1")
            && has("STATUS=serving; 3 services hidden, 1 client, 0 grants open")
            && heard.iter().filter(|line| *line == "WATCHDOG=1").count() >= 3)
            .then_some(())
    });
    let ready = heard.iter().position(|line| line == "READY=1");
    let alive = heard.iter().position(|line| line == "WATCHDOG=1");
    assert!(ready < alive, "{heard:?}");
    let writer = Stopped::new(helper(&world, "firewall-writer"));
    let stopped = wait::now();
    wait::soon("the silence is told", || {
        told(&manager, &mut heard);
        let last = heard.last()?;
        last.starts_with("STATUS=the firewall writer has not responded for")
            .then_some(())
    });
    heard.clear();
    let status = wait::within(Duration::from_secs(40), "it ends by itself", || {
        world.spad.process().ended()
    });
    told(&manager, &mut heard);
    assert!(!heard.iter().any(|line| line == "WATCHDOG=1"), "{heard:?}");
    assert!(!status.success(), "so that it is started again: {status}");
    let took = stopped.elapsed();
    assert!(took > Duration::from_secs(19), "{took:?}");
    let said = world.spad.said();
    assert!(said.contains("has not responded for 20 seconds"), "{said}");
    assert_eq!(world.tcp(WEB), Reach::Refused, "it stays hidden");
    drop(writer);
}

#[test]
fn a_stopped_command_runner_refuses_commands_and_nothing_else() {
    let mut world = World::stopped(&Settings::ttl("30s"));
    let who = world.script("who", "id -un");
    let commands = format!("[commands]\nwho = {{ argv = [{who:?}], user = \"daemon\" }}");
    world.append("spad.toml", &commands);
    world.append("clients.d/laptop.toml", "commands = [\"who\"]");
    world.spad.start();
    let runner = Stopped::new(helper(&world, "command-runner"));
    let first = world.laptop.seal(&run("who"));
    world.send(&first);
    wait::soon("it is noticed", || {
        warnings(&world)
            .contains("the command runner has not responded")
            .then_some(())
    });
    world.send_counted(&world.laptop.seal(&run("who")), "runner_unresponsive");
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
    drop(runner);
    // The one that it has already it runs, and that is told as it is.
    world.spad.wait_counted("started", 1);
    world.send_counted(&world.laptop.seal(&run("who")), "started");
    assert_eq!(warnings(&world).find("not responded"), None);
}

#[test]
fn time_in_which_the_engine_itself_was_stopped_is_held_against_nobody() {
    let mut world = World::with(&Settings::ttl("30s"));
    let engine = world.spad.process().id();
    let engine = Pid::from_raw(engine.try_into().expect("a number")).expect("a process");
    // Two that hang and go on together: nobody knows who came first.
    let writer = Stopped::new(helper(&world, "firewall-writer"));
    world.send(&world.laptop.open(&["tcp/8080"]));
    let stopped = Stopped::new(engine);
    wait::until_after(wait::now(), Duration::from_secs(5));
    drop(writer);
    drop(stopped);
    world.spad.wait_counted("opened", 1);
    assert_eq!(world.tcp(WEB), Reach::Open);
    let said = world.spad.said();
    assert!(!said.contains("does not respond"), "{said}");
}

#[test]
fn the_journal_gets_a_priority_with_each_line() {
    let mut world = World::stopped(&Settings {
        interfaces: Some(&["nowhere"]),
        ..Settings::default()
    });
    let script = "JOURNAL_STREAM=$(stat -Lc %d:%i /dev/fd/2) exec \"$@\"";
    world.spad.start_behind(&["sh", "-c", script, "sh"]);
    world.spad.start();
    let writer = helper(&world, "firewall-writer");
    let stopped = Stopped::new(writer);
    // Something to answer, sooner than the next ping.
    let _refused = world.spad.cli(&["confirm"]);
    drop(stopped);
    kill_process(writer, Signal::KILL).expect("it ends");
    wait::soon("the engine ends too", || world.spad.process().ended());
    let said = world.spad.said();
    let with = |priority: &str, text: &str| {
        let mut lines = said.lines();
        lines.any(|line| line.starts_with(priority) && line.contains(text))
    };
    assert!(with("<6>", "ready"), "{said}");
    assert!(with("<4>", "`nowhere` in [listen] interfaces"), "{said}");
    assert!(with("<3>", "does not respond"), "{said}");
    assert!(with("<3>", "the firewall writer has ended"), "{said}");
    let without = said.lines().find(|line| !line.starts_with('<'));
    assert_eq!(without, None, "{said}");
}
