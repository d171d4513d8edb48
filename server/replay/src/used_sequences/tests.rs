//! Tests of the record of used sequences, across damage and crashes.

use std::fs;

use super::*;

fn sequence(text: &str) -> Sequence {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// A state directory in which these sequences are used.
fn directory_with(used: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (mut file, known) = UsedSequences::open(directory.path(), None);
    assert_eq!(known, Some(HashSet::new()));
    for text in used {
        file.append(&sequence(text), at(1)).unwrap();
    }
    assert_eq!(file.problem(), None);
    directory
}

fn known(directory: &tempfile::TempDir) -> Option<Vec<String>> {
    let (_, known) = UsedSequences::open(directory.path(), None);
    let peeked = read_used(directory.path()).ok();
    assert_eq!(known, peeked, "who reads beside it reads the same");
    let mut known: Vec<String> = known?.iter().map(Sequence::to_string).collect();
    known.sort();
    Some(known)
}

#[test]
fn what_was_used_is_known_to_every_later_start() {
    let longest_sequence = ["1:udp,65535"; 16].join(",");
    let used = ["7000,8000:udp", "9000,1,9000", &longest_sequence];
    let directory = directory_with(&used);
    let mut right = used.map(str::to_owned).to_vec();
    right.sort();
    for _ in 0..3 {
        assert_eq!(known(&directory), Some(right.clone()));
    }
    let (mut file, _) = UsedSequences::open(directory.path(), None);
    file.append(&sequence("5,60"), at(2)).unwrap();
    assert_eq!(known(&directory).unwrap().len(), 4);
}

#[test]
fn nothing_is_used_where_nothing_was_and_reading_beside_makes_no_file() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(read_used(directory.path()), Ok(HashSet::new()));
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none());
}

/// Whatever a power cut left of the last record, it counts completely or not at all.
#[test]
fn a_record_cut_short_is_not_used_and_the_next_one_takes_its_place() {
    let directory = directory_with(&["7000,8000", "9000,9100"]);
    let path = directory.path().join(FILE_NAME);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 2 * RECORD_LEN);
    for length in RECORD_LEN..2 * RECORD_LEN {
        for zeros in [0, 2 * RECORD_LEN - length] {
            let mut torn = bytes[..length].to_vec();
            torn.resize(length + zeros, 0);
            fs::write(&path, torn).unwrap();
            assert_eq!(
                known(&directory).unwrap(),
                ["7000,8000"],
                "{length} {zeros}"
            );
            let (mut file, _) = UsedSequences::open(directory.path(), None);
            file.append(&sequence("3,40"), at(2)).unwrap();
            assert_eq!(
                known(&directory).unwrap(),
                ["3,40", "7000,8000"],
                "{length}"
            );
        }
    }
}

#[test]
fn no_changed_bit_makes_a_used_sequence_unused() {
    let directory = directory_with(&["7000,8000", "9000,9100", "5,60"]);
    let path = directory.path().join(FILE_NAME);
    let bytes = fs::read(&path).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, changed).unwrap();
        let (mut file, known) = UsedSequences::open(directory.path(), None);
        assert_eq!(known, None, "bit {bit}");
        let message = file.problem().unwrap().to_string();
        assert!(message.contains("is damaged"), "{message}");
        assert!(file.append(&sequence("1,20"), at(2)).is_err());
    }
}

#[test]
fn a_record_taken_out_of_the_middle_is_missed_by_nobody_but_the_rest_is_known() {
    let directory = directory_with(&["7000,8000", "9000,9100"]);
    let path = directory.path().join(FILE_NAME);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..RECORD_LEN].fill(0);
    fs::write(&path, bytes).unwrap();
    assert_eq!(known(&directory), None, "zeros before another record");
}

#[test]
fn a_disk_that_takes_nothing_is_told_and_told_no_more_once_it_does() {
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let directory = directory_with(&["7000,8000"]);
    let (mut file, _) = UsedSequences::open(directory.path(), None);
    let right = std::mem::replace(&mut file.file, Ok(full));
    let error = file.append(&sequence("3,40"), at(2)).unwrap_err();
    assert!(error.to_string().contains("mend the disk"), "{error}");
    assert_eq!(file.problem(), Some(&error));
    assert_eq!(known(&directory).unwrap(), ["7000,8000"]);
    file.file = right;
    file.append(&sequence("5,60"), at(2)).unwrap();
    assert_eq!(file.problem(), None);
}

/// Its door stayed closed, but an observer may know it, and the next start would accept it.
#[test]
fn what_the_disk_did_not_take_is_written_once_it_does() {
    let full = || {
        Ok(fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap())
    };
    let directory = directory_with(&["7000,8000"]);
    let (mut file, _) = UsedSequences::open(directory.path(), None);
    let right = std::mem::replace(&mut file.file, full());
    file.append(&sequence("3,40"), at(2)).unwrap_err();
    file.append(&sequence("9,30"), at(2)).unwrap_err();
    assert!(file.retry_pending().is_err() && file.problem().is_some());
    file.file = right;
    assert_eq!(file.retry_pending(), Ok(2));
    assert_eq!(file.problem(), None);
    let written = ["3,40", "7000,8000", "9,30"];
    assert_eq!(known(&directory).unwrap(), written);
    file.file = full();
    file.append(&sequence("1,50"), at(2)).unwrap_err();
    file.file = UsedSequences::open(directory.path(), None).0.file;
    file.append(&sequence("5,60"), at(2)).unwrap();
    let written = ["1,50", "3,40", "5,60", "7000,8000", "9,30"];
    assert_eq!(known(&directory).unwrap(), written);
    file.retry_pending().unwrap();
    assert_eq!(
        fs::read(directory.path().join(FILE_NAME)).unwrap().len(),
        5 * RECORD_LEN
    );
}

#[test]
fn a_link_in_its_place_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = directory.path().join("elsewhere");
    fs::write(&elsewhere, "").unwrap();
    std::os::unix::fs::symlink(&elsewhere, directory.path().join(FILE_NAME)).unwrap();
    let (file, known) = UsedSequences::open(directory.path(), None);
    assert!(known.is_none() && file.problem().is_some());
    assert!(read_used(directory.path()).is_err());
}

#[test]
fn a_full_file_takes_no_more_and_a_longer_one_is_not_read() {
    let directory = directory_with(&["7000,8000"]);
    let path = directory.path().join(FILE_NAME);
    let one = fs::read(&path).unwrap();
    fs::write(&path, one.repeat(MAX_SEQUENCES)).unwrap();
    let (mut file, known) = UsedSequences::open(directory.path(), None);
    assert_eq!(known.unwrap().len(), 1);
    let error = file.append(&sequence("3,40"), at(2)).unwrap_err();
    assert!(matches!(error, OneTimeError::Full { .. }), "{error}");
    fs::write(&path, one.repeat(MAX_SEQUENCES + 1)).unwrap();
    assert!(UsedSequences::open(directory.path(), None).1.is_none());
}

#[test]
fn a_file_that_lost_its_end_or_is_an_older_one_is_told_from_a_whole_one() {
    let directory = directory_with(&["7000,8000", "7001,8001", "7002,8002"]);
    let path = directory.path().join(FILE_NAME);
    let whole = fs::read(&path).unwrap();
    let mark = UsedSequences::open(directory.path(), None).0.mark();
    assert_eq!(mark.count, 3);
    let known = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        UsedSequences::open(directory.path(), Some(mark)).1
    };
    assert_eq!(known(&whole).unwrap().len(), 3);
    for length in 0..whole.len() {
        assert_eq!(known(&whole[..length]), None, "cut off at {length}");
    }
    // A record over its successor, and two swapped.
    let mut copied = whole.clone();
    copied.copy_within(..RECORD_LEN, RECORD_LEN);
    assert_eq!(known(&copied), None);
    let mut swapped = copied.clone();
    swapped[..RECORD_LEN].copy_from_slice(&whole[RECORD_LEN..2 * RECORD_LEN]);
    assert_eq!(known(&swapped), None);
    // One more than the journal lists: it was used just before a kill.
    let less = UsedMark::default().add(&whole[..RECORD_LEN]);
    fs::write(&path, &whole).unwrap();
    let (file, known) = UsedSequences::open(directory.path(), Some(less));
    assert_eq!((known.unwrap().len(), file.mark()), (3, mark));
}
