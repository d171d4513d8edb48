//! A soak with a ledger: genuine, replayed, stale, altered, malformed and random packets, mixed
//! by chance, with reloads. Every packet sent is one verdict of its kind or one counted drop,
//! every grant ends on time in the kernel and in the audit, memory and descriptors stay flat.
//!
//! The long form: `SOAK_PACKETS=1000000 cargo test -p spa-tests --test it -- soak:: --nocapture`.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::Value;
use spa_proto::Timestamp;
use spa_tests::identity::{Identity, open};
use spa_tests::process::memory;
use spa_tests::rng::{TestRng, number};
use spa_tests::settings::Settings;
use spa_tests::test_bed::TestBed;
use spa_tests::{attacker, crowd, wait};

/// As long as each grant lasts.
const TTL: Duration = Duration::from_secs(2);
/// The kernel's timers, and the time between two looks at a loaded machine.
const SLACK: Duration = Duration::from_millis(1500);
/// A packet that acted so long ago is none that the network doubled.
const MIN_REPLAY_AGE: Duration = Duration::from_millis(1100);
/// The allowed skew of the usual settings.
const SKEW: Duration = Duration::from_secs(60);
/// So many are sent before their verdicts are waited for: fewer than the kernel queues.
const BATCH: usize = 400;
/// Of so many is one genuine.
const GENUINE: usize = 50;
/// What continuous integration has for it.
const SHORT: Duration = Duration::from_secs(30);
/// Memory may grow by so much in the second half, in KiB: in the first one the replay cache
/// and other bounded memories fill.
const GROWTH: u64 = 1024;

/// What is sent, with the reasons that its packets may end in.
const KINDS: [(&str, &[&str]); 6] = [
    ("genuine", &["opened"]),
    (
        "replayed",
        &["replay", "duplicate", "below_floor", "below_floor_unnamed"],
    ),
    ("stale", &["stale", "stale_unnamed"]),
    ("altered", &["head_tag", "hmac"]),
    ("malformed", MALFORMED),
    ("random", &["head_tag"]),
];
/// What an authentic packet of a broken client ends in.
const MALFORMED: &[&str] = &[
    "unknown_version",
    "unknown_action",
    "unknown_flag",
    "too_many_addresses",
    "unknown_family",
    "truncated",
    "nonzero_padding",
    "missing_command",
];

struct Soak {
    bed: TestBed,
    clients: Vec<Identity>,
    rng: TestRng,
    /// Genuine packets that acted, with their moment: the last ones.
    used: VecDeque<(Instant, Vec<u8>)>,
    /// When the grant of each genuine packet was first seen, until it ended.
    open: BTreeMap<Ipv4Addr, Instant>,
    genuine: u32,
    others: u32,
    /// Elements of the kernel's set that were looked at, and looks that saw no set.
    seen: usize,
    unseen: u32,
}

impl Soak {
    /// A packet of a kind, and the address that it comes from.
    fn make(&mut self, kind: usize) -> Option<(Ipv4Addr, Vec<u8>)> {
        let client = self.rng.below(self.clients.len());
        let client = self.clients.get(client).expect("a client");
        let request = open(&["tcp/8080"]);
        let packet = match kind {
            0 => client.seal(&request),
            1 => {
                let old = self
                    .used
                    .partition_point(|(since, _)| since.elapsed() > MIN_REPLAY_AGE);
                let which = (old > 0).then(|| self.rng.below(old))?;
                self.used.get(which)?.1.clone()
            }
            2 => {
                let late =
                    SKEW + Duration::from_secs(1) + self.rng.within(Duration::from_secs(3600));
                let late = u64::try_from(late.as_micros()).expect("an hour");
                let now = wait::wall().as_micros();
                client.seal_at(&request, Timestamp::from_micros(now - late))
            }
            3 => {
                let packet = client.seal(&request);
                let bit = self.rng.below(packet.len() * 8);
                attacker::flip_bit(&packet, bit)
            }
            4 => {
                // An unknown version, action or flag; or a whole request with something behind it.
                let mut bytes = [1, 1, 0, 0, 0, 0, 0, 0];
                let at = self.rng.below(3);
                *bytes.get_mut(at).expect("a byte") = 0x80;
                client.seal_plaintext(&bytes)
            }
            _ => attacker::random_packet(160 + self.rng.below(353)),
        };
        let from = if kind == 0 {
            self.genuine += 1;
            crowd::address(1, self.genuine)
        } else {
            self.others += 1;
            crowd::address(2, self.others % 0x0f_0000)
        };
        Some((from, packet))
    }

    /// Sends a batch and sets the verdicts against what was sent.
    fn round(&mut self, ledger: &mut BTreeMap<&'static str, u64>) -> u64 {
        let before = self.counts();
        let mut sent: BTreeMap<usize, u64> = BTreeMap::new();
        let mut batch = Vec::new();
        for _ in 0..BATCH {
            let kind = match self.rng.below(GENUINE) {
                0 => 0,
                _ => 1 + self.rng.below(KINDS.len() - 1),
            };
            if let Some((from, packet)) = self.make(kind) {
                *sent.entry(kind).or_default() += 1;
                batch.push((kind, from, packet));
            }
        }
        self.bed.lab.client.enter(|| {
            for (_, from, packet) in &batch {
                crowd::send_from(*from, packet);
            }
        });
        let all: u64 = sent.values().sum();
        let after = wait::eventually("each packet has its verdict, or is a counted drop", || {
            let after = self.counts();
            (total(&after) - total(&before) >= all).then_some(after)
        });
        assert_eq!(total(&after) - total(&before), all, "{before:?}\n{after:?}");
        let now = wait::now();
        for (kind, from, packet) in batch {
            if kind == 0 {
                self.used.push_back((now, packet));
                let _ = self.open.insert(from, now);
            }
        }
        // What is older than the allowed skew ends as stale.
        let old = |(since, _): &(Instant, _)| since.elapsed() > SKEW * 2 / 3;
        while self.used.front().is_some_and(old) {
            let _ = self.used.pop_front();
        }
        let ended = |reason: &str| {
            let of = |counts: &BTreeMap<String, u64>| counts.get(reason).copied().unwrap_or(0);
            of(&after) - of(&before)
        };
        // Altered and random ones both end as `head_tag`: they are weighed together. What is
        // lost is of any kind.
        for kinds in [&[0][..], &[1], &[2], &[3, 5], &[4]] {
            let sent: u64 = kinds.iter().filter_map(|kind| sent.get(kind)).sum();
            let mut reasons: Vec<&str> = kinds
                .iter()
                .flat_map(|kind| KINDS[*kind].1)
                .copied()
                .collect();
            reasons.sort_unstable();
            reasons.dedup();
            let found: u64 = reasons.iter().map(|reason| ended(reason)).sum();
            let names: Vec<&str> = kinds.iter().map(|kind| KINDS[*kind].0).collect();
            assert!(
                found <= sent && sent - found <= ended("lost"),
                "{found} of {sent} {names:?}\n{before:?}\n{after:?}"
            );
        }
        for (kind, count) in sent {
            *ledger.entry(KINDS[kind].0).or_default() += count;
        }
        all
    }

    /// Verdicts by reason, and what the ring lost.
    fn counts(&self) -> BTreeMap<String, u64> {
        let status = self.bed.spad.status();
        let of = |value: &Value| value.as_u64().unwrap_or(0);
        let verdicts = status["verdicts"].as_object().expect("verdicts").iter();
        let mut counts: BTreeMap<String, u64> = verdicts
            .map(|(reason, count)| (reason.clone(), of(count)))
            .collect();
        let _ = counts.insert("lost".to_owned(), of(&status["capture_dropped"]));
        counts
    }

    /// No grant in the kernel is older than it may be, and none is anybody else's.
    fn check_kernel(&mut self) {
        let Some(granted) = crowd::granted_addresses(&self.bed.lab.server) else {
            self.unseen += 1;
            return;
        };
        self.seen += granted.len();
        for (address, left) in granted {
            assert_eq!(
                crowd::kind(address),
                1,
                "{address} sent nothing genuine and is let in"
            );
            let since = self.open.get(&address).expect("a genuine packet's address");
            let age = since.elapsed();
            assert!(
                left <= TTL && age < TTL + SLACK,
                "{address}: {age:?}, {left:?} left"
            );
        }
        self.open.retain(|_, since| since.elapsed() < TTL * 3);
    }

    /// Every grant of the audit has its end there, at its time. Gives how many.
    fn check_audit(&self) -> usize {
        let mut open: BTreeMap<String, Millis> = BTreeMap::new();
        let mut ended = 0;
        for line in self.bed.spad.audit() {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            match text("event").as_str() {
                "grant" => {
                    let _ = open.insert(text("granted_to"), millis(&text("ts")));
                }
                "expire" => {
                    let began = open.remove(&text("granted_to"));
                    let began = began.expect("the end of a grant that began");
                    let lasted = millis(&text("ts")).saturating_sub(began);
                    let max_ms = u64::try_from((TTL + SLACK).as_millis()).expect("a few seconds");
                    assert!((1500..max_ms).contains(&lasted), "{lasted} ms: {line}");
                    ended += 1;
                }
                _ => {}
            }
        }
        assert!(open.is_empty(), "grants that never ended: {open:?}");
        ended
    }
}

/// Milliseconds of a day.
type Millis = u64;

/// `2026-11-30T12:34:56.789Z` in milliseconds of its month; a run is no longer.
fn millis(text: &str) -> Millis {
    let number = |from: usize, to: usize| -> u64 {
        text.get(from..to)
            .and_then(|part| part.parse().ok())
            .expect("a time")
    };
    let minutes = (number(8, 10) * 24 + number(11, 13)) * 60 + number(14, 16);
    (minutes * 60 + number(17, 19)) * 1000 + number(20, 23)
}

fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

/// Resident memory in KiB and open descriptors of each process.
fn process_resources(bed: &TestBed) -> Vec<(String, u64, usize)> {
    let processes = bed.spad.processes();
    let each = processes.into_iter().map(|(id, role)| {
        let id = u32::try_from(id).expect("a process id");
        let open = std::fs::read_dir(format!("/proc/{id}/fd"))
            .expect("it runs")
            .count();
        (role, memory(id, "VmRSS"), open)
    });
    let mut each: Vec<_> = each.collect();
    each.sort();
    each
}

#[test]
fn every_packet_is_one_verdict_and_every_grant_ends_on_time_however_long_it_goes_on() {
    let packets = number("SOAK_PACKETS");
    let rng = TestRng::from_env();
    let bed = TestBed::stopped(&Settings {
        max_per_client: 1000,
        ..Settings::default()
    });
    let clients: Vec<Identity> = (0..8).map(|_| Identity::new(&bed.server_public)).collect();
    for (index, client) in clients.iter().enumerate() {
        bed.add_client(&format!("client{index}"), client, "web");
    }
    crowd::add_local_route(&bed.lab);
    let mut soak = Soak {
        bed,
        clients,
        rng,
        used: VecDeque::new(),
        open: BTreeMap::new(),
        genuine: 0,
        others: 0,
        seen: 0,
        unseen: 0,
    };
    soak.bed.spad.start();
    let start = wait::now();
    let mut ledger = BTreeMap::new();
    let (mut sent, mut rounds, mut reloads) = (0, 0_u32, 0_u32);
    let mut first: Option<Vec<(String, u64, usize)>> = None;
    loop {
        sent += soak.round(&mut ledger);
        rounds += 1;
        soak.check_kernel();
        if rounds.is_multiple_of(25) {
            soak.bed.spad.reload();
            reloads += 1;
        }
        let part = packets.map_or_else(
            || start.elapsed().as_secs_f64() / SHORT.as_secs_f64(),
            |packets| sent as f64 / packets as f64,
        );
        if first.is_none() && part > 0.5 {
            first = Some(process_resources(&soak.bed));
        }
        if part >= 1.0 {
            break;
        }
    }
    let last = process_resources(&soak.bed);
    let first = first.expect("a look at the processes");
    let roles = |of: &[(String, u64, usize)]| -> Vec<String> {
        of.iter().map(|(role, ..)| role.clone()).collect()
    };
    assert_eq!(roles(&first), ["firewall-writer", "run"]);
    assert_eq!(roles(&last), roles(&first), "a process is gone, or new");
    for ((role, before, open), (_, after, still)) in first.iter().zip(&last) {
        println!("{role}: {before} -> {after} KiB, {open} -> {still} descriptors");
        assert!(
            *after < before + GROWTH,
            "{role} grows: {before} -> {after} KiB"
        );
        assert_eq!(still, open, "descriptors of {role}");
    }
    wait::eventually("the last grants end", || {
        crowd::granted_addresses(&soak.bed.lab.server)
            .is_some_and(|held| held.is_empty())
            .then_some(())
    });
    let ended = wait::eventually("the audit has the last end", || {
        let lines = soak.bed.spad.audit();
        let count = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
        (count("grant") == count("expire") && count("grant") > 0).then(|| soak.check_audit())
    });
    let lost = soak.counts()["lost"];
    println!(
        "{:?}: {sent} packets {ledger:?}, {lost} of them lost in the ring and counted, {reloads} reloads, {ended} grants that ended on time",
        start.elapsed()
    );
    assert_eq!(u64::from(soak.genuine), ledger["genuine"]);
    let ended = u64::try_from(ended).expect("a count");
    let genuine = ledger["genuine"];
    assert!(
        lost <= sent / 100 && ended <= genuine && genuine - ended <= lost && ended > 0,
        "{ended} grants of {genuine} genuine packets, {lost} of {sent} lost"
    );
    let (seen, unseen) = (soak.seen, soak.unseen);
    assert!(
        seen > 0 && unseen <= rounds / 10,
        "{rounds} looks at the kernel's set: {seen} elements seen, no set {unseen} times"
    );
}
