//! A disk that fails, at the start or later, shows nothing, lets no packet act twice, and is
//! said: once in the log at its beginning, once at its end, and in the status meanwhile.

use std::time::Duration;

use spa_tests::reach::Reach;
use spa_tests::settings::{Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

/// Whatever stands after it sees the engine's files of this directory read-only from its start on.
const READ_ONLY: &str = r#"for file in journal.a journal.b horizon clean lock; do mount --bind "$1/$file" "$1/$file" && mount -o remount,bind,ro "$1/$file" || exit; done; shift && exec "$@""#;

fn settings(on_state_error: &'static str) -> Settings {
    Settings {
        on_state_error,
        ..Settings::ttl("1s")
    }
}

fn behind_a_read_only_disk(world: &mut World) {
    let state = world.spad.state().display().to_string();
    world
        .spad
        .start_behind(&["sh", "-c", READ_ONLY, "sh", &state]);
}

fn warnings(world: &World) -> String {
    world.spad.status()["warnings"].to_string()
}

/// How many lines of the log say this.
fn lines(world: &World, text: &str) -> usize {
    world.spad.said().matches(text).count()
}

#[test]
fn behind_a_read_only_disk_a_refusing_daemon_runs_hides_and_refuses_with_its_reason() {
    let mut world = World::with(&settings("refuse"));
    world.spad.stop();
    behind_a_read_only_disk(&mut world);
    world.spad.start();
    for count in 1..=3 {
        world.send(&world.laptop.open(&["tcp/8080"]));
        world.spad.wait_counted("state_unwritable", count);
    }
    assert_eq!(world.hidden(), [Reach::Refused; 4]);
    let said = warnings(&world);
    assert!(
        said.contains("cannot write the state") && said.contains("Read-only"),
        "{said}"
    );
    assert_eq!(
        lines(&world, "no packet is accepted until it is written again"),
        1
    );
}

#[test]
fn behind_a_read_only_disk_packets_open_from_memory_and_never_again_after_a_restart() {
    let mut world = World::with(&settings("memory"));
    world.spad.stop();
    behind_a_read_only_disk(&mut world);
    world.spad.start();
    let packet = world.laptop.open(&["tcp/8080"]);
    world.send_counted(&packet, "opened");
    world.wait_closed(WEB);
    assert!(warnings(&world).contains("cannot write the state"));
    assert_eq!(lines(&world, "remembered in memory"), 1);
    // The disk works again, and holds nothing of that packet.
    world.spad.kill();
    world.spad.start_behind(&[]);
    world.spad.start();
    world.send_counted(&packet, "below_floor");
    world.stays_closed(WEB, Duration::from_millis(200));
    assert!(
        !warnings(&world).contains("cannot write"),
        "{}",
        warnings(&world)
    );
}

#[test]
fn a_reload_decides_from_then_on_what_becomes_of_packets_while_the_disk_fails() {
    let mut world = World::with(&settings("memory"));
    world.spad.stop();
    behind_a_read_only_disk(&mut world);
    world.spad.start();
    let packet = world.laptop.open(&["tcp/8080"]);
    world.send_counted(&packet, "opened");
    world.wait_closed(WEB);
    let refuses = "no packet is accepted until it is written again";
    for count in 1..=2 {
        world.spad.configure(&settings("refuse"));
        world.spad.reload();
        assert!(warnings(&world).contains(refuses), "{}", warnings(&world));
        world.send_counted(&world.laptop.open(&["tcp/8080"]), "state_unwritable");
        assert_eq!(world.hidden(), [Reach::Refused; 4]);
        assert_eq!(lines(&world, refuses), count, "{}", world.spad.said());
        world.spad.configure(&settings("memory"));
        world.spad.reload();
        assert!(!warnings(&world).contains(refuses), "{}", warnings(&world));
        world.send_counted(&world.laptop.open(&["tcp/8080"]), "opened");
        world.wait_closed(WEB);
        world.send_counted(&packet, "replay");
    }
    // The next start knows that it does not know all, as if nothing had been reloaded.
    world.spad.kill();
    world.spad.start_behind(&[]);
    world.spad.start();
    world.send_counted(&packet, "below_floor");
    world.stays_closed(WEB, Duration::from_millis(200));
}

/// Every write beyond the first bytes of a file fails while this is in force.
fn fail_writes(world: &mut World, limit: &str) {
    let engine = world.spad.process().id();
    world.limit(engine, &format!("--fsize={limit}"));
}

#[test]
fn a_disk_that_fails_for_a_while_is_said_once_at_each_end_and_used_packets_stay_used() {
    let mut world = World::with(&settings("refuse"));
    world.spad.stop();
    // A limit that is hit is an error then, and not the end of the process; its log does not hit it.
    let script = "trap '' XFSZ; exec \"$@\" > >(cat) 2>&1";
    world.spad.start_behind(&["bash", "-c", script, "bash"]);
    world.spad.start();
    let before = world.laptop.open(&["tcp/8080"]);
    world.send_counted(&before, "opened");
    world.wait_closed(WEB);
    fail_writes(&mut world, "0:unlimited");
    for count in 1..=3 {
        world.send(&world.laptop.open(&["tcp/8080"]));
        world.spad.wait_counted("state_unwritable", count);
    }
    let began = "no packet is accepted until it is written again";
    assert!(warnings(&world).contains(began), "{}", warnings(&world));
    wait::soon("the log says so", || {
        (lines(&world, began) == 1).then_some(())
    });
    fail_writes(&mut world, "unlimited:unlimited");
    wait::within(Duration::from_secs(15), "it is written again", || {
        (lines(&world, "is written to the disk again") == 1).then_some(())
    });
    assert!(
        !warnings(&world).contains("cannot write"),
        "{}",
        warnings(&world)
    );
    assert_eq!(lines(&world, began), 1, "{}", world.spad.said());
    world.open(&["tcp/8080"]);
    world.wait_closed(WEB);
    wait::soon("audit lines are written", || {
        (lines(&world, "audit lines are written again") == 1).then_some(())
    });
    assert_eq!(
        lines(&world, "audit lines are lost"),
        1,
        "{}",
        world.spad.said()
    );
    assert_eq!(warnings(&world), "[]");
    let opened = world.spad.counted("opened");
    world.send(&before);
    world.spad.kill();
    world.spad.start_behind(&[]);
    world.spad.start();
    world.send_counted(&before, "replay");
    assert_eq!((opened, world.spad.counted("opened")), (2, 0));
}

#[test]
fn without_journal_and_horizon_it_hides_refuses_and_says_what_makes_them() {
    let mut world = World::with(&settings("memory"));
    world.spad.stop();
    for name in ["journal.a", "journal.b", "horizon"] {
        std::fs::remove_file(world.spad.state().join(name)).expect("a file of the state");
    }
    world.spad.pretend_new_boot();
    world.spad.start();
    world.send_counted(&world.laptop.open(&["tcp/8080"]), "state_unwritable");
    assert_eq!(world.hidden(), [Reach::Refused; 4]);
    assert!(
        warnings(&world).contains("spad init"),
        "{}",
        warnings(&world)
    );
    // It holds nothing, so it stands in nobody's way.
    let _ = world.spad.cli(&["init"]).ok();
    world.spad.stop();
    world.spad.start();
    assert!(
        !warnings(&world).contains("spad init"),
        "{}",
        warnings(&world)
    );
}

/// Its files, not its keys.
fn delete_state(world: &World) {
    for name in ["journal.a", "journal.b", "horizon", "clean"] {
        std::fs::remove_file(world.spad.state().join(name)).expect("a file of the state");
    }
}

#[test]
fn files_that_are_deleted_while_it_runs_are_noticed_in_seconds_and_packets_refused() {
    let world = World::with(&settings("refuse"));
    delete_state(&world);
    wait::within(Duration::from_secs(4), "it is noticed", || {
        warnings(&world)
            .contains("was deleted or replaced")
            .then_some(())
    });
    world.send_counted(&world.laptop.open(&["tcp/8080"]), "state_unwritable");
    assert_eq!(world.hidden(), [Reach::Refused; 4]);
    assert_eq!(
        lines(&world, "was deleted or replaced"),
        1,
        "{}",
        world.spad.said()
    );
}

#[test]
fn after_its_files_were_deleted_a_used_packet_opens_nothing_and_the_next_start_goes_on() {
    let mut world = World::with(&settings("memory"));
    delete_state(&world);
    wait::within(Duration::from_secs(4), "it is noticed", || {
        warnings(&world)
            .contains("was deleted or replaced")
            .then_some(())
    });
    let packet = world.laptop.open(&["tcp/8080"]);
    world.send_counted(&packet, "opened");
    world.wait_closed(WEB);
    world.spad.kill();
    world.spad.start();
    world.send_counted(&packet, "below_floor");
    world.stays_closed(WEB, Duration::from_millis(200));
    assert!(
        !warnings(&world).contains("spad init"),
        "{}",
        warnings(&world)
    );
}

#[test]
fn a_journal_whose_tail_the_disk_lost_in_the_same_boot_opens_nothing_and_is_said() {
    let mut world = World::with(&settings("memory"));
    let files: Vec<_> = ["journal.a", "journal.b"]
        .map(|name| world.spad.state().join(name))
        .into();
    let before: Vec<_> = files
        .iter()
        .map(|file| std::fs::read(file).expect("a journal"))
        .collect();
    let packets: Vec<_> = (0..8).map(|_| world.laptop.open(&["tcp/8080"])).collect();
    for packet in &packets {
        world.send(packet);
    }
    world.spad.wait_counted("opened", 8);
    world.wait_closed(WEB);
    world.spad.kill();
    // Written back in vain, and dropped.
    for (file, bytes) in files.iter().zip(&before) {
        std::fs::write(file, bytes).expect("a journal");
    }
    world.spad.start();
    for (count, packet) in (1..).zip(&packets) {
        world.send(packet);
        // Of many in a moment not each is looked at as far as its name.
        wait::soon("it is refused", || {
            let verdicts = world.spad.verdicts();
            let of = |reason: &str| verdicts.get(reason).copied().unwrap_or(0);
            (of("below_floor") + of("below_floor_unnamed") == count).then_some(())
        });
    }
    world.stays_closed(WEB, Duration::from_millis(200));
    let said = "it is not the one that was written last, or a part of it is lost";
    assert!(world.spad.said().contains(said), "{}", world.spad.said());
    assert!(warnings(&world).contains(said), "{}", warnings(&world));
}

#[test]
fn a_request_of_four_hundred_addresses_is_answered_in_a_whole_sentence() {
    let world = World::new();
    let from: Vec<String> = (0..400)
        .map(|at| format!("192.0.{}.{}", at / 250, at % 250 + 1))
        .collect();
    let mut arguments = vec!["grant", "web", "--from"];
    arguments.extend(from.iter().map(String::as_str));
    let said = world.spad.cli(&arguments).stderr;
    assert!(said.contains("help: say it in several commands"), "{said}");
}
