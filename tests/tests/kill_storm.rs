//! A kill storm: engine, firewall writer and command runner are killed, stopped and hung by
//! chance, under packets and replays. Nothing acts twice, no grant outlives its time, and the
//! service is back each time.
//!
//! The long form: `STORM_KILLS=250 cargo test -p spa-tests --test kill_storm -- --nocapture`.
//! `SEED=N` repeats a run, as far as the machine lets it.
#![expect(
    clippy::expect_used,
    reason = "the whole crate is tests; clippy.toml exempts only #[test] functions themselves"
)]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use spa_tests::chance::{Chance, number};
use spa_tests::crowd;
use spa_tests::reach::{self, Reach};
use spa_tests::settings::{Settings, WEB};
use spa_tests::spad::Spad;
use spa_tests::wait;
use spa_tests::world::World;

/// As long as each grant lasts.
const TTL: Duration = Duration::from_secs(2);
/// The kernel's timers, and the time between two looks at a loaded machine.
const SLACK: Duration = Duration::from_millis(900);
/// A packet that acted so long ago is none that the network doubled.
const COPY: Duration = Duration::from_millis(1100);
/// What the service manager and a start may take.
const BACK: Duration = Duration::from_secs(30);
/// What continuous integration has for it.
const SHORT: Duration = Duration::from_secs(35);

/// The kinds of senders' addresses.
const GENUINE: u8 = 1;
const REPLAY: u8 = 2;

/// What was sent, and what the kernel was seen to do.
#[derive(Default)]
struct Ledger {
    sent: BTreeMap<u32, Vec<u8>>,
    /// When each genuine packet's address was first seen to be let in.
    opened: BTreeMap<u32, Instant>,
    replays: u32,
    broken: Vec<String>,
}

impl Ledger {
    /// A packet that was seen to act, long enough ago.
    fn used(&self, chance: &mut Chance) -> Option<Vec<u8>> {
        let newest = *self.opened.keys().next_back()?;
        let from = u32::try_from(chance.below(usize::try_from(newest).ok()? + 1)).ok()?;
        let (number, since) = self.opened.range(from..).next()?;
        (since.elapsed() > COPY).then(|| self.sent.get(number).cloned())?
    }

    /// Sets what the kernel holds against what may be.
    fn look(&mut self, held: &BTreeMap<Ipv4Addr, Duration>) {
        for (address, left) in held {
            let number = u32::from_be_bytes(address.octets()) & 0x000f_ffff;
            if crowd::kind(*address) == REPLAY {
                self.broken
                    .push(format!("a used packet opened again, for {address}"));
                continue;
            }
            let first = self.opened.entry(number).or_insert_with(wait::now);
            if *left > TTL || first.elapsed() > TTL + SLACK {
                let age = first.elapsed();
                self.broken.push(format!(
                    "{address} is let in after {age:?}, for {left:?} more"
                ));
            }
        }
    }
}

/// Sends a fresh packet each few milliseconds, and used ones beside it.
fn send(world: &World, ledger: &Mutex<Ledger>, stop: &AtomicBool, mut chance: Chance) {
    let request = spa_tests::identity::open(&["tcp/8080"]);
    world.lab.client.enter(|| {
        let mut number = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            let packet = world.laptop.seal(&request);
            number += 1;
            let used: Vec<_> = {
                let mut ledger = ledger.lock().expect("the ledger");
                let _ = ledger.sent.insert(number, packet.clone());
                (0..3).filter_map(|_| ledger.used(&mut chance)).collect()
            };
            crowd::send_from(crowd::address(GENUINE, number), &packet);
            for packet in used {
                let mut ledger = ledger.lock().expect("the ledger");
                ledger.replays += 1;
                crowd::send_from(crowd::address(REPLAY, ledger.replays), &packet);
            }
            std::thread::sleep(Duration::from_millis(12));
        }
    });
}

/// Looks at the kernel's set, and tries the hidden port without a grant.
fn watch(world: &World, ledger: &Mutex<Ledger>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let held = crowd::let_in(&world.lab.server);
        let seen = reach::tcp(&world.lab.client, spa_tests::lab::SERVER4.into(), WEB);
        let mut ledger = ledger.lock().expect("the ledger");
        ledger.look(&held);
        if seen == Reach::Open {
            ledger
                .broken
                .push("a stranger reached the hidden port".to_owned());
        }
        drop(ledger);
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One blow by chance; tells what it was.
fn strike(spad: &Spad, chance: &mut Chance) -> Option<&'static str> {
    let roles = [
        "run",
        "run",
        "firewall-writer",
        "firewall-writer",
        "command-runner",
    ];
    let role = *chance.pick(&roles);
    let processes = spad.processes();
    let (id, _) = processes.iter().find(|(_, is)| is == role)?;
    let id = Pid::from_raw(*id)?;
    let hang = chance.within(Duration::from_millis(2500));
    let signals = |list: &[Signal]| {
        for signal in list {
            let _ = kill_process(id, *signal);
            if *signal == Signal::STOP {
                std::thread::sleep(hang);
            }
        }
    };
    Some(match chance.below(8) {
        0..4 => {
            signals(&[Signal::KILL]);
            "killed"
        }
        4 => {
            signals(&[Signal::TERM]);
            "terminated"
        }
        5 | 6 => {
            signals(&[Signal::STOP, Signal::CONT]);
            "hung for a while"
        }
        _ => {
            signals(&[Signal::STOP, Signal::KILL]);
            "hung, then killed"
        }
    })
}

/// Starts it again where it has ended, as a service manager does.
fn tend(spad: &mut Spad) -> bool {
    let ended = spad.process().ended().is_some();
    if ended {
        spad.end_rest();
        spad.spawn();
    }
    ended
}

#[test]
fn whoever_is_killed_or_hangs_nothing_acts_twice_and_every_grant_ends_on_time() {
    let kills = number("STORM_KILLS");
    let mut chance = Chance::from_environment();
    let mut world = World::stopped(&Settings {
        max_per_client: 1000,
        ..Settings::default()
    });
    let file = world.spad.config().join("spad.toml");
    let toml = std::fs::read_to_string(&file).expect("spad.toml");
    let runner = "[commands]\nnothing = { argv = [\"/bin/true\"], user = \"daemon\" }\n";
    std::fs::write(&file, toml + runner).expect("spad.toml");
    crowd::gather(&world.lab);
    world.spad.start();
    // The killer has the server for itself, the others look at the rest of the world.
    let mut spad = std::mem::replace(
        &mut world.spad,
        Spad::init(
            &world.lab.server,
            &world.lab.path().join("other"),
            &Settings::default(),
        ),
    );
    let ledger = Mutex::new(Ledger::default());
    let stop = AtomicBool::new(false);
    let start = wait::now();
    let mut blows: BTreeMap<&str, u32> = BTreeMap::new();
    let mut starts = 1;
    let mut longest = Duration::ZERO;
    std::thread::scope(|scope| {
        let _stopped = Stop(&stop);
        let senders = chance.clone();
        let (world, ledger, stop) = (&world, &ledger, &stop);
        let _ = scope.spawn(move || send(world, ledger, stop, senders));
        let _ = scope.spawn(move || watch(world, ledger, stop));
        let mut killed = 0;
        while kills.map_or(start.elapsed() < SHORT, |kills| killed < kills) {
            std::thread::sleep(chance.within(Duration::from_millis(700)));
            let Some(how) = strike(&spad, &mut chance) else {
                starts += u32::from(tend(&mut spad));
                continue;
            };
            killed += 1;
            *blows.entry(how).or_default() += 1;
            // Some blows come before it is back.
            if chance.below(5) == 0 {
                continue;
            }
            let since = wait::now();
            let (sent, _) = newest(ledger, &spad);
            loop {
                starts += u32::from(tend(&mut spad));
                if newest(ledger, &spad).1 > sent {
                    break;
                }
                assert!(
                    since.elapsed() < BACK,
                    "no packet opens any more\n{}",
                    spad.said()
                );
                std::thread::sleep(Duration::from_millis(20));
            }
            longest = longest.max(since.elapsed());
        }
    });
    let ledger = ledger.into_inner().expect("the ledger");
    assert!(ledger.broken.is_empty(), "{:?}", ledger.broken);
    println!(
        "{:?}: {blows:?}, {starts} starts, back within {longest:?}; {} packets, {} seen to act; {} replays, none acted",
        start.elapsed(),
        ledger.sent.len(),
        ledger.opened.len(),
        ledger.replays
    );
    assert!(ledger.opened.len() > 50 && ledger.replays > 100 && starts > 3);
}

/// The newest packet sent, and the newest seen to act. Fails if anything was broken by then.
#[track_caller]
fn newest(ledger: &Mutex<Ledger>, spad: &Spad) -> (Option<u32>, Option<u32>) {
    let ledger = ledger.lock().expect("the ledger");
    assert!(
        ledger.broken.is_empty(),
        "{:?}\n{}",
        ledger.broken,
        spad.said()
    );
    let last = |key: Option<&u32>| key.copied();
    (
        last(ledger.sent.keys().next_back()),
        last(ledger.opened.keys().next_back()),
    )
}

/// Ends the other threads, also when a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
