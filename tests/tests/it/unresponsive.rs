//! A process that hangs is noticed: packets are refused for that reason, administrators are
//! told, and what it does too late lets nobody in.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use spa_tests::binaries;
use spa_tests::fake_nft::replace_nft;
use spa_tests::programs::run_request;
use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// The process of the server that was started by this hidden subcommand.
#[track_caller]
fn helper(bed: &TestBed, subcommand: &str) -> Pid {
    let binary = binaries::spad();
    let found = bed.lab.server.processes().into_iter().find(|id| {
        let command = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == binary)
            && command.contains(subcommand)
    });
    Pid::from_raw(found.expect("it runs")).expect("a number")
}

/// Stopped until dropped.
struct StoppedProcess(Pid);

impl StoppedProcess {
    fn new(process: Pid) -> Self {
        kill_process(process, Signal::STOP).expect("it stops");
        Self(process)
    }
}

impl Drop for StoppedProcess {
    fn drop(&mut self) {
        // It may have been ended.
        let _gone = kill_process(self.0, Signal::CONT);
    }
}

fn warnings(bed: &TestBed) -> String {
    let status = bed.spad.status();
    status
        .get("warnings")
        .map(Value::to_string)
        .unwrap_or_default()
}

#[test]
fn a_stopped_writer_is_noticed_and_what_it_does_too_late_lets_nobody_in() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    let writer = StoppedProcess::new(helper(&bed, "firewall-writer"));
    let began = wait::now();
    // The first waits for it, and so does an administrator; the others come when that is known.
    bed.send(&bed.laptop.open(&["tcp/8080"]));
    let confirmed = bed.spad.cli(&["confirm"]);
    let output = &confirmed.stderr;
    assert!(!confirmed.success);
    assert!(
        output.contains("what was asked for is not done"),
        "{output}"
    );
    bed.spad.wait_verdict_count("firewall_unresponsive", 1);
    let noticed = began.elapsed();
    assert!(noticed < Duration::from_secs(6), "{noticed:?}");
    // Another service: what became of the first must not hang on what is asked for later.
    bed.send_counted(&bed.laptop.open(&["tcp/22"]), "firewall_unresponsive");
    let reported = warnings(&bed);
    assert!(
        reported.contains("the firewall writer has not responded for"),
        "{reported}"
    );
    let asked = wait::now();
    let reload = bed.spad.cli(&["reload"]);
    assert!(!reload.success);
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    let output = &reload.stderr;
    assert!(
        output.contains("the running configuration stays"),
        "{output}"
    );
    assert!(
        output.contains("the firewall writer has not responded"),
        "{output}"
    );
    assert!(
        bed.spad
            .output()
            .contains("does not respond: nothing is opened")
    );
    drop(writer);
    wait::eventually("it responds again", || {
        bed.spad
            .output()
            .contains("the firewall writer responds again")
            .then_some(())
    });
    assert_eq!(warnings(&bed).find("not responded"), None);
    // What waited in its socket was made, and is undone.
    bed.wait_closed(WEB);
    bed.stays_closed(WEB, Duration::from_secs(1));
    let grants = bed.spad.cli(&["grants", "--json"]).ok().json();
    assert_eq!(grants.to_string(), "[]");
    let refused = bed.spad.verdict_count("firewall_unresponsive");
    assert_eq!((refused, bed.spad.verdict_count("opened")), (2, 0));
    for line in bed.spad.audit() {
        let event = line.get("event").and_then(Value::as_str);
        assert!(!matches!(event, Some("grant" | "expire")), "{line}");
    }
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    bed.spad.reload();
}

#[test]
fn what_a_busy_writer_keeps_waiting_is_refused_and_one_that_hangs_meanwhile_is_noticed() {
    let mut bed = TestBed::stopped(&Settings {
        trial: "0s",
        ..Settings::ttl("30s")
    });
    let began = bed.lab.path().join("nft.began");
    let works = replace_nft(
        &mut bed,
        &format!("echo >>{}; sleep 5; exit 1", began.display()),
    );
    std::fs::write(&works, "").expect("nft works");
    std::fs::write(&began, "").expect("a file");
    std::fs::set_permissions(&began, std::fs::Permissions::from_mode(0o666)).expect("for all");
    bed.spad.start();
    std::fs::remove_file(&works).expect("nft takes its time");
    bed.lab.server.nft("flush ruleset");
    let runs = || {
        let text = std::fs::read_to_string(&began).unwrap_or_default();
        (!text.is_empty()).then_some(())
    };
    wait::eventually("nft runs", runs);
    let sent = wait::now();
    bed.send(&bed.laptop.open(&["tcp/8080"]));
    bed.spad.wait_verdict_count("firewall_unresponsive", 1);
    let refused = sent.elapsed();
    assert!(refused < Duration::from_millis(4500), "{refused:?}");
    assert_eq!(warnings(&bed).find("not responded"), None, "it is busy");
    let writer = StoppedProcess::new(helper(&bed, "firewall-writer"));
    wait::within(Duration::from_secs(8), "the silence is noticed", || {
        warnings(&bed)
            .contains("the firewall writer has not responded for")
            .then_some(())
    });
    std::fs::write(&works, "").expect("nft works");
    drop(writer);
    wait::within(Duration::from_secs(10), "it responds again", || {
        let output = bed.spad.output();
        output
            .contains("the firewall writer responds again")
            .then_some(())
    });
    bed.stays_closed(WEB, Duration::from_millis(500));
    assert_eq!(bed.spad.verdict_count("opened"), 0);
    wait::within(Duration::from_secs(30), "the table is back", || {
        bed.send(&bed.laptop.open(&["tcp/8080"]));
        (bed.tcp(WEB) == Reachability::Open).then_some(())
    });
}

#[test]
fn a_grant_that_was_over_before_the_writer_took_it_is_refused() {
    let bed = TestBed::with(&Settings::ttl("1s"));
    let writer = StoppedProcess::new(helper(&bed, "firewall-writer"));
    let began = wait::now();
    bed.send(&bed.laptop.open(&["tcp/8080"]));
    // Before the silence counts as one.
    wait::until_after(began, Duration::from_millis(1500));
    drop(writer);
    bed.spad.wait_verdict_count("firewall_unresponsive", 1);
    assert_eq!(bed.spad.verdict_count("opened"), 0);
    bed.wait_closed(WEB);
    let events: Vec<_> = bed.spad.audit();
    let of = |name: &str| events.iter().filter(|line| line["event"] == name).count();
    assert_eq!(
        (of("grant"), of("expire"), of("refuse")),
        (0, 0, 1),
        "{events:?}"
    );
}

/// What the service manager was told by now.
fn drain_notifications(manager: &UnixDatagram, received: &mut Vec<String>) {
    let mut buffer = [0; 1024];
    while let Ok(length) = manager.recv(&mut buffer) {
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        received.push(text.trim_end().to_owned());
    }
}

#[test]
fn a_service_manager_hears_of_life_while_all_live_and_gets_an_error_where_one_hangs_for_good() {
    let mut bed = TestBed::stopped(&Settings::default());
    let path = bed.lab.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_nonblocking(true).expect("it does not wait");
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    bed.spad
        .set_wrapper(&["env", &socket, "WATCHDOG_USEC=1000000"]);
    bed.spad.start();
    let mut received = Vec::new();
    wait::eventually("it is ready, alive, and says what it does", || {
        drain_notifications(&manager, &mut received);
        let has = |line: &str| received.iter().any(|other| other == line);
        (has("READY=1")
            && has("STATUS=serving; 3 services hidden, 1 client, 0 grants open")
            && received.iter().filter(|line| *line == "WATCHDOG=1").count() >= 3)
            .then_some(())
    });
    let ready = received.iter().position(|line| line == "READY=1");
    let alive = received.iter().position(|line| line == "WATCHDOG=1");
    assert!(ready < alive, "{received:?}");
    let writer = StoppedProcess::new(helper(&bed, "firewall-writer"));
    let stopped = wait::now();
    wait::eventually("the silence is told", || {
        drain_notifications(&manager, &mut received);
        let last = received.last()?;
        last.starts_with("STATUS=the firewall writer has not responded for")
            .then_some(())
    });
    received.clear();
    let status = wait::within(Duration::from_secs(40), "it ends by itself", || {
        bed.spad.process().try_wait()
    });
    drain_notifications(&manager, &mut received);
    assert!(
        !received.iter().any(|line| line == "WATCHDOG=1"),
        "{received:?}"
    );
    assert!(!status.success(), "so that it is started again: {status}");
    let elapsed = stopped.elapsed();
    assert!(elapsed > Duration::from_secs(19), "{elapsed:?}");
    let output = bed.spad.output();
    assert!(
        output.contains("has not responded for 20 seconds"),
        "{output}"
    );
    assert_eq!(bed.tcp(WEB), Reachability::Refused, "it stays hidden");
    drop(writer);
}

#[test]
fn a_stopped_command_runner_refuses_commands_and_nothing_else() {
    let mut bed = TestBed::stopped(&Settings::ttl("30s"));
    let who = bed.script("who", "id -un");
    let commands = format!("[commands]\nwho = {{ argv = [{who:?}], user = \"daemon\" }}");
    bed.append_config("spad.toml", &commands);
    bed.append_config("clients.d/laptop.toml", "commands = [\"who\"]");
    bed.spad.start();
    let runner = StoppedProcess::new(helper(&bed, "command-runner"));
    let first = bed.laptop.seal(&run_request("who"));
    bed.send(&first);
    wait::eventually("it is noticed", || {
        warnings(&bed)
            .contains("the command runner has not responded")
            .then_some(())
    });
    bed.send_counted(&bed.laptop.seal(&run_request("who")), "runner_unresponsive");
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    drop(runner);
    // The one that it has already it runs, and that is told as it is.
    bed.spad.wait_verdict_count("started", 1);
    bed.send_counted(&bed.laptop.seal(&run_request("who")), "started");
    assert_eq!(warnings(&bed).find("not responded"), None);
}

#[test]
fn time_in_which_the_engine_itself_was_stopped_is_held_against_nobody() {
    let mut bed = TestBed::with(&Settings::ttl("30s"));
    let engine = bed.spad.process().id();
    let engine = Pid::from_raw(engine.try_into().expect("a number")).expect("a process");
    // Two that hang and go on together: nobody knows who came first.
    let writer = StoppedProcess::new(helper(&bed, "firewall-writer"));
    bed.send(&bed.laptop.open(&["tcp/8080"]));
    let stopped = StoppedProcess::new(engine);
    wait::until_after(wait::now(), Duration::from_secs(5));
    drop(writer);
    drop(stopped);
    bed.spad.wait_verdict_count("opened", 1);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let output = bed.spad.output();
    assert!(!output.contains("does not respond"), "{output}");
}

#[test]
fn the_journal_gets_a_priority_with_each_line() {
    let mut bed = TestBed::stopped(&Settings {
        interfaces: Some(&["nowhere"]),
        ..Settings::default()
    });
    let script = "JOURNAL_STREAM=$(stat -Lc %d:%i /dev/fd/2) exec \"$@\"";
    bed.spad.set_wrapper(&["sh", "-c", script, "sh"]);
    bed.spad.start();
    let writer = helper(&bed, "firewall-writer");
    let stopped = StoppedProcess::new(writer);
    // Something to answer, sooner than the next ping.
    let _refused = bed.spad.cli(&["confirm"]);
    drop(stopped);
    kill_process(writer, Signal::KILL).expect("it ends");
    wait::eventually("the engine ends too", || bed.spad.process().try_wait());
    let output = bed.spad.output();
    let with = |priority: &str, text: &str| {
        let mut lines = output.lines();
        lines.any(|line| line.starts_with(priority) && line.contains(text))
    };
    assert!(with("<6>", "ready"), "{output}");
    assert!(with("<4>", "`nowhere` in [listen] interfaces"), "{output}");
    assert!(with("<3>", "does not respond"), "{output}");
    assert!(with("<3>", "the firewall writer has ended"), "{output}");
    let without = output.lines().find(|line| !line.starts_with('<'));
    assert_eq!(without, None, "{output}");
}
