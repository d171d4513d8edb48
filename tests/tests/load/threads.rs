//! With `[listen] threads` above one: the same verdicts, each packet judged once.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spa_keys::ServerSecret;
use spa_tests::attacker::{self, copy_head, forge};
use spa_tests::identity::Identity;
use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6, STRANGER4, STRANGER6};
use spa_tests::reach::{self, Reach};
use spa_tests::settings::{KNOCK, Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

const THREADS: u32 = 4;

/// Addresses at the client's machine, and the server's of the same family.
const WAYS: [(IpAddr, IpAddr); 4] = [
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
fn send(world: &World, packets: &[Vec<u8>]) {
    for (packet, (source, server)) in packets.iter().zip(WAYS.iter().cycle()) {
        let knock = SocketAddr::new(*server, KNOCK);
        attacker::send(&world.lab.client, *source, knock, packet);
    }
}

/// Waits until so many packets have their verdict, and gives all verdicts a little later.
fn verdicts(world: &World, count: u64) -> BTreeMap<String, u64> {
    wait::soon("all get their verdict", || {
        (world.spad.verdicts().values().sum::<u64>() >= count).then_some(())
    });
    wait::until_after(wait::now(), Duration::from_millis(200));
    world.spad.verdicts()
}

fn only(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts
        .iter()
        .map(|(reason, count)| ((*reason).to_owned(), *count))
        .collect()
}

#[test]
fn genuine_packets_from_many_places_open_over_both_families_and_each_is_judged_once() {
    let world = World::with(&several());
    let packets: Vec<_> = (0..64).map(|_| world.laptop.open(&["tcp/8080"])).collect();
    send(&world, &packets);
    assert_eq!(verdicts(&world, 64), only(&[("opened", 64)]));
    let client = &world.lab.client;
    assert_eq!(reach::tcp(client, SERVER4.into(), WEB), Reach::Open);
    assert_eq!(reach::tcp(client, SERVER6.into(), WEB), Reach::Open);
    let status = world.spad.status();
    let number = |name: &str| status.get(name).and_then(serde_json::Value::as_u64);
    assert_eq!(number("capture_threads"), Some(THREADS.into()));
    assert_eq!(number("captured"), Some(64));
    assert_eq!(number("capture_dropped"), Some(0));
}

#[test]
fn forged_packets_are_counted_to_the_last_one_and_leave_no_line() {
    let world = World::with(&several());
    let lines = world.spad.audit().len();
    let forged: Vec<_> = (0..352).map(|index| forge(160 + index)).collect();
    send(&world, &forged);
    assert_eq!(verdicts(&world, 352), only(&[("head_tag", 352)]));
    assert_eq!(world.spad.audit().len(), lines);
    // A right head is no pass: the engine's thread judges the rest.
    let genuine = world.laptop.open(&["tcp/8080"]);
    let unknown = Identity::new(&world.server_public).open(&["tcp/8080"]);
    send(&world, &[copy_head(&genuine), unknown]);
    let expected = only(&[("head_tag", 352), ("hmac", 1), ("unknown_key", 1)]);
    assert_eq!(verdicts(&world, 354), expected);
    assert_eq!(world.tcp(WEB), Reach::Refused);
    world.send_counted(&genuine, "opened");
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn a_replayed_packet_is_refused_whichever_thread_it_comes_to() {
    let world = World::with(&several());
    let packet = world.laptop.open(&["tcp/8080"]);
    world.send_counted(&packet, "opened");
    wait::until_after(wait::now(), Duration::from_millis(1100));
    // A port of its own for each: all threads get some.
    send(&world, &vec![packet; 32]);
    assert_eq!(verdicts(&world, 33), only(&[("opened", 1), ("replay", 32)]));
}

#[test]
fn genuine_knocks_open_in_the_midst_of_a_flood_of_replayed_packets() {
    let world = World::with(&several());
    // Right heads, which the sieves let pass: they share the queue with the genuine ones.
    let used: Vec<_> = (0..64).map(|_| world.laptop.open(&["tcp/8080"])).collect();
    send(&world, &used);
    let _ = verdicts(&world, 64);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = Done(&done);
        for (source, server) in WAYS {
            let (used, lab, done) = (&used, &world.lab, &done);
            scope.spawn(move || {
                let all: Vec<_> = used.iter().cycle().take(2048).map(Vec::as_slice).collect();
                while !done.load(Ordering::Relaxed) {
                    attacker::send_all(&lab.client, source, (server, KNOCK).into(), &all);
                }
            });
        }
        world.spad.wait_counted("replay", 50_000);
        for _ in 0..20 {
            let chat = || world.laptop.open(&["udp/9999"]);
            let before = world.spad.counted("opened");
            // As `spa` does: another one after a while.
            wait::soon("a knock opens", || {
                world.send(&chat());
                wait::until_after(wait::now(), Duration::from_millis(300));
                (world.spad.counted("opened") > before).then_some(())
            });
        }
    });
}

/// Says so however a test ends, or one that fails would never end.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn it_stops_cleanly_in_the_midst_of_traffic_and_starts_again() {
    let mut world = World::with(&several());
    let done = AtomicBool::new(false);
    let World { spad, lab, .. } = &mut world;
    std::thread::scope(|scope| {
        let _done = Done(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let forged = vec![forge(200); 100];
                let forged: Vec<_> = forged.iter().map(Vec::as_slice).collect();
                let knock = (SERVER4, KNOCK).into();
                attacker::send_all(&lab.client, CLIENT4.into(), knock, &forged);
            }
        });
        spad.wait_counted("head_tag", 1000);
        // Fails unless it ends with success, and all its processes with it.
        spad.stop();
    });
    world.spad.start();
    // An unclean end would have it refuse honest packets for a while.
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn every_thread_is_confined_as_the_engine_is() {
    let mut world = World::with(&several());
    let engine = world.spad.process().id();
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
    let world = World::with(&several());
    let old = world.laptop.open(&["tcp/8080"]);
    let secret = ServerSecret::generate().expect("a key");
    // Into the file that is there: it keeps its owner.
    let file = world.spad.state().join("server.key");
    std::fs::write(file, format!("{}\n", secret.to_text().as_str())).expect("the server's key");
    let public = world.spad.public();
    assert_eq!(public, secret.public());
    let desk = Identity::new(&public);
    world.add("desk", &desk, "web");
    world.spad.reload();
    let packets: Vec<_> = (0..32).map(|_| desk.open(&["tcp/8080"])).collect();
    send(&world, &packets);
    assert_eq!(verdicts(&world, 32), only(&[("opened", 32)]));
    send(&world, &vec![old; 32]);
    let expected = only(&[("head_tag", 32), ("opened", 32)]);
    assert_eq!(verdicts(&world, 64), expected);
}

#[test]
fn another_number_of_threads_waits_for_a_restart_and_says_so() {
    let world = World::new();
    world.spad.configure(&several());
    let said = world.spad.cli(&["reload"]).ok();
    assert!(said.stdout.contains("needs a restart"), "{}", said.stdout);
    let status = world.spad.status();
    let threads = status.get("capture_threads");
    assert_eq!(threads.and_then(serde_json::Value::as_u64), Some(1));
}
