//! A disk that fails, at the start or later, shows nothing, lets no packet act twice, and is
//! said: once in the log at its beginning, once at its end, and in the status meanwhile.

use std::time::Duration;

use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// Whatever stands after it sees the engine's files of this directory read-only from its start on.
const READ_ONLY: &str = r#"for file in journal.a journal.b horizon clean lock; do mount --bind "$1/$file" "$1/$file" && mount -o remount,bind,ro "$1/$file" || exit; done; shift && exec "$@""#;

fn settings(on_state_error: &'static str) -> Settings {
    Settings {
        on_state_error,
        ..Settings::ttl("1s")
    }
}

fn make_state_read_only(bed: &mut TestBed) {
    let state = bed.spad.state().display().to_string();
    bed.spad.set_wrapper(&["sh", "-c", READ_ONLY, "sh", &state]);
}

fn warnings(bed: &TestBed) -> String {
    bed.spad.status()["warnings"].to_string()
}

/// How many lines of the log say this.
fn lines(bed: &TestBed, text: &str) -> usize {
    bed.spad.output().matches(text).count()
}

#[test]
fn behind_a_read_only_disk_a_refusing_daemon_runs_hides_and_refuses_with_its_reason() {
    let mut bed = TestBed::with(&settings("refuse"));
    bed.spad.stop();
    make_state_read_only(&mut bed);
    bed.spad.start();
    for count in 1..=3 {
        bed.send(&bed.laptop.open(&["tcp/8080"]));
        bed.spad.wait_verdict_count("state_unwritable", count);
    }
    assert_eq!(bed.probe_hidden(), [Reachability::Refused; 4]);
    let output = warnings(&bed);
    assert!(
        output.contains("cannot write the state") && output.contains("Read-only"),
        "{output}"
    );
    assert_eq!(
        lines(&bed, "no packet is accepted until it is written again"),
        1
    );
}

#[test]
fn behind_a_read_only_disk_packets_open_from_memory_and_never_again_after_a_restart() {
    let mut bed = TestBed::with(&settings("memory"));
    bed.spad.stop();
    make_state_read_only(&mut bed);
    bed.spad.start();
    let packet = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&packet, "opened");
    bed.wait_closed(WEB);
    assert!(warnings(&bed).contains("cannot write the state"));
    assert_eq!(lines(&bed, "remembered in memory"), 1);
    // The disk works again, and holds nothing of that packet.
    bed.spad.kill();
    bed.spad.set_wrapper(&[]);
    bed.spad.start();
    bed.send_counted(&packet, "below_floor");
    bed.stays_closed(WEB, Duration::from_millis(200));
    assert!(
        !warnings(&bed).contains("cannot write"),
        "{}",
        warnings(&bed)
    );
}

#[test]
fn a_reload_decides_from_then_on_what_becomes_of_packets_while_the_disk_fails() {
    let mut bed = TestBed::with(&settings("memory"));
    bed.spad.stop();
    make_state_read_only(&mut bed);
    bed.spad.start();
    let packet = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&packet, "opened");
    bed.wait_closed(WEB);
    let refuses = "no packet is accepted until it is written again";
    for count in 1..=2 {
        bed.spad.configure(&settings("refuse"));
        bed.spad.reload();
        assert!(warnings(&bed).contains(refuses), "{}", warnings(&bed));
        bed.send_counted(&bed.laptop.open(&["tcp/8080"]), "state_unwritable");
        assert_eq!(bed.probe_hidden(), [Reachability::Refused; 4]);
        assert_eq!(lines(&bed, refuses), count, "{}", bed.spad.output());
        bed.spad.configure(&settings("memory"));
        bed.spad.reload();
        assert!(!warnings(&bed).contains(refuses), "{}", warnings(&bed));
        bed.send_counted(&bed.laptop.open(&["tcp/8080"]), "opened");
        bed.wait_closed(WEB);
        bed.send_counted(&packet, "replay");
    }
    // The next start knows that it does not know all, as if nothing had been reloaded.
    bed.spad.kill();
    bed.spad.set_wrapper(&[]);
    bed.spad.start();
    bed.send_counted(&packet, "below_floor");
    bed.stays_closed(WEB, Duration::from_millis(200));
}

/// Every write beyond the first bytes of a file fails while this is in force.
fn fail_writes(bed: &mut TestBed, limit: &str) {
    let engine = bed.spad.process().id();
    bed.limit(engine, &format!("--fsize={limit}"));
}

#[test]
fn a_disk_that_fails_for_a_while_is_said_once_at_each_end_and_used_packets_stay_used() {
    let mut bed = TestBed::with(&settings("refuse"));
    bed.spad.stop();
    // A limit that is hit is an error then, and not the end of the process; its log does not hit it.
    let script = "trap '' XFSZ; exec \"$@\" > >(cat) 2>&1";
    bed.spad.set_wrapper(&["bash", "-c", script, "bash"]);
    bed.spad.start();
    let before = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&before, "opened");
    bed.wait_closed(WEB);
    fail_writes(&mut bed, "0:unlimited");
    for count in 1..=3 {
        bed.send(&bed.laptop.open(&["tcp/8080"]));
        bed.spad.wait_verdict_count("state_unwritable", count);
    }
    let began = "no packet is accepted until it is written again";
    assert!(warnings(&bed).contains(began), "{}", warnings(&bed));
    wait::eventually("the log says so", || {
        (lines(&bed, began) == 1).then_some(())
    });
    fail_writes(&mut bed, "unlimited:unlimited");
    wait::within(Duration::from_secs(15), "it is written again", || {
        (lines(&bed, "is written to the disk again") == 1).then_some(())
    });
    assert!(
        !warnings(&bed).contains("cannot write"),
        "{}",
        warnings(&bed)
    );
    assert_eq!(lines(&bed, began), 1, "{}", bed.spad.output());
    bed.open(&["tcp/8080"]);
    bed.wait_closed(WEB);
    wait::eventually("audit lines are written", || {
        (lines(&bed, "audit lines are written again") == 1).then_some(())
    });
    assert_eq!(
        lines(&bed, "audit lines are lost"),
        1,
        "{}",
        bed.spad.output()
    );
    assert_eq!(warnings(&bed), "[]");
    let opened = bed.spad.verdict_count("opened");
    bed.send(&before);
    bed.spad.kill();
    bed.spad.set_wrapper(&[]);
    bed.spad.start();
    bed.send_counted(&before, "replay");
    assert_eq!((opened, bed.spad.verdict_count("opened")), (2, 0));
}

#[test]
fn without_journal_and_horizon_it_hides_refuses_and_says_what_makes_them() {
    let mut bed = TestBed::with(&settings("memory"));
    bed.spad.stop();
    for name in ["journal.a", "journal.b", "horizon"] {
        std::fs::remove_file(bed.spad.state().join(name)).expect("a file of the state");
    }
    bed.spad.fake_new_boot();
    bed.spad.start();
    bed.send_counted(&bed.laptop.open(&["tcp/8080"]), "state_unwritable");
    assert_eq!(bed.probe_hidden(), [Reachability::Refused; 4]);
    assert!(warnings(&bed).contains("spad init"), "{}", warnings(&bed));
    // It holds nothing, so it stands in nobody's way.
    let _ = bed.spad.cli(&["init"]).ok();
    bed.spad.stop();
    bed.spad.start();
    assert!(!warnings(&bed).contains("spad init"), "{}", warnings(&bed));
}

/// Its files, not its keys.
fn delete_state(bed: &TestBed) {
    for name in ["journal.a", "journal.b", "horizon", "clean"] {
        std::fs::remove_file(bed.spad.state().join(name)).expect("a file of the state");
    }
}

#[test]
fn files_that_are_deleted_while_it_runs_are_noticed_in_seconds_and_packets_refused() {
    let bed = TestBed::with(&settings("refuse"));
    delete_state(&bed);
    wait::within(Duration::from_secs(4), "it is noticed", || {
        warnings(&bed)
            .contains("was deleted or replaced")
            .then_some(())
    });
    bed.send_counted(&bed.laptop.open(&["tcp/8080"]), "state_unwritable");
    assert_eq!(bed.probe_hidden(), [Reachability::Refused; 4]);
    assert_eq!(
        lines(&bed, "was deleted or replaced"),
        1,
        "{}",
        bed.spad.output()
    );
}

#[test]
fn after_its_files_were_deleted_a_used_packet_opens_nothing_and_the_next_start_goes_on() {
    let mut bed = TestBed::with(&settings("memory"));
    delete_state(&bed);
    wait::within(Duration::from_secs(4), "it is noticed", || {
        warnings(&bed)
            .contains("was deleted or replaced")
            .then_some(())
    });
    let packet = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&packet, "opened");
    bed.wait_closed(WEB);
    bed.spad.kill();
    bed.spad.start();
    bed.send_counted(&packet, "below_floor");
    bed.stays_closed(WEB, Duration::from_millis(200));
    assert!(!warnings(&bed).contains("spad init"), "{}", warnings(&bed));
}

#[test]
fn a_journal_whose_tail_the_disk_lost_in_the_same_boot_opens_nothing_and_is_said() {
    let mut bed = TestBed::with(&settings("memory"));
    let files: Vec<_> = ["journal.a", "journal.b"]
        .map(|name| bed.spad.state().join(name))
        .into();
    let before: Vec<_> = files
        .iter()
        .map(|file| std::fs::read(file).expect("a journal"))
        .collect();
    let packets: Vec<_> = (0..8).map(|_| bed.laptop.open(&["tcp/8080"])).collect();
    for packet in &packets {
        bed.send(packet);
    }
    bed.spad.wait_verdict_count("opened", 8);
    bed.wait_closed(WEB);
    bed.spad.kill();
    // Written back in vain, and dropped.
    for (file, bytes) in files.iter().zip(&before) {
        std::fs::write(file, bytes).expect("a journal");
    }
    bed.spad.start();
    for (count, packet) in (1..).zip(&packets) {
        bed.send(packet);
        // Of many in a moment not each is looked at as far as its name.
        wait::eventually("it is refused", || {
            let verdicts = bed.spad.verdicts();
            let of = |reason: &str| verdicts.get(reason).copied().unwrap_or(0);
            (of("below_floor") + of("below_floor_unnamed") == count).then_some(())
        });
    }
    bed.stays_closed(WEB, Duration::from_millis(200));
    let expected = "it is not the one that was written last, or a part of it is lost";
    assert!(
        bed.spad.output().contains(expected),
        "{}",
        bed.spad.output()
    );
    assert!(warnings(&bed).contains(expected), "{}", warnings(&bed));
}

#[test]
fn a_request_of_four_hundred_addresses_is_answered_in_a_whole_sentence() {
    let bed = TestBed::new();
    let from: Vec<String> = (0..400)
        .map(|at| format!("192.0.{}.{}", at / 250, at % 250 + 1))
        .collect();
    let mut arguments = vec!["grant", "web", "--from"];
    arguments.extend(from.iter().map(String::as_str));
    let output = bed.spad.cli(&arguments).stderr;
    assert!(
        output.contains("help: say it in several commands"),
        "{output}"
    );
}
