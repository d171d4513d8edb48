//! A kill storm: engine, firewall writer and command runner are killed, stopped and hung by
//! chance, under packets and replays. Nothing acts twice, no grant outlives its time, and the
//! service is back each time.
//!
//! The long form: `STORM_KILLS=250 cargo test -p spa-tests --test it -- kill_storm:: --nocapture`.
//! `SEED=N` repeats a run, as far as the machine lets it.

use std::collections::{BTreeMap, VecDeque};
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
/// A packet that acted so long ago is refused for its age alone: the allowed skew is 60 s.
const YOUNG: Duration = Duration::from_secs(40);
/// What the service manager and a start may take.
const BACK: Duration = Duration::from_secs(30);
/// The same where the start believes in a new boot, and the stop was perhaps not clean.
const BACK_AFTER_BOOT: Duration = Duration::from_secs(130);
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
    /// The last of them.
    young: VecDeque<(Instant, u32)>,
    replays: u32,
    broken: Vec<String>,
}

impl Ledger {
    /// A packet that was seen to act, long enough ago, and not so long that it is stale.
    fn used(&mut self, chance: &mut Chance) -> Option<Vec<u8>> {
        while self
            .young
            .front()
            .is_some_and(|(since, _)| since.elapsed() > YOUNG)
        {
            let _ = self.young.pop_front();
        }
        let old = self
            .young
            .partition_point(|(since, _)| since.elapsed() > COPY);
        let which = (old > 0).then(|| chance.below(old))?;
        let (_, number) = self.young.get(which)?;
        self.sent.get(number).cloned()
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
            let first = self.opened.entry(number).or_insert_with(|| {
                let now = wait::now();
                self.young.push_back((now, number));
                now
            });
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
        let held = crowd::let_in(&world.lab.server).unwrap_or_default();
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

/// How a used packet that arrived is refused, while it is not stale.
const REFUSED: [&str; 4] = ["replay", "duplicate", "below_floor", "below_floor_unnamed"];

/// The server, and what its lives said of used packets.
struct Lives {
    spad: Spad,
    starts: u32,
    /// Starts that were to believe in a new boot.
    boots: u32,
    /// Used packets that were refused, by the life in which they were.
    refused: BTreeMap<u32, u64>,
}

impl Lives {
    /// Starts it again where it has ended, as a service manager does; after a clean stop
    /// each other time as on another boot.
    fn tend(&mut self, chance: &mut Chance) {
        let Some(status) = self.spad.process().ended() else {
            return;
        };
        self.spad.end_rest();
        if status.success() && chance.below(2) == 0 {
            self.boots += 1;
            self.spad.pretend_new_boot();
        }
        self.starts += 1;
        self.spad.spawn();
    }

    /// Asks how many used packets this life has refused. One that does not answer is asked later.
    fn count(&mut self) {
        let answer = self.spad.cli(&["status", "--json"]).stdout;
        let status: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
        let of = |reason: &&str| status["verdicts"][*reason].as_u64().unwrap_or(0);
        let refused: u64 = REFUSED.iter().map(of).sum();
        let most = self.refused.entry(self.starts).or_default();
        *most = refused.max(*most);
    }
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
    let spad = std::mem::replace(
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
    let mut lives = Lives {
        spad,
        starts: 1,
        boots: 0,
        refused: BTreeMap::new(),
    };
    let mut blows: BTreeMap<&str, u32> = BTreeMap::new();
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
            lives.count();
            let Some(how) = strike(&lives.spad, &mut chance) else {
                lives.tend(&mut chance);
                continue;
            };
            killed += 1;
            *blows.entry(how).or_default() += 1;
            // Some blows come before it is back.
            if chance.below(5) == 0 {
                continue;
            }
            let since = wait::now();
            let boots = lives.boots;
            let (sent, _) = newest(ledger, &lives.spad);
            loop {
                lives.tend(&mut chance);
                if newest(ledger, &lives.spad).1 > sent {
                    break;
                }
                let most = if lives.boots == boots {
                    BACK
                } else {
                    BACK_AFTER_BOOT
                };
                assert!(
                    since.elapsed() < most,
                    "no packet opens any more\n{}",
                    lives.spad.said()
                );
                std::thread::sleep(Duration::from_millis(20));
            }
            longest = longest.max(since.elapsed());
        }
        // The machine loses power at the end: what acted, and may be younger than the horizon, is refused.
        lives.count();
        lives.spad.process().signal(Signal::KILL);
        wait::soon("it is dead", || lives.spad.process().ended());
        lives.spad.end_rest();
        lives.boots += 1;
        lives.spad.pretend_new_boot();
        lives.starts += 1;
        lives.spad.spawn();
        let sent = || ledger.lock().expect("the ledger").sent.len();
        let before = sent();
        wait::soon("replays arrive at the last life", || {
            lives.count();
            let refused = lives.refused.get(&lives.starts).copied().unwrap_or(0);
            // Genuine ones are refused, too.
            let genuine = u64::try_from(sent() - before).expect("a count");
            (refused > genuine + 100).then_some(())
        });
        let _ = lives.refused.remove(&lives.starts);
    });
    let ledger = ledger.into_inner().expect("the ledger");
    assert!(ledger.broken.is_empty(), "{:?}", ledger.broken);
    let arrived: u64 = lives.refused.values().sum();
    let starts = lives.starts;
    println!(
        "{:?}: {blows:?}, {starts} starts, {} of them as on a new boot, back within {longest:?}; {} packets, {} seen to act; {} replays, {arrived} of them seen to be refused, none acted",
        start.elapsed(),
        lives.boots,
        ledger.sent.len(),
        ledger.opened.len(),
        ledger.replays
    );
    assert!(ledger.opened.len() > 50 && ledger.replays > 100 && starts > 3 && lives.boots > 0);
    assert!(
        arrived > u64::from(ledger.replays) / 4,
        "used packets that arrived: {arrived} of {}",
        ledger.replays
    );
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
