//! With `[listen] threads` above one: the same verdicts, each packet judged once.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spa_keys::ServerSecret;
use spa_tests::attacker::{self, copy_head, random_packet};
use spa_tests::identity::Identity;
use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6, STRANGER4, STRANGER6};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{SPA_PORT, Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

const THREADS: u32 = 4;

/// Addresses at the client's machine, and the server's of the same family.
const ROUTES: [(IpAddr, IpAddr); 4] = [
    (IpAddr::V4(CLIENT4), IpAddr::V4(SERVER4)),
    (IpAddr::V6(CLIENT6), IpAddr::V6(SERVER6)),
    (IpAddr::V4(STRANGER4), IpAddr::V4(SERVER4)),
    (IpAddr::V6(STRANGER6), IpAddr::V6(SERVER6)),
];

fn several() -> Settings {
    Settings {
        threads: Some(THREADS),
        ttl: "30s",
        ..Settings::default()
    }
}

/// Sends each packet from a port of its own, in turn over all ways.
fn send(bed: &TestBed, packets: &[Vec<u8>]) {
    for (packet, (source, server)) in packets.iter().zip(ROUTES.iter().cycle()) {
        let destination = SocketAddr::new(*server, SPA_PORT);
        attacker::send(&bed.lab.client, *source, destination, packet);
    }
}

/// Waits until so many packets have their verdict, and gives all verdicts a little later.
fn verdicts(bed: &TestBed, count: u64) -> BTreeMap<String, u64> {
    wait::eventually("all get their verdict", || {
        (bed.spad.verdicts().values().sum::<u64>() >= count).then_some(())
    });
    wait::until_after(wait::now(), Duration::from_millis(200));
    bed.spad.verdicts()
}

fn only(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts
        .iter()
        .map(|(reason, count)| ((*reason).to_owned(), *count))
        .collect()
}

#[test]
fn genuine_packets_from_many_places_open_over_both_families_and_each_is_judged_once() {
    let bed = TestBed::with(&several());
    let packets: Vec<_> = (0..64).map(|_| bed.laptop.open(&["tcp/8080"])).collect();
    send(&bed, &packets);
    assert_eq!(verdicts(&bed, 64), only(&[("opened", 64)]));
    let client = &bed.lab.client;
    assert_eq!(reach::tcp(client, SERVER4.into(), WEB), Reachability::Open);
    assert_eq!(reach::tcp(client, SERVER6.into(), WEB), Reachability::Open);
    let status = bed.spad.status();
    let number = |name: &str| status.get(name).and_then(serde_json::Value::as_u64);
    assert_eq!(number("capture_threads"), Some(THREADS.into()));
    assert_eq!(number("captured"), Some(64));
    assert_eq!(number("capture_dropped"), Some(0));
}

#[test]
fn forged_packets_are_counted_to_the_last_one_and_leave_no_line() {
    let bed = TestBed::with(&several());
    let lines = bed.spad.audit().len();
    let forged: Vec<_> = (0..352).map(|index| random_packet(160 + index)).collect();
    send(&bed, &forged);
    assert_eq!(verdicts(&bed, 352), only(&[("head_tag", 352)]));
    assert_eq!(bed.spad.audit().len(), lines);
    // A right head is no pass: the engine's thread judges the rest.
    let genuine = bed.laptop.open(&["tcp/8080"]);
    let unknown = Identity::new(&bed.server_public).open(&["tcp/8080"]);
    send(&bed, &[copy_head(&genuine), unknown]);
    let expected = only(&[("head_tag", 352), ("hmac", 1), ("unknown_key", 1)]);
    assert_eq!(verdicts(&bed, 354), expected);
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    bed.send_counted(&genuine, "opened");
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn a_replayed_packet_is_refused_whichever_thread_it_comes_to() {
    let bed = TestBed::with(&several());
    let packet = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&packet, "opened");
    wait::until_after(wait::now(), Duration::from_millis(1100));
    // A port of its own for each: all threads get some.
    send(&bed, &vec![packet; 32]);
    assert_eq!(verdicts(&bed, 33), only(&[("opened", 1), ("replay", 32)]));
}

#[test]
fn genuine_knocks_open_in_the_midst_of_a_flood_of_replayed_packets() {
    let bed = TestBed::with(&several());
    // Right heads, which the sieves let pass: they share the queue with the genuine ones.
    let used: Vec<_> = (0..64).map(|_| bed.laptop.open(&["tcp/8080"])).collect();
    send(&bed, &used);
    let _ = verdicts(&bed, 64);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = StopOnDrop(&done);
        for (source, server) in ROUTES {
            let (used, lab, done) = (&used, &bed.lab, &done);
            scope.spawn(move || {
                let all: Vec<_> = used.iter().cycle().take(2048).map(Vec::as_slice).collect();
                while !done.load(Ordering::Relaxed) {
                    attacker::send_all(&lab.client, source, (server, SPA_PORT).into(), &all);
                }
            });
        }
        bed.spad.wait_verdict_count("replay", 50_000);
        for _ in 0..20 {
            let chat = || bed.laptop.open(&["udp/9999"]);
            let before = bed.spad.verdict_count("opened");
            // As `spa` does: another one after a while.
            wait::eventually("a knock opens", || {
                bed.send(&chat());
                wait::until_after(wait::now(), Duration::from_millis(300));
                (bed.spad.verdict_count("opened") > before).then_some(())
            });
        }
    });
}

/// Says so however a test ends, or one that fails would never end.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn it_stops_cleanly_in_the_midst_of_traffic_and_starts_again() {
    let mut bed = TestBed::with(&several());
    let done = AtomicBool::new(false);
    let TestBed { spad, lab, .. } = &mut bed;
    std::thread::scope(|scope| {
        let _done = StopOnDrop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let forged = vec![random_packet(200); 100];
                let forged: Vec<_> = forged.iter().map(Vec::as_slice).collect();
                let destination = (SERVER4, SPA_PORT).into();
                attacker::send_all(&lab.client, CLIENT4.into(), destination, &forged);
            }
        });
        spad.wait_verdict_count("head_tag", 1000);
        // Fails unless it ends with success, and all its processes with it.
        spad.stop();
    });
    bed.spad.start();
    // An unclean end would have it refuse honest packets for a while.
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn every_thread_is_confined_as_the_engine_is() {
    let mut bed = TestBed::with(&several());
    let engine = bed.spad.process().id();
    let mut sieves = 0;
    for task in std::fs::read_dir(format!("/proc/{engine}/task")).expect("its threads") {
        let status = task.expect("a thread").path().join("status");
        let status = std::fs::read_to_string(status).expect("its status");
        let has = |line: &str| status.lines().any(|other| other == line);
        sieves += u32::from(status.starts_with("Name:\tsieve-"));
        assert!(has("Seccomp:\t2"), "{status}");
        assert!(has("NoNewPrivs:\t1"), "{status}");
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            assert!(has(&format!("{set}:\t0000000000000000")), "{set}: {status}");
        }
    }
    assert_eq!(sieves, THREADS);
}

#[test]
fn a_new_server_key_reaches_every_thread_by_a_reload() {
    let bed = TestBed::with(&several());
    let old = bed.laptop.open(&["tcp/8080"]);
    let secret = ServerSecret::generate().expect("a key");
    // Into the file that is there: it keeps its owner.
    let file = bed.spad.state().join("server.key");
    std::fs::write(file, format!("{}\n", secret.to_text().as_str())).expect("the server's key");
    let public = bed.spad.public();
    assert_eq!(public, secret.public());
    let desk = Identity::new(&public);
    bed.add_client("desk", &desk, "web");
    bed.spad.reload();
    let packets: Vec<_> = (0..32).map(|_| desk.open(&["tcp/8080"])).collect();
    send(&bed, &packets);
    assert_eq!(verdicts(&bed, 32), only(&[("opened", 32)]));
    send(&bed, &vec![old; 32]);
    let expected = only(&[("head_tag", 32), ("opened", 32)]);
    assert_eq!(verdicts(&bed, 64), expected);
}

#[test]
fn another_number_of_threads_waits_for_a_restart_and_says_so() {
    let bed = TestBed::new();
    bed.spad.configure(&several());
    let output = bed.spad.cli(&["reload"]).ok();
    assert!(
        output.stdout.contains("needs a restart"),
        "{}",
        output.stdout
    );
    let status = bed.spad.status();
    let threads = status.get("capture_threads");
    assert_eq!(threads.and_then(serde_json::Value::as_u64), Some(1));
}
