//! No packet is acted upon twice, whatever happens between.

use std::time::{Duration, Instant};

use spa_proto::{Randomness, Timestamp};
use spa_tests::identity::open;
use spa_tests::lab::{CLIENT4, SERVER4, STRANGER4};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{CHAT, SPA_PORT, Settings, WEB};
use spa_tests::tap::Tap;
use spa_tests::test_bed::TestBed;
use spa_tests::{attacker, wait};

/// Waits until a packet counted `since` is a replay, no longer one that the
/// network doubled. The kernel's timers may end a grant of a second a tick early.
fn until_a_copy_is_a_replay(since: Instant) {
    wait::until_after(since, Duration::from_millis(1100));
}

/// A world in which this packet was used and its grant is over.
fn opened_once() -> (TestBed, Vec<u8>) {
    let bed = TestBed::with(&Settings::ttl("1s"));
    let packet = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&packet, "opened");
    let counted = wait::now();
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    bed.wait_closed(WEB);
    until_a_copy_is_a_replay(counted);
    (bed, packet)
}

/// Sends the used packet; whatever the reason, it must not open anything.
#[track_caller]
fn assert_refused(bed: &TestBed, packet: &[u8]) {
    let before = bed.spad.verdicts();
    bed.send(packet);
    let after = wait::eventually("the packet gets its verdict", || {
        let after = bed.spad.verdicts();
        (after.values().sum::<u64>() > before.values().sum::<u64>()).then_some(after)
    });
    assert_eq!(after.get("opened"), before.get("opened"), "{after:?}");
    bed.stays_closed(WEB, Duration::from_millis(200));
}

#[test]
fn the_same_packet_at_once_is_a_duplicate_and_renews_nothing() {
    let bed = TestBed::with(&Settings::ttl("1s"));
    let packet = bed.laptop.open(&["tcp/8080"]);
    let endpoints = spa_tests::frame::Endpoints::new((CLIENT4, 41_000), (SERVER4, SPA_PORT));
    let frame = spa_tests::frame::datagram(endpoints, &packet);
    spa_tests::tap::inject(&bed.lab.client, &[frame.clone(), frame]);
    bed.spad.wait_verdict_count("opened", 1);
    bed.spad.wait_verdict_count("duplicate", 1);
    bed.wait_closed(WEB);
}

#[test]
fn a_captured_packet_opens_nothing_later() {
    let bed = TestBed::with(&Settings::ttl("1s"));
    let tap = Tap::start(&bed.lab.client);
    bed.open(&["tcp/8080"]);
    let opened = wait::now();
    let captured = tap.datagram_to(SPA_PORT);
    bed.wait_closed(WEB);
    until_a_copy_is_a_replay(opened);
    bed.send_counted(&captured, "replay");
    bed.stays_closed(WEB, Duration::from_millis(200));
}

#[test]
fn a_captured_packet_opens_nothing_for_another_address() {
    let (bed, packet) = opened_once();
    bed.send_as_stranger(&packet);
    bed.spad.wait_verdict_count("replay", 1);
    let seen = bed
        .lab
        .client
        .enter(|| reach::udp_from(STRANGER4.into(), SERVER4.into(), CHAT));
    assert_eq!(seen, Reachability::Refused);
    bed.stays_closed(WEB, Duration::from_millis(200));
}

/// The used packet is a replay after this too, and a fresh one opens.
#[track_caller]
fn still_used_after(what: impl FnOnce(&mut TestBed)) {
    let (mut bed, packet) = opened_once();
    what(&mut bed);
    bed.send_counted(&packet, "replay");
    bed.stays_closed(WEB, Duration::from_millis(200));
    bed.open(&["tcp/8080"]);
}

#[test]
fn a_used_packet_opens_nothing_after_a_restart() {
    still_used_after(|bed| {
        bed.spad.stop();
        bed.spad.start();
    });
}

#[test]
fn a_used_packet_opens_nothing_after_kill_minus_nine() {
    still_used_after(|bed| {
        bed.spad.kill();
        bed.spad.start();
    });
}

#[test]
fn a_packet_used_a_moment_before_kill_minus_nine_opens_nothing() {
    let mut bed = TestBed::with(&Settings::ttl("1s"));
    let packet = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&packet, "opened");
    bed.spad.kill();
    bed.spad.start();
    bed.wait_closed(WEB);
    assert_refused(&bed, &packet);
}

/// The machine crashes after this packet was used, which must not open anything then.
#[track_caller]
fn used_before_a_machine_crash(packet: impl FnOnce(&TestBed) -> Vec<u8>) {
    let mut bed = TestBed::with(&Settings::ttl("1s"));
    // What was written since was not synced: the crash takes it away.
    let journal = snapshot_journals(&bed);
    let packet = packet(&bed);
    bed.send_counted(&packet, "opened");
    bed.wait_closed(WEB);
    bed.spad.kill();
    restore_journals(&journal);
    bed.spad.fake_new_boot();
    bed.spad.start();
    assert_refused(&bed, &packet);
}

#[test]
fn a_used_packet_opens_nothing_after_a_machine_crash() {
    used_before_a_machine_crash(|bed| bed.laptop.open(&["tcp/8080"]));
}

#[test]
fn a_used_packet_of_a_client_fifty_seconds_fast_opens_nothing_after_a_machine_crash() {
    used_before_a_machine_crash(|bed| {
        let fast = wait::wall().saturating_add(Duration::from_secs(50));
        bed.laptop.seal_at(&open(&["tcp/8080"]), fast)
    });
}

#[test]
fn a_used_packet_opens_nothing_after_the_journal_was_lost() {
    let (mut bed, packet) = opened_once();
    bed.spad.stop();
    for entry in std::fs::read_dir(bed.spad.state())
        .expect("the state directory")
        .flatten()
    {
        if entry.file_name().to_string_lossy().contains("journal") {
            std::fs::remove_file(entry.path()).expect("the journal");
        }
    }
    bed.spad.start();
    assert_refused(&bed, &packet);
}

#[test]
fn honest_packets_pass_again_soon_after_a_machine_crash() {
    // The horizon stands at most skew + 25 s ahead, moved every 10 s. `spad init`
    // made it with the usual skew of a minute.
    let mut bed = TestBed::with(&Settings {
        max_skew: "1s",
        ..Settings::ttl("1s")
    });
    let _ = bed.spad.cli(&["replay", "reset", "--yes"]).ok();
    bed.spad.kill();
    bed.spad.fake_new_boot();
    bed.spad.start();
    wait::within(Duration::from_secs(41), "an honest packet opens", || {
        bed.send(&bed.laptop.open(&["tcp/8080"]));
        (bed.tcp(WEB) == Reachability::Open).then_some(())
    });
}

#[test]
fn honest_packets_pass_at_once_after_a_clean_stop_and_a_new_boot() {
    still_used_after(|bed| {
        bed.spad.stop();
        bed.spad.fake_new_boot();
        bed.spad.start();
    });
}

#[test]
fn a_used_packet_opens_nothing_after_max_skew_was_raised() {
    let settings = Settings {
        max_skew: "1s",
        ..Settings::ttl("1s")
    };
    let bed = TestBed::with(&settings);
    let packet = bed.laptop.open(&["tcp/8080"]);
    bed.send(&packet);
    let sent = wait::now();
    bed.spad.wait_verdict_count("opened", 1);
    bed.wait_closed(WEB);
    wait::until_after(sent, Duration::from_millis(2500));
    // Another packet gives the cache occasion to forget the first.
    bed.send_counted(&bed.laptop.open(&["udp/9999"]), "opened");
    bed.spad.configure(&Settings {
        max_skew: "60s",
        ..Settings::ttl("1s")
    });
    bed.spad.reload();
    assert_refused(&bed, &packet);
}

#[test]
fn used_packets_open_nothing_after_the_cache_was_full() {
    let bed = TestBed::with(&Settings::ttl("1s"));
    let start = wait::wall();
    let at = |index: u64| start.saturating_add(Duration::from_millis(index));
    let packets: Vec<Vec<u8>> = (0..1100)
        .map(|index| bed.laptop.seal_at(&open(&["tcp/8080"]), at(index)))
        .collect();
    for batch in packets.chunks(50) {
        bed.send_all(batch);
    }
    bed.wait_closed(WEB);
    for packet in [
        &packets[0],
        &packets[40],
        &packets[80],
        &packets[600],
        &packets[1099],
    ] {
        assert_refused(&bed, packet);
    }
}

#[test]
fn the_head_of_a_used_packet_with_another_rest_opens_nothing() {
    let (bed, packet) = opened_once();
    bed.send_as_stranger(&attacker::copy_head(&packet));
    bed.spad.wait_verdict_count("replay", 1);
    bed.stays_closed(WEB, Duration::from_millis(200));
}

#[test]
fn the_same_nonce_is_refused_whatever_stands_in_the_packet() {
    let bed = TestBed::with(&Settings::ttl("1s"));
    let randomness = Randomness {
        nonce: [7; 24],
        length: 0,
    };
    let now = wait::wall();
    bed.send_counted(
        &bed.laptop.seal_with(&open(&["tcp/8080"]), now, &randomness),
        "opened",
    );
    until_a_copy_is_a_replay(wait::now());
    bed.wait_closed(WEB);
    let later = now.saturating_add(Duration::from_secs(1));
    bed.send_counted(
        &bed.laptop
            .seal_with(&open(&["udp/9999"]), later, &randomness),
        "replay",
    );
    assert_eq!(bed.udp(CHAT), Reachability::Refused);
}

#[test]
fn a_removed_client_that_is_added_again_brings_no_old_packet_back() {
    let (bed, packet) = opened_once();
    let _ = bed.new_client("desk", "web,ssh,chat", "");
    let _ = bed.spad.cli(&["client", "remove", "laptop"]).ok();
    bed.add_client("laptop", &bed.laptop, "ssh,web,chat");
    bed.spad.reload();
    assert_refused(&bed, &packet);
    bed.open(&["tcp/8080"]);
}

#[test]
fn a_refused_packet_is_used_up_too() {
    let bed = TestBed::with(&Settings::ttl("1s"));
    let future = wait::wall().saturating_add(Duration::from_secs(62));
    let packet = bed.laptop.seal_at(&open(&["tcp/8080"]), future);
    bed.send_counted(&packet, "future");
    wait::until_after(wait::now(), Duration::from_millis(3000));
    // Now its time would be right.
    assert!(future.abs_diff(wait::wall()) < Duration::from_secs(60));
    assert_refused(&bed, &packet);
}

#[test]
fn packets_of_the_first_and_the_last_moment_are_refused_and_harm_nothing() {
    let bed = TestBed::with(&Settings::ttl("1s"));
    for (micros, reason) in [(0, "stale"), (u64::MAX, "future")] {
        bed.send_counted(
            &bed.laptop
                .seal_at(&open(&["tcp/8080"]), Timestamp::from_micros(micros)),
            reason,
        );
    }
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    bed.open(&["tcp/8080"]);
}

/// The journal's files as they are on the disk now.
fn snapshot_journals(bed: &TestBed) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(bed.spad.state())
        .expect("the state directory")
        .flatten();
    let journals: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && path.to_string_lossy().contains("journal"))
        .map(|path| (path.clone(), std::fs::read(&path).expect("a journal")))
        .collect();
    assert!(!journals.is_empty(), "no journal in the state directory");
    journals
}

fn restore_journals(kept: &[(std::path::PathBuf, Vec<u8>)]) {
    let written = |(path, bytes): &(std::path::PathBuf, Vec<u8>)| {
        &std::fs::read(path).expect("a journal") != bytes
    };
    assert!(kept.iter().any(written), "nothing was written since");
    for (path, bytes) in kept {
        std::fs::write(path, bytes).expect("a journal");
    }
}
