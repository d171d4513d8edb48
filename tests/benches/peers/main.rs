//! From knock to open port: spad beside Debian's fwknopd and knockd and beside
//! the machine's floor, idle and under floods, on one machine in one run.
//!
//! `cargo build --release -p spad -p spa && cargo bench -p spa-tests --bench peers`, as
//! root; words after `--` (idle, flood, doors, rivals, cost) choose parts. Prints tables;
//! docs/performance.md tells the method. Nothing in CI asserts a time.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a program that prints a table and ends where anything is amiss"
)]

mod addresses;
mod cost;
mod flood;
mod floor;
mod fwknop;
mod knockd;
mod measure;
mod pin;
mod samples;
mod spad;
mod spad_floods;

use flood::Flood;
use floor::Floor;
use measure::Server;
use samples::{Samples, print_head, print_row};
use spa_tests::binaries;
use spa_tests::lab::Lab;
use spad::Spad;

/// Knocks of each row.
const ATTEMPTS: usize = 100;
/// Rounds of so many, where nothing else comes.
const ROUNDS: usize = 3;
/// Knocks that are expected to fail take two seconds each.
const FLOOD_ATTEMPTS: usize = 10;

fn main() {
    // `cargo test --all-targets` starts every benchmark with this word.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let installed = tempfile::tempdir().expect("a directory for the binaries");
    binaries::install(installed.path());
    println!(
        "packet sent to first datagram let in; client and strangers on CPU {}, servers on CPU {}",
        pin::CLIENT,
        pin::SERVER
    );
    if is_selected("idle") {
        idle();
    }
    if is_selected("flood") {
        floods();
    }
    if is_selected("doors") {
        doors();
    }
    if is_selected("rivals") {
        competitors();
    }
    if is_selected("cost") {
        println!();
        cost::idle_cost();
        cost::cost_by_clients();
    }
}

/// Everything is, unless parts are named.
fn is_selected(part: &str) -> bool {
    let mut named = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .peekable();
    named.peek().is_none() || named.any(|name| name == part)
}

/// Two machines, with an address for each knock.
fn lab(knocks: usize) -> Lab {
    let lab = Lab::new();
    addresses::add_addresses(&lab, knocks);
    lab
}

fn idle() {
    // In turns, so that what others do on the machine meanwhile meets all of them.
    let rounds: Vec<[Samples; 4]> = (0..ROUNDS)
        .map(|_| {
            let fwknopd = |lab: &Lab| fwknop::start(lab, ATTEMPTS, 1);
            [
                measured(Floor::start),
                measured(Spad::start),
                measured(knockd::start),
                measured(fwknopd),
            ]
        })
        .collect();
    let all = rounds
        .into_iter()
        .reduce(|all, round| std::array::from_fn(|n| all[n].merge(&round[n])));
    let [floor, spad, knockd, fwknopd] = all.expect("a round at least");
    print_head("nothing else comes");
    print_row("floor: bare ring and netlink", &floor, None);
    print_row("spad", &spad, None);
    print_row("knockd", &knockd, None);
    print_row("fwknopd (pcap, default)", &fwknopd, None);
    let times = |slower: &Samples, faster| {
        slower
            .ratio(faster)
            .map_or("-".to_owned(), |times| format!("{times:.1}"))
    };
    println!(
        "medians: spad {} times the floor's, knockd {} and fwknopd {} times spad's",
        times(&spad, &floor),
        times(&knockd, &spad),
        times(&fwknopd, &spad)
    );
}

/// Knocks at a server, in a lab of its own.
fn measured<S: Server + Send>(start: impl FnOnce(&Lab) -> S) -> Samples {
    let one = lab(ATTEMPTS);
    let mut server = start(&one);
    measure::measure(&one, ATTEMPTS, None, &mut server).0
}

/// Makes a flood, of what a server let in where it takes that.
type Kind = fn(&Spad, &Lab) -> Flood;

fn floods() {
    print_head("beside a flood as fast as one CPU sends");
    let one = lab(ATTEMPTS);
    let mut floor = Floor::start(&one);
    let (samples, rate) = measure::measure(&one, ATTEMPTS, Some(&Spad::forged()), &mut floor);
    print_row("floor, forged packets", &samples, rate);
    drop(floor);
    let kinds: [(&str, Kind); 6] = [
        ("forged packets", |_, _| Spad::forged()),
        ("replayed packets", Spad::replayed),
        ("expired packets", |spad, _| spad.expired()),
        ("heads of used packets, other bodies", Spad::copied_heads),
        ("heads held back, other bodies", |spad, _| {
            spad.delayed_heads()
        }),
        ("packets to other ports", |_, _| Spad::unrelated()),
    ];
    for (name, flood) in kinds {
        let one = lab(ATTEMPTS);
        let mut spad = Spad::start(&one);
        let flood = flood(&spad, &one);
        let (samples, rate) = measure::measure(&one, ATTEMPTS, Some(&flood), &mut spad);
        print_row(&format!("spad, {name}"), &samples, rate);
        println!("{:>44}", format!("lost in the ring: {}", spad.lost()));
    }
}

/// Packets of spa, while a strict door of `[[knock]]` hears what the flood sends.
fn doors() {
    print_head("packets of spa, beside doors and a flood");
    let doors = [
        ("no door", None),
        ("a strict door", Some("7000,8000,9000")),
        ("a strict door with UDP", Some("7000,8000:udp,9000")),
    ];
    let floods = [
        ("UDP to other ports", Spad::unrelated()),
        ("SYN to other ports", flood::segments()),
        ("forged first knocks", flood::forged_segments(7000)),
    ];
    for (name, flood) in &floods {
        for (door, sequence) in doors {
            let one = lab(ATTEMPTS);
            let mut spad = Spad::start_with_door(&one, sequence);
            let (samples, rate) = measure::measure(&one, ATTEMPTS, Some(flood), &mut spad);
            print_row(&format!("{door}, {name}"), &samples, rate);
            let (received, lost) = (spad.daemon.verdict_count("knock"), spad.lost());
            println!(
                "{:>44}",
                format!("heard as knocks: {received}, lost in the ring: {lost}")
            );
        }
    }
}

fn competitors() {
    print_head("the others beside forged packets");
    for rate in [Some(2_000.0), Some(20_000.0), None] {
        let one = lab(FLOOD_ATTEMPTS);
        let mut fwknopd = fwknop::start(&one, FLOOD_ATTEMPTS, 1);
        let flood = fwknop::forged(rate);
        let (samples, sent) = measure::measure(&one, FLOOD_ATTEMPTS, Some(&flood), &mut fwknopd);
        print_row("fwknopd", &samples, sent);
    }
    for rate in [Some(2_000.0), Some(20_000.0), None] {
        let one = lab(FLOOD_ATTEMPTS);
        let mut knockd = knockd::start(&one);
        let flood = knockd::forged(rate);
        let (samples, sent) = measure::measure(&one, FLOOD_ATTEMPTS, Some(&flood), &mut knockd);
        print_row("knockd", &samples, sent);
    }
}
