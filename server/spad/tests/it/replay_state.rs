//! The state directory with real files: what survives, what is refused.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::{Protocol, Service, Timestamp};
use spad_model::{BootTime, Now, OnStateError, Paths};
use spad_replay::{
    DistrustReason, Holder, HolderKey, HolderRecord, JournalRecord, OpenedState, Seen, Sighting,
    StateDir, StateError, StateEvent, StateMode,
};
use spad_sys::clock::now;

const SKEW: Duration = Duration::from_secs(60);
const ALICE: KeyId = KeyId::from_bytes([1; 8]);

struct ServerDirs(tempfile::TempDir);

impl ServerDirs {
    fn empty() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for folder in ["config", "state", "run"] {
            fs::create_dir(place.0.path().join(folder)).unwrap();
        }
        place
    }

    fn initialised() -> Self {
        let place = Self::empty();
        StateDir::create(&place.paths(), now(), SKEW).unwrap();
        place
    }

    fn paths(&self) -> Paths {
        paths(self.0.path())
    }

    fn open(&self) -> OpenedState {
        StateDir::open(&self.paths(), now(), SKEW, OnStateError::Refuse).unwrap()
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.paths().state.join(name)
    }
}

fn paths(root: &Path) -> Paths {
    Paths {
        config: root.join("config"),
        state: root.join("state"),
        run: root.join("run"),
    }
}

fn nonce(number: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    nonce
}

fn sighting() -> Sighting {
    Sighting {
        source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        boot: now().boot,
    }
}

/// Records a packet as the engine does.
fn record(opened: &mut OpenedState, number: u64, timestamp: Timestamp) -> Result<(), Seen> {
    let mut out = Vec::new();
    let window_start = now().wall.saturating_sub(SKEW);
    opened.cache.record(
        ALICE,
        &nonce(number),
        timestamp,
        sighting(),
        window_start,
        &mut out,
    )?;
    for record in &out {
        opened.state.append(record).unwrap();
    }
    Ok(())
}

fn is_used(opened: &OpenedState, number: u64, timestamp: Timestamp) -> bool {
    opened
        .cache
        .screen(ALICE, &nonce(number), timestamp, sighting())
        .is_err()
}

fn is_fresh(opened: &mut OpenedState, number: u64) -> bool {
    let timestamp = now().wall;
    !is_used(opened, number, timestamp) && opened.horizon.accept(timestamp).is_ok()
}

/// Not a test of its own: the process that the next one kills.
#[test]
#[ignore = "the child of the test below"]
fn child_that_records_packets_until_it_is_killed() {
    let root = std::env::var("SPAD_TEST_ROOT").unwrap();
    let mut opened =
        StateDir::open(&paths(Path::new(&root)), now(), SKEW, OnStateError::Refuse).unwrap();
    for number in 0.. {
        let timestamp = now().wall;
        record(&mut opened, number, timestamp).unwrap();
        let cache = &opened.cache;
        opened.state.compact_if_needed(|| cache.records());
        println!("\nused {number} {}", timestamp.as_micros());
    }
}

#[test]
fn what_was_recorded_before_kill_minus_nine_is_recorded_after_it() {
    let place = ServerDirs::initialised();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "replay_state::child_that_records_packets_until_it_is_killed",
        ])
        .env("SPAD_TEST_ROOT", place.0.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut used = Vec::new();
    for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(packet) = line.strip_prefix("used ") {
            let (number, timestamp) = packet.split_once(' ').unwrap();
            used.push((
                number.parse().unwrap(),
                Timestamp::from_micros(timestamp.parse().unwrap()),
            ));
        }
        if used.len() >= 20_000 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(used.len(), 20_000);
    let mut opened = place.open();
    assert_eq!(
        opened.state.take_events(),
        [],
        "kill -9 is no unclean start"
    );
    for (number, timestamp) in used {
        assert!(is_used(&opened, number, timestamp), "packet {number}");
    }
    assert!(
        is_fresh(&mut opened, u64::MAX),
        "and a fresh one passes at once"
    );
}

#[test]
fn a_second_server_on_the_same_state_is_refused_by_name() {
    let place = ServerDirs::initialised();
    let first = place.open();
    let error = StateDir::open(&place.paths(), now(), SKEW, OnStateError::Refuse).unwrap_err();
    assert!(
        matches!(&error, StateError::Locked { pid: Some(pid), .. } if *pid == std::process::id())
    );
    assert!(
        error
            .to_string()
            .contains(&format!("(process {})", std::process::id())),
        "{error}"
    );
    drop(first);
    place.open();
}

#[test]
fn where_nothing_was_made_no_packet_is_accepted() {
    let place = ServerDirs::empty();
    let problem = refuse_everything(&place);
    assert!(problem.contains("`spad init`"), "{problem}");
    assert_eq!(
        fs::read_dir(place.paths().state).unwrap().count(),
        0,
        "and nothing is made"
    );
}

/// Opens a state that cannot be used: it takes no packet. Gives why.
fn refuse_everything(place: &ServerDirs) -> String {
    let mut opened = StateDir::open(&place.paths(), now(), SKEW, OnStateError::Memory).unwrap();
    assert!(!is_fresh(&mut opened, 1));
    let record = JournalRecord::BaseFloor {
        timestamp: now().wall,
    };
    assert!(opened.state.append(&record).is_err());
    assert!(matches!(
        opened.state.take_events()[..],
        [StateEvent::ModeChanged(StateMode::Closed { .. })]
    ));
    let StateMode::Closed { problem } = opened.state.mode() else {
        return String::new();
    };
    problem.clone()
}

#[test]
fn what_is_there_is_not_made_again() {
    let place = ServerDirs::initialised();
    assert!(matches!(
        StateDir::create(&place.paths(), now(), SKEW),
        Err(StateError::AlreadyInitialised { .. })
    ));
}

#[test]
fn a_key_of_another_machine_is_refused_until_it_is_adopted_and_then_nothing_old_is_accepted() {
    let place = ServerDirs::initialised();
    fs::write(place.file("machine-id"), "0123456789abcdef\n").unwrap();
    let problem = refuse_everything(&place);
    assert!(problem.contains("`spad key adopt`"), "{problem}");
    fs::remove_file(place.file("machine-id")).unwrap();
    let problem = refuse_everything(&place);
    assert!(problem.contains("another machine"), "{problem}");
    StateDir::adopt(&place.paths(), now(), SKEW).unwrap();
    let mut opened = place.open();
    let soon = now().wall.saturating_add(SKEW).saturating_add(SKEW);
    assert!(is_used(
        &opened,
        1,
        soon.saturating_sub(Duration::from_secs(5))
    ));
    assert!(!is_used(&opened, 1, soon));
    assert_eq!(opened.state.take_events(), []);
}

#[test]
fn a_missing_journal_raises_every_floor_to_the_horizon() {
    let place = ServerDirs::initialised();
    let mut opened = place.open();
    let timestamp = now().wall;
    record(&mut opened, 1, timestamp).unwrap();
    drop(opened);
    for name in ["journal.a", "journal.b"] {
        fs::remove_file(place.file(name)).unwrap();
    }
    let mut opened = place.open();
    assert!(is_used(&opened, 1, timestamp));
    assert!(!is_fresh(&mut opened, 2));
    assert!(matches!(
        opened.state.take_events()[..],
        [StateEvent::UncleanStart { .. }]
    ));
}

#[test]
fn whichever_of_the_two_files_is_missing_no_used_packet_is_new() {
    for name in ["journal.a", "journal.b"] {
        let place = ServerDirs::initialised();
        drop(place.open());
        let mut opened = place.open();
        let timestamp = now().wall;
        record(&mut opened, 1, timestamp).unwrap();
        drop(opened);
        fs::remove_file(place.file(name)).unwrap();
        assert!(is_used(&place.open(), 1, timestamp), "without {name}");
    }
}

#[test]
fn more_records_than_the_journal_holds_are_taken_before_it_is_compacted() {
    let place = ServerDirs::initialised();
    let mut opened = place.open();
    let timestamp = now().wall;
    let record = |number| JournalRecord::Nonce {
        id: ALICE,
        nonce: nonce(number),
        timestamp,
    };
    for number in 0..40_000 {
        opened.state.append(&record(number)).unwrap();
    }
    drop(opened);
    let opened = place.open();
    assert!((0..40_000).all(|number| is_used(&opened, number, timestamp)));
}

#[test]
fn one_damaged_record_raises_every_floor_to_the_horizon() {
    let place = ServerDirs::initialised();
    let mut opened = place.open();
    let timestamp = now().wall;
    (0..3).for_each(|number| record(&mut opened, number, timestamp).unwrap());
    opened.state.clean_stop().unwrap();
    for name in ["journal.a", "journal.b"] {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(place.file(name))
            .unwrap();
        // Slots 0 and 1 are the header's, slot 2 the base floor's, slot 3 that of packet 0.
        file.write_all_at(&[0xff], 3 * 64 + 20).unwrap();
    }
    let mut opened = place.open();
    (0..3).for_each(|number| assert!(is_used(&opened, number, timestamp)));
    let events = opened.state.take_events();
    assert!(
        matches!(
            events[..],
            [StateEvent::UncleanStart {
                reason: Some(DistrustReason::Damaged(1)),
                ..
            }]
        ),
        "{events:?}"
    );
}

#[test]
fn with_both_slots_bad_nothing_is_accepted_until_the_reset_and_then_nothing_old() {
    let place = ServerDirs::initialised();
    place.open().state.clean_stop().unwrap();
    fs::write(place.file("horizon"), vec![0xff; 8192]).unwrap();
    fs::write(place.file("clean"), [0; 64]).unwrap();
    fs::remove_file(place.file("journal.a")).unwrap();
    fs::remove_file(place.file("journal.b")).unwrap();
    // Within the boot the run directory would know.
    fs::remove_file(place.paths().run.join("horizon.memory")).unwrap();
    for _ in 0..2 {
        let mut opened = place.open();
        assert!(!is_fresh(&mut opened, 1));
        assert!(
            opened
                .state
                .take_events()
                .contains(&StateEvent::HorizonUnknown { because: None })
        );
        opened.state.clean_stop().unwrap();
    }
    let OpenedState {
        mut state,
        mut cache,
        mut horizon,
        ..
    } = place.open();
    state
        .reset_all(now(), &mut cache, &mut horizon, [], SKEW)
        .unwrap();
    assert!(state.clean_stop().unwrap());
    let mut opened = place.open();
    assert!(!is_fresh(&mut opened, 1), "used packets may be missing");
    assert!(!is_used(&opened, 1, now().wall.saturating_add(2 * SKEW)));
}

#[test]
fn a_clock_gone_wrong_is_mended_by_the_reset() {
    let place = ServerDirs::initialised();
    let Now { wall, boot } = now();
    let wrong = Now {
        wall: wall.saturating_add(Duration::from_secs(86_400 * 365)),
        boot,
    };
    let mut opened = StateDir::open(&place.paths(), wrong, SKEW, OnStateError::Refuse).unwrap();
    opened.cache.raise_floors(wrong.wall);
    opened.state.compact_if_needed(|| opened.cache.records());
    drop(opened.state);
    fs::write(place.file("journal.a"), "").unwrap();
    fs::write(place.file("journal.b"), "").unwrap();
    let mut opened = place.open();
    assert!(!is_fresh(&mut opened, 1));
    let events = opened.state.take_events();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, StateEvent::HorizonAhead { .. })),
        "{events:?}"
    );
    let OpenedState {
        mut state,
        mut cache,
        mut horizon,
        ..
    } = opened;
    state
        .reset_all(now(), &mut cache, &mut horizon, [], SKEW)
        .unwrap();
    drop(state);
    let mut opened = place.open();
    assert!(is_fresh(&mut opened, 1), "and it holds after kill -9");
}

#[test]
fn holders_and_last_closes_are_there_after_a_restart_within_the_boot() {
    let place = ServerDirs::initialised();
    let mut opened = place.open();
    let service = Service {
        protocol: Protocol::Tcp,
        port: NonZeroU16::new(22).unwrap(),
    };
    let key = |host| HolderKey {
        holder: Holder::Client(ALICE),
        address: Ipv4Addr::new(192, 0, 2, host).into(),
        prefix: None,
        service,
        source_port: None,
        once: false,
    };
    let ends = now().boot.saturating_add(Duration::from_secs(300));
    let (stays, goes) = (
        HolderRecord { key: key(1), ends },
        HolderRecord { key: key(2), ends },
    );
    let closed = now().wall;
    for record in [
        JournalRecord::Holder(stays),
        JournalRecord::Holder(goes),
        JournalRecord::HolderRemoved(goes.key),
        JournalRecord::LastClose {
            id: ALICE,
            service,
            timestamp: closed,
        },
    ] {
        opened.state.append(&record).unwrap();
    }
    drop(opened);
    for _ in 0..2 {
        let opened = place.open();
        assert_eq!(opened.holders, [stays]);
        assert_eq!(opened.cache.last_close(ALICE, service), Some(closed));
    }
    let later = Now {
        wall: now().wall,
        boot: BootTime::from_micros(u64::MAX),
    };
    drop(StateDir::open(&place.paths(), later, SKEW, OnStateError::Refuse).unwrap());
    assert_eq!(
        place.open().holders,
        [],
        "what has ended is not written again"
    );
}

#[test]
fn the_files_are_their_owners_alone_and_no_link_is_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let place = ServerDirs::initialised();
    for name in [
        "journal.a",
        "journal.b",
        "horizon",
        "clean",
        "lock",
        "machine-id",
    ] {
        let mode = fs::metadata(place.file(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let elsewhere = place.0.path().join("elsewhere");
    fs::rename(place.file("journal.a"), &elsewhere).unwrap();
    symlink(&elsewhere, place.file("journal.a")).unwrap();
    let before = fs::read(&elsewhere).unwrap();
    let events = place.open().state.take_events();
    assert!(
        matches!(
            events[..],
            [
                StateEvent::UncleanStart { .. },
                StateEvent::ModeChanged(StateMode::Refusing { .. })
            ]
        ),
        "{events:?}"
    );
    assert_eq!(fs::read(&elsewhere).unwrap(), before);
}

/// Runs the calling test once more inside a mount namespace with a tiny disk, as root of it.
fn in_mount_namespace(inside: impl FnOnce()) {
    if std::env::var_os("SPAD_TEST_INSIDE").is_some() {
        return inside();
    }
    let thread = std::thread::current();
    let test = thread.name().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("SPAD_TEST_INSIDE", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

fn mount(arguments: &[&str]) {
    assert!(
        Command::new("mount")
            .args(arguments)
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_full_disk_does_not_stop_the_journal() {
    in_mount_namespace(|| {
        let place = ServerDirs::empty();
        let state = place.paths().state;
        mount(&[
            "-t",
            "tmpfs",
            "-o",
            "size=4m",
            "tmpfs",
            state.to_str().unwrap(),
        ]);
        StateDir::create(&place.paths(), now(), SKEW).unwrap();
        let mut opened = place.open();
        fill(&state);
        // Far more than one file of the journal holds: it is compacted several times.
        let mut last = now().wall;
        for number in 0..60_000 {
            last = now().wall;
            record(&mut opened, number, last).unwrap();
            let cache = &opened.cache;
            opened.state.compact_if_needed(|| cache.records());
        }
        let later = Now {
            wall: last.saturating_add(Duration::from_secs(30)),
            boot: BootTime::from_micros(u64::MAX),
        };
        opened
            .state
            .advance_horizon(later, SKEW, &mut opened.horizon)
            .unwrap();
        assert_eq!(opened.state.take_events(), []);
        drop(opened);
        assert!(is_used(&place.open(), 59_999, last));
    });
}

fn fill(state: &Path) {
    let mut file = fs::File::create(state.join("filler")).unwrap();
    for size in [65_536, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

#[test]
fn on_a_read_only_disk_the_server_goes_on_in_memory_and_the_next_start_is_unclean() {
    in_mount_namespace(|| {
        let place = ServerDirs::initialised();
        place.open().state.clean_stop().unwrap();
        let state = place.paths().state;
        let state = state.to_str().unwrap();
        mount(&["--bind", state, state]);
        mount(&["-o", "remount,bind,ro", state]);
        // The lock needs a file that can be opened for writing; it is there already.
        let mut refusing =
            StateDir::open(&place.paths(), now(), SKEW, OnStateError::Refuse).unwrap();
        assert!(!is_fresh(&mut refusing, 1));
        assert!(matches!(
            refusing.state.take_events()[..],
            [StateEvent::ModeChanged(StateMode::Refusing { .. })]
        ));
        drop(refusing);
        let mut opened = StateDir::open(&place.paths(), now(), SKEW, OnStateError::Memory).unwrap();
        assert!(opened.state.is_in_memory());
        assert!(matches!(
            opened.state.take_events()[..],
            [StateEvent::ModeChanged(StateMode::InMemory { .. })]
        ));
        let timestamp = now().wall;
        record(&mut opened, 1, timestamp).unwrap();
        opened.horizon.accept(timestamp).unwrap();
        assert!(
            !opened.state.clean_stop().unwrap(),
            "no clean mark, not in memory"
        );
        mount(&["-o", "remount,bind,rw", state]);
        let mut opened = place.open();
        assert!(is_used(&opened, 1, timestamp));
        assert!(matches!(
            opened.state.take_events()[..],
            [StateEvent::UncleanStart { .. }]
        ));
        drop(opened);
        assert_eq!(
            place.open().state.take_events(),
            [],
            "and then all is well again"
        );
    });
}
