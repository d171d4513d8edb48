//! No packet acts twice when some files of the state are older than others.
//!
//! This covers a mirror that lagged for some blocks, and a partly restored backup: every
//! subset of the files from every earlier moment, with the current rest. It is tested in the
//! same boot, with and without the run directory, and in the next. No start can notice all
//! files of one clean stop without that boot's run directory: docs/operating.md, "Fix a
//! disk or a lost state".

use super::damage_tests::{BOOT, ServerHistory};
use super::disk::{ALL_FILES, FileName, RUN_FILES, STATE_FILES};

/// Indices of the clean stops in [`ServerHistory::snapshots`]: at creation, and after the first life.
const CLEAN_STOPS: [usize; 2] = [0, 1];

fn every_subset(cleanly: bool, boot: [u8; 16], with_run: bool) {
    let past = ServerHistory::new(8, cleanly);
    let now = ServerHistory::files(&past.disk);
    let place = |file: FileName| ALL_FILES.iter().position(|other| *other == file).unwrap();
    let [mut starts, mut silent, mut whole] = [0, 0, 0];
    for (moment, before) in past.snapshots.iter().enumerate() {
        for subset in 1..16_u32 {
            let is_older = |index: usize| subset >> index & 1 == 1;
            let older = (0..).zip(STATE_FILES).filter(|(index, _)| is_older(*index));
            let mut files: Vec<_> = older
                .map(|(_, file)| (file, before[place(file)].clone()))
                .collect();
            let all = (0..)
                .zip(STATE_FILES)
                .all(|(index, file)| is_older(index) || before[place(file)] == now[place(file)]);
            if all && !with_run && CLEAN_STOPS.contains(&moment) {
                whole += 1;
                continue;
            }
            if !with_run {
                files.extend(RUN_FILES.map(|file| (file, Vec::new())));
            }
            let names: Vec<_> = files.iter().map(|(file, _)| file.as_str()).collect();
            let what = format!("{names:?} as at moment {moment}");
            starts += 1;
            silent += usize::from(past.check_all(boot, &what, files));
        }
    }
    println!("{starts} starts with older files, {silent} of them harmless");
    assert!(starts > 100 && silent * 4 < starts * 3);
    assert!(with_run || whole == CLEAN_STOPS.len());
}

#[test]
fn no_older_files_let_a_packet_act_twice_in_the_same_boot() {
    every_subset(false, BOOT, true);
    every_subset(true, BOOT, true);
}

#[test]
fn no_older_files_let_a_packet_act_twice_in_the_same_boot_without_the_run_directory() {
    every_subset(false, BOOT, false);
    every_subset(true, BOOT, false);
}

#[test]
fn no_older_files_let_a_packet_act_twice_after_a_kill_and_a_new_boot() {
    every_subset(false, [2; 16], false);
}

#[test]
fn no_older_files_let_a_packet_act_twice_after_a_clean_stop_and_a_new_boot() {
    every_subset(true, [2; 16], false);
}
