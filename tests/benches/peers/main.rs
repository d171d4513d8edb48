//! From knock to open port: spad beside Debian's fwknopd and knockd and beside
//! the floor, on one machine in one run.
//!
//! `cargo build --release -p spad && cargo bench -p spa-tests --bench peers`, as
//! root; names after `--` (spad, fwknopd, knockd, forged) choose rows. Prints one table; docs/performance.md tells the method. Nothing in CI
//! asserts a time.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a program that prints a table and ends where anything is amiss"
)]

mod forged;
mod fwknop;
mod knockd;
mod opening;
mod pin;
mod spad;

use opening::Samples;

/// Knocks of each server.
const KNOCKS: usize = 50;

fn main() {
    // `cargo test --all-targets` starts every benchmark with this word.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!(
        "packet sent to first datagram let in, {KNOCKS} knocks each; client on CPU 0, servers on CPU 1\n"
    );
    println!(
        "{:<28}{:>12}{:>12}{:>12}{:>10}",
        "", "median", "p95", "max", "opened"
    );
    if wanted("spad") {
        show("spad", &spad::measure(KNOCKS));
    }
    if wanted("fwknopd") {
        show("fwknopd (pcap, default)", &fwknop::measure(KNOCKS));
    }
    if wanted("knockd") {
        show("knockd", &knockd::measure(KNOCKS));
    }
    if wanted("forged") {
        println!();
        forged::measure();
    }
}

/// Everything is, unless rows are named.
fn wanted(row: &str) -> bool {
    let mut named = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .peekable();
    named.peek().is_none() || named.any(|name| name == row)
}

fn show(name: &str, samples: &Samples) {
    let shown = |value: Option<std::time::Duration>| {
        value.map_or("-".to_owned(), |value| {
            format!("{:.3} ms", value.as_secs_f64() * 1000.0)
        })
    };
    println!(
        "{name:<28}{:>12}{:>12}{:>12}{:>10}",
        shown(samples.quantile(0.5)),
        shown(samples.quantile(0.95)),
        shown(samples.quantile(1.0)),
        format!("{} of {}", samples.opened(), samples.tried())
    );
}
