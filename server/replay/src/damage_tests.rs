//! No packet acts twice when a file of the state is damaged, and every start reports it.
//!
//! One file at a time (several: older_tests.rs), with every damage of each kind: truncated at
//! every byte, every bit flipped, records copied and swapped, ranges zeroed, old blocks and
//! files, the file missing. It is tested in the same boot and in the next, after kill -9 and
//! after a clean stop. Either the start reports something, or it remembers everything it
//! should, because the damaged bytes did not matter. That holds for the other journal (it is
//! overwritten before it counts), the zeros beyond the file's records (their number is
//! proven), the clean mark and the run directory's files where another proof decides, and
//! one slot of the horizon.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::Timestamp;
use spad_model::{BootTime, Now, OnStateError};

use super::cache::{Bounds, Sighting};
use super::disk::{ALL_FILES, Disk, FileName};
use super::encoding::RECORD_LEN;
use super::record::JournalRecord;
use super::simulation::sim_disk::SimDisk;
use super::startup::{OpenedState, create_on, start};

const SKEW: Duration = Duration::from_secs(60);
pub(super) const BOOT: [u8; 16] = [1; 16];
const CLIENT: [u8; 8] = [7; 8];

fn now(seconds: u64) -> Now {
    Now {
        wall: Timestamp::from_micros(seconds * 1_000_000),
        boot: BootTime::from_micros(seconds * 1_000_000),
    }
}

fn open(disk: &SimDisk, boot: [u8; 16], seconds: u64) -> OpenedState<SimDisk> {
    start(
        disk.clone(),
        None,
        boot,
        now(seconds),
        SKEW,
        OnStateError::Memory,
        Bounds::default(),
    )
}

fn nonce(number: u8) -> [u8; 24] {
    [number; 24]
}

/// The server's history before the damage.
pub(super) struct ServerHistory {
    pub(super) disk: SimDisk,
    /// The files at earlier moments, in order.
    pub(super) snapshots: Vec<[Vec<u8>; 6]>,
    /// Used packets, by number and time.
    used: Vec<(u8, Timestamp)>,
}

impl ServerHistory {
    pub(super) fn files(disk: &SimDisk) -> [Vec<u8>; 6] {
        ALL_FILES.map(|file| disk.clone().read(file).unwrap())
    }

    /// A server of two lives that used `count` packets, the first of them before a clean stop.
    pub(super) fn new(count: u8, cleanly: bool) -> Self {
        let disk = SimDisk::default();
        create_on(
            disk.clone(),
            None,
            BOOT,
            now(1000),
            SKEW,
            Timestamp::default(),
        )
        .unwrap();
        let mut past = Self {
            disk: disk.clone(),
            snapshots: vec![Self::files(&disk)],
            used: Vec::new(),
        };
        let mut server = open(&disk, BOOT, 1010);
        past.use_packet(&mut server, 0, 1010);
        server.state.clean_stop().unwrap();
        past.snapshots.push(Self::files(&disk));
        let mut server = open(&disk, BOOT, 1020);
        past.snapshots.push(Self::files(&disk));
        for number in 1..count {
            let seconds = 1020 + 4 * u64::from(number);
            server
                .state
                .advance_horizon(now(seconds), SKEW, &mut server.horizon)
                .unwrap();
            // As far ahead as the window allows.
            past.use_packet(&mut server, number, seconds);
            past.snapshots.push(Self::files(&disk));
        }
        if cleanly {
            server.state.clean_stop().unwrap();
        }
        past
    }

    fn use_packet(&mut self, server: &mut OpenedState<SimDisk>, number: u8, seconds: u64) {
        let timestamp = now(seconds).wall.saturating_add(SKEW);
        let mut out = Vec::new();
        let recorded = server.cache.record(
            KeyId::from_bytes(CLIENT),
            &nonce(number),
            timestamp,
            sighting(),
            now(seconds).wall.saturating_sub(SKEW),
            &mut out,
        );
        assert!(recorded.is_ok() && server.horizon.accept(timestamp).is_ok());
        assert!(out.iter().all(|record| server.state.append(record).is_ok()));
        self.used.push((number, timestamp));
    }

    /// Checks that after this damage no used packet is accepted and the start reports it.
    fn check(&self, boot: [u8; 16], file: FileName, what: &str, bytes: Vec<u8>) -> bool {
        let what = format!("{}, {what}", file.as_str());
        self.check_all(boot, &what, [(file, bytes)])
    }

    /// Checks the damage of several files.
    pub(super) fn check_all(
        &self,
        boot: [u8; 16],
        what: &str,
        files: impl IntoIterator<Item = (FileName, Vec<u8>)>,
    ) -> bool {
        let disk = self.disk.copy();
        if boot != BOOT {
            disk.cut_power(&mut |_| 3);
        }
        for (file, bytes) in files {
            disk.replace_file(file, bytes);
        }
        let mut server = open(&disk, boot, 1062);
        let silent = server.state.take_events().is_empty();
        for (number, timestamp) in &self.used {
            let id = KeyId::from_bytes(CLIENT);
            let seen = server
                .cache
                .screen(id, &nonce(*number), *timestamp, sighting());
            let accepted = seen.is_ok() && server.horizon.accept(*timestamp).is_ok();
            assert!(!accepted, "{what}: packet {number} is accepted again");
            assert!(!silent || seen.is_err(), "{what}: nothing is said");
        }
        silent
    }

    /// Tries every damage of one file. Returns the number of starts, and of those without a report.
    fn damage(&self, boot: [u8; 16], file: FileName) -> [usize; 2] {
        let whole = self.disk.clone().read(file).unwrap();
        let mut counts = [0, 0];
        let mut check = |what: &str, bytes: Vec<u8>| {
            if bytes != whole {
                counts[0] += 1;
                counts[1] += usize::from(self.check(boot, file, what, bytes));
            }
        };
        // Beyond it there are zeros, or ignored bytes.
        let last = whole.iter().rposition(|byte| *byte != 0).unwrap_or(0) / RECORD_LEN + 3;
        let busy = |place: usize| place / RECORD_LEN < last;
        for length in
            (0..whole.len()).filter(|at| busy(*at) || at % 61 == 0 || at % RECORD_LEN == 0)
        {
            check(&format!("cut off at {length}"), whole[..length].to_vec());
        }
        let is_journal = matches!(file, FileName::JournalA | FileName::JournalB);
        for bit in (0..whole.len() * 8).filter(|bit| match is_journal {
            true => busy(bit / 8) || bit % 8 == 0,
            false => bit / 8 % 4096 < 2 * RECORD_LEN || bit % 999 == 0,
        }) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            check(&format!("bit {bit} flipped"), bytes);
        }
        let slots = whole.len() / RECORD_LEN;
        let pairs = (0..slots.min(last))
            .flat_map(|one| (0..slots.min(last)).map(move |other| (one, other)));
        for (one, other) in pairs {
            let at = |slot: usize| slot * RECORD_LEN..(slot + 1) * RECORD_LEN;
            let mut bytes = whole.clone();
            bytes.copy_within(at(one), other * RECORD_LEN);
            check(&format!("slot {one} copied over {other}"), bytes.clone());
            bytes[at(one)].copy_from_slice(&whole[at(other)]);
            check(&format!("slots {one} and {other} swapped"), bytes);
            if one <= other {
                let mut bytes = whole.clone();
                bytes[one * RECORD_LEN..(other + 1) * RECORD_LEN].fill(0);
                check(&format!("slots {one} to {other} zeroed"), bytes);
            }
        }
        for (moment, files) in self.snapshots.iter().enumerate() {
            let place = ALL_FILES.iter().position(|other| *other == file).unwrap();
            let old = &files[place];
            check(&format!("as it was at moment {moment}"), old.clone());
            for block in [64, 512, 4096] {
                for start in (0..whole.len()).step_by(block) {
                    let mut bytes = whole.clone();
                    let end = (start + block).min(whole.len());
                    for (to, from) in bytes[start..end]
                        .iter_mut()
                        .zip(old.get(start..).unwrap_or(&[]))
                    {
                        *to = *from;
                    }
                    check(
                        &format!("{block} bytes at {start} as at moment {moment}"),
                        bytes,
                    );
                }
            }
        }
        for extra in [1, RECORD_LEN] {
            let mut bytes = whole.clone();
            bytes.resize(whole.len() + extra, 0x55);
            check(&format!("{extra} bytes more"), bytes);
        }
        counts
    }
}

fn sighting() -> Sighting {
    Sighting {
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        boot: BootTime::from_micros(1),
    }
}

fn every_damage(cleanly: bool, boot: [u8; 16]) {
    // Few packets, and enough for a compaction.
    let past = ServerHistory::new(8, cleanly);
    for file in ALL_FILES {
        if boot != BOOT && matches!(file, FileName::Memory | FileName::Proof) {
            continue;
        }
        let [starts, silent] = past.damage(boot, file);
        println!(
            "{}: {starts} damaged starts, {silent} of them harmless",
            file.as_str()
        );
    }
    // Undamaged it is trusted, if it should be.
    let disk = past.disk.copy();
    if boot != BOOT {
        disk.cut_power(&mut |_| 3);
    }
    let silent = open(&disk, boot, 1062).state.take_events().is_empty();
    assert_eq!(silent, cleanly || boot == BOOT, "no false alarm");
}

#[test]
fn no_damage_of_one_file_lets_a_packet_act_twice_after_a_kill_in_the_same_boot() {
    every_damage(false, BOOT);
}

#[test]
fn no_damage_of_one_file_lets_a_packet_act_twice_after_a_clean_stop_in_the_same_boot() {
    every_damage(true, BOOT);
}

#[test]
fn no_damage_of_one_file_lets_a_packet_act_twice_after_a_kill_and_a_new_boot() {
    every_damage(false, [2; 16]);
}

#[test]
fn no_damage_of_one_file_lets_a_packet_act_twice_after_a_clean_stop_and_a_new_boot() {
    every_damage(true, [2; 16]);
}

/// The record was written without its count, or neither was: no false alarm, and used.
#[test]
fn killed_between_record_and_proof_the_start_is_trusted_and_the_packet_used() {
    for calls in 1..=4 {
        let past = ServerHistory::new(3, false);
        let disk = past.disk.copy();
        let mut server = open(&disk, BOOT, 1040);
        let record = JournalRecord::Nonce {
            id: KeyId::from_bytes(CLIENT),
            nonce: nonce(200),
            timestamp: now(1041).wall,
        };
        disk.die_after(calls);
        let written = server.state.append(&record).is_ok();
        disk.revive();
        let mut again = open(&disk, BOOT, 1041);
        assert!(again.state.take_events().is_empty(), "{calls}");
        let id = KeyId::from_bytes(CLIENT);
        let seen = again
            .cache
            .screen(id, &nonce(200), now(1041).wall, sighting());
        assert!(!written || seen.is_err(), "{calls}");
    }
}

#[test]
fn killed_anywhere_in_a_compaction_the_start_is_trusted() {
    for calls in 1..40 {
        let past = ServerHistory::new(8, false);
        let disk = past.disk.copy();
        let mut server = open(&disk, BOOT, 1062);
        disk.die_after(calls);
        let _ = server.state.rewrite(&server.cache, []);
        disk.revive();
        let mut again = open(&disk, BOOT, 1063);
        assert_eq!(again.state.take_events(), [], "dead after {calls} calls");
    }
}

#[test]
fn a_journal_of_an_earlier_format_is_an_unclean_start_that_says_so() {
    let past = ServerHistory::new(3, true);
    let mut bytes = vec![0; 32 * RECORD_LEN];
    bytes[0] = 1;
    bytes[7] = 9;
    let check = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&check.to_be_bytes());
    let disk = past.disk.copy();
    disk.replace_file(FileName::JournalA, bytes);
    disk.replace_file(FileName::JournalB, vec![0; 32 * RECORD_LEN]);
    let events = open(&disk, BOOT, 1062).state.take_events();
    assert!(
        events[0]
            .to_string()
            .contains("an earlier version of spad wrote it"),
        "{events:?}"
    );
}
