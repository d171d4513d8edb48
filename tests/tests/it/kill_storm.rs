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
use spa_tests::crowd;
use spa_tests::reach::{self, Reachability};
use spa_tests::rng::{TestRng, number};
use spa_tests::settings::{Settings, WEB};
use spa_tests::spad::Spad;
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// As long as each grant lasts.
const TTL: Duration = Duration::from_secs(2);
/// The kernel's timers, and the time between two looks at a loaded machine.
const SLACK: Duration = Duration::from_millis(900);
/// A packet that acted so long ago is none that the network doubled.
const MIN_REPLAY_AGE: Duration = Duration::from_millis(1100);
/// A packet that acted so long ago is refused for its age alone: the allowed skew is 60 s.
const MAX_REPLAY_AGE: Duration = Duration::from_secs(40);
/// What the service manager and a start may take.
const RESTART_TIMEOUT: Duration = Duration::from_secs(30);
/// The same where the start believes in a new boot, and the stop was perhaps not clean.
const REBOOT_TIMEOUT: Duration = Duration::from_secs(130);
/// What continuous integration has for it.
const SHORT: Duration = Duration::from_secs(35);

/// The kinds of senders' addresses.
const GENUINE: u8 = 1;
const REPLAY: u8 = 2;

/// What was sent, and what the kernel was seen to do.
#[derive(Default)]
struct StormLog {
    sent: BTreeMap<u32, Vec<u8>>,
    /// When each genuine packet's address was first seen to be let in.
    opened: BTreeMap<u32, Instant>,
    /// The last of them.
    recent: VecDeque<(Instant, u32)>,
    replays: u32,
    violations: Vec<String>,
}

impl StormLog {
    /// A packet that was seen to act, long enough ago, and not so long that it is stale.
    fn replayable(&mut self, rng: &mut TestRng) -> Option<Vec<u8>> {
        while self
            .recent
            .front()
            .is_some_and(|(since, _)| since.elapsed() > MAX_REPLAY_AGE)
        {
            let _ = self.recent.pop_front();
        }
        let old = self
            .recent
            .partition_point(|(since, _)| since.elapsed() > MIN_REPLAY_AGE);
        let which = (old > 0).then(|| rng.below(old))?;
        let (_, number) = self.recent.get(which)?;
        self.sent.get(number).cloned()
    }

    /// Sets what the kernel holds against what may be.
    fn check_kernel(&mut self, granted: &BTreeMap<Ipv4Addr, Duration>) {
        for (address, left) in granted {
            let number = u32::from_be_bytes(address.octets()) & 0x000f_ffff;
            if crowd::kind(*address) == REPLAY {
                self.violations
                    .push(format!("a used packet opened again, for {address}"));
                continue;
            }
            let first = self.opened.entry(number).or_insert_with(|| {
                let now = wait::now();
                self.recent.push_back((now, number));
                now
            });
            if *left > TTL || first.elapsed() > TTL + SLACK {
                let age = first.elapsed();
                self.violations.push(format!(
                    "{address} is let in after {age:?}, for {left:?} more"
                ));
            }
        }
    }
}

/// Sends a fresh packet each few milliseconds, and used ones beside it.
fn send(bed: &TestBed, ledger: &Mutex<StormLog>, stop: &AtomicBool, mut rng: TestRng) {
    let request = spa_tests::identity::open(&["tcp/8080"]);
    bed.lab.client.enter(|| {
        let mut number = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            let packet = bed.laptop.seal(&request);
            number += 1;
            let used: Vec<_> = {
                let mut ledger = ledger.lock().expect("the ledger");
                let _ = ledger.sent.insert(number, packet.clone());
                (0..3).filter_map(|_| ledger.replayable(&mut rng)).collect()
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
fn monitor(bed: &TestBed, ledger: &Mutex<StormLog>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let granted = crowd::granted_addresses(&bed.lab.server).unwrap_or_default();
        let seen = reach::tcp(&bed.lab.client, spa_tests::lab::SERVER4.into(), WEB);
        let mut ledger = ledger.lock().expect("the ledger");
        ledger.check_kernel(&granted);
        if seen == Reachability::Open {
            ledger
                .violations
                .push("a stranger reached the hidden port".to_owned());
        }
        drop(ledger);
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One blow by chance; tells what it was.
fn kill_or_stop(spad: &Spad, rng: &mut TestRng) -> Option<&'static str> {
    let roles = [
        "run",
        "run",
        "firewall-writer",
        "firewall-writer",
        "command-runner",
    ];
    let role = *rng.choose(&roles);
    let processes = spad.processes();
    let (id, _) = processes.iter().find(|(_, is)| is == role)?;
    let id = Pid::from_raw(*id)?;
    let hang = rng.within(Duration::from_millis(2500));
    let signals = |list: &[Signal]| {
        for signal in list {
            let _ = kill_process(id, *signal);
            if *signal == Signal::STOP {
                std::thread::sleep(hang);
            }
        }
    };
    Some(match rng.below(8) {
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
struct Supervisor {
    spad: Spad,
    starts: u32,
    /// Starts that were to believe in a new boot.
    boots: u32,
    /// Used packets that were refused, by the life in which they were.
    refused: BTreeMap<u32, u64>,
}

impl Supervisor {
    /// Starts it again where it has ended, as a service manager does; after a clean stop
    /// each other time as on another boot.
    fn restart_if_exited(&mut self, rng: &mut TestRng) {
        let Some(status) = self.spad.process().try_wait() else {
            return;
        };
        self.spad.kill_all();
        if status.success() && rng.below(2) == 0 {
            self.boots += 1;
            self.spad.fake_new_boot();
        }
        self.starts += 1;
        self.spad.spawn();
    }

    /// Asks how many used packets this life has refused. One that does not answer is asked later.
    fn count_refused(&mut self) {
        let answer = self.spad.cli(&["status", "--json"]).stdout;
        let status: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
        let verdict_count = |reason: &&str| status["verdicts"][*reason].as_u64().unwrap_or(0);
        let refused: u64 = REFUSED.iter().map(verdict_count).sum();
        let max = self.refused.entry(self.starts).or_default();
        *max = refused.max(*max);
    }
}

#[test]
fn whoever_is_killed_or_hangs_nothing_acts_twice_and_every_grant_ends_on_time() {
    let kills = number("STORM_KILLS");
    let mut rng = TestRng::from_env();
    let mut bed = TestBed::stopped(&Settings {
        max_per_client: 1000,
        ..Settings::default()
    });
    let file = bed.spad.config().join("spad.toml");
    let toml = std::fs::read_to_string(&file).expect("spad.toml");
    let runner = "[commands]\nnothing = { argv = [\"/bin/true\"], user = \"daemon\" }\n";
    std::fs::write(&file, toml + runner).expect("spad.toml");
    crowd::add_local_route(&bed.lab);
    bed.spad.start();
    // The killer has the server for itself, the others look at the rest of the world.
    let spad = std::mem::replace(
        &mut bed.spad,
        Spad::init(
            &bed.lab.server,
            &bed.lab.path().join("other"),
            &Settings::default(),
        ),
    );
    let ledger = Mutex::new(StormLog::default());
    let stop = AtomicBool::new(false);
    let start = wait::now();
    let mut lives = Supervisor {
        spad,
        starts: 1,
        boots: 0,
        refused: BTreeMap::new(),
    };
    let mut blows: BTreeMap<&str, u32> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    std::thread::scope(|scope| {
        let _stopped = StopOnDrop(&stop);
        let senders = rng.clone();
        let (bed, ledger, stop) = (&bed, &ledger, &stop);
        let _ = scope.spawn(move || send(bed, ledger, stop, senders));
        let _ = scope.spawn(move || monitor(bed, ledger, stop));
        let mut killed = 0;
        while kills.map_or(start.elapsed() < SHORT, |kills| killed < kills) {
            std::thread::sleep(rng.within(Duration::from_millis(700)));
            lives.count_refused();
            let Some(how) = kill_or_stop(&lives.spad, &mut rng) else {
                lives.restart_if_exited(&mut rng);
                continue;
            };
            killed += 1;
            *blows.entry(how).or_default() += 1;
            // Some blows come before it is back.
            if rng.below(5) == 0 {
                continue;
            }
            let since = wait::now();
            let boots = lives.boots;
            let (sent, _) = newest(ledger, &lives.spad);
            loop {
                lives.restart_if_exited(&mut rng);
                if newest(ledger, &lives.spad).1 > sent {
                    break;
                }
                let most = if lives.boots == boots {
                    RESTART_TIMEOUT
                } else {
                    REBOOT_TIMEOUT
                };
                assert!(
                    since.elapsed() < most,
                    "no packet opens any more\n{}",
                    lives.spad.output()
                );
                std::thread::sleep(Duration::from_millis(20));
            }
            longest = longest.max(since.elapsed());
        }
        // The machine loses power at the end: what acted, and may be younger than the horizon, is refused.
        lives.count_refused();
        lives.spad.process().signal(Signal::KILL);
        wait::eventually("it is dead", || lives.spad.process().try_wait());
        lives.spad.kill_all();
        lives.boots += 1;
        lives.spad.fake_new_boot();
        lives.starts += 1;
        lives.spad.spawn();
        let sent = || ledger.lock().expect("the ledger").sent.len();
        let before = sent();
        wait::eventually("replays arrive at the last life", || {
            lives.count_refused();
            let refused = lives.refused.get(&lives.starts).copied().unwrap_or(0);
            // Genuine ones are refused, too.
            let genuine = u64::try_from(sent() - before).expect("a count");
            (refused > genuine + 100).then_some(())
        });
        let _ = lives.refused.remove(&lives.starts);
    });
    let ledger = ledger.into_inner().expect("the ledger");
    assert!(ledger.violations.is_empty(), "{:?}", ledger.violations);
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
fn newest(ledger: &Mutex<StormLog>, spad: &Spad) -> (Option<u32>, Option<u32>) {
    let ledger = ledger.lock().expect("the ledger");
    assert!(
        ledger.violations.is_empty(),
        "{:?}\n{}",
        ledger.violations,
        spad.output()
    );
    let last = |key: Option<&u32>| key.copied();
    (
        last(ledger.sent.keys().next_back()),
        last(ledger.opened.keys().next_back()),
    )
}

/// Ends the other threads, also when a check fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
