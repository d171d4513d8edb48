//! A run directory that takes nothing is reported, at the beginning and the end, and nothing ends for it.

use std::time::Duration;

use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// Whatever stands after it has its two files of the run directory $2 on a file system in $1
/// that is full, with nothing in them.
const FULL: &str = r#"mkdir -p "$1" && mount -t tmpfs -o size=8k,mode=755 none "$1" || exit
for file in horizon.memory journal.proof; do
    touch "$1/$file" && chown --reference="$2/$file" "$1/$file" && chmod 600 "$1/$file" && mount --bind "$1/$file" "$2/$file" || exit
done
head -c 8192 /dev/zero > "$1/filler"; shift 2; exec "$@""#;

#[test]
fn a_full_run_directory_is_reported_once_at_each_end_and_shuts_nothing_down() {
    let mut bed = TestBed::with(&Settings::ttl("1s"));
    bed.spad.stop();
    let full = bed.lab.path().join("full");
    let run = bed.spad.config().with_file_name("run");
    let (full_text, run) = (full.display().to_string(), run.display().to_string());
    bed.spad
        .set_wrapper(&["sh", "-c", FULL, "sh", &full_text, &run]);
    bed.spad.start();
    // In the mounts of the daemon.
    let inside = format!("/proc/{}/root", bed.spad.process().id());
    let filler = full.join("filler");
    let filler = std::path::Path::new(&inside).join(filler.strip_prefix("/").expect("absolute"));
    let warnings = || bed.spad.status()["warnings"].to_string();
    let lines = |text: &str| bed.spad.output().matches(text).count();
    let began = "journal.proof of the run directory (No space left on device";
    wait::within(Duration::from_secs(6), "it is noticed", || {
        warnings().contains(began).then_some(())
    });
    assert_eq!(lines(began), 1, "{}", bed.spad.output());
    let packet = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&packet, "opened");
    bed.wait_closed(WEB);
    std::fs::remove_file(&filler).expect("what fills it");
    let over = "files of the run directory are found and written again";
    wait::within(Duration::from_secs(15), "it is written again", || {
        (lines(over) == 1).then_some(())
    });
    assert_eq!(warnings(), "[]");
    assert_eq!(lines(began), 1, "{}", bed.spad.output());
}

/// Whoever cuts its files off does not end the daemon, which writes them whole again.
#[test]
fn files_of_the_run_directory_that_are_cut_off_end_nothing_and_are_written_again() {
    let mut bed = TestBed::with(&Settings::ttl("1s"));
    let run = bed.spad.config().with_file_name("run");
    for file in ["horizon.memory", "journal.proof"] {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(run.join(file))
            .expect("a file of the run directory");
        file.set_len(0).expect("it is cut off");
    }
    let packet = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&packet, "opened");
    bed.wait_closed(WEB);
    bed.spad.kill();
    bed.spad.start();
    assert!(
        !bed.spad.output().contains("not clean"),
        "{}",
        bed.spad.output()
    );
    bed.send_counted(&packet, "replay");
}
