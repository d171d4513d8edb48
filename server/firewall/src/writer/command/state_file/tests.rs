//! What the file says after a crash, a boot or a stranger's hand.

use super::*;

const MAX_TTL: Duration = Duration::from_secs(300);

fn at(boot: u64, wall: u64) -> Now {
    Now {
        wall: Timestamp::from_micros(1_800_000_000_000_000 + wall * 1_000_000),
        boot: BootTime::from_micros(boot * 1_000_000),
    }
}

fn element() -> Element {
    Element {
        address: "2001:db8::".parse().unwrap(),
        prefix: Some(64),
        service: "udp/51820".parse().unwrap(),
        source_port: std::num::NonZeroU16::new(4000),
        once: false,
    }
}

/// Writes an end 60 s ahead at (1000, 0); gives how long is left by who reads it then.
fn left(boot: &str, now: Now) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let ends = BootTime::from_micros(1_060_000_000);
    let mut file = StateFile::new(directory.path(), "one");
    file.write(&[(element(), ends)], at(1000, 0)).unwrap();
    let read = StateFile::new(directory.path(), boot)
        .read(MAX_TTL, now)
        .unwrap();
    assert_eq!((read.len(), read[0].0), (1, element()));
    read[0].1.saturating_since(now.boot).as_secs()
}

#[test]
fn within_one_boot_the_walls_clock_does_not_matter() {
    assert_eq!(left("one", at(1010, 10)), 50);
    assert_eq!(left("one", at(1010, 9_999)), 50);
    assert_eq!(left("one", at(1100, 0)), 0);
}

#[test]
fn after_another_boot_the_walls_clock_decides_and_a_wrong_one_prolongs_nothing() {
    assert_eq!(left("two", at(5, 20)), 40);
    assert_eq!(left("two", at(5, 60)), 0);
    assert_eq!(left("", at(5, 61)), 0);
    let early = Now {
        wall: Timestamp::from_micros(1_700_000_000_000_000),
        ..at(5, 0)
    };
    assert_eq!(left("two", early), 0, "years would be left: over at once");
}

#[test]
fn a_damaged_file_is_put_aside_and_none_is_no_fault() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = StateFile::new(directory.path(), "one");
    assert!(file.read(MAX_TTL, at(1, 1)).unwrap().is_empty());
    std::fs::write(directory.path().join(NAME), "{\"version\":1").unwrap();
    assert!(file.read(MAX_TTL, at(1, 1)).unwrap().is_empty());
    assert!(directory.path().join("command.damaged").exists());
    assert!(!directory.path().join(NAME).exists());
}

#[test]
fn a_file_that_cannot_be_read_is_not_called_damaged_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = StateFile::new(directory.path(), "one");
    // A directory can be opened, and not be read.
    std::fs::create_dir(directory.path().join(NAME)).unwrap();
    let error = file.read(MAX_TTL, at(1, 1)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    assert!(directory.path().join(NAME).exists());
}
