//! What a packet costs the engine, from the frame's bytes to its verdict, and what
//! the replay cache costs by the number of used packets in it.
//!
//! `cargo bench -p spad --bench engine`; a word after `--` chooses rows. Times are
//! the thread's own processor time, so that others on the machine disturb them
//! less. docs/performance.md has the results. Nothing asserts a time.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "a program that measures and ends where anything is amiss"
)]

mod authentic;
mod cpu_time;
#[path = "../../../capture/src/craft.rs"]
#[expect(dead_code, reason = "the tests of the capture use the rest")]
mod craft;
mod fixture;
mod refused;
mod replay;
#[path = "../../tests/it/engine/world.rs"]
#[expect(dead_code, reason = "the stories in tests/it/engine use the rest")]
mod world;

use std::time::Duration;

use cpu_time::CpuTime;
use criterion::Criterion;

/// Of these numbers, all; under `cargo test`, which only sees whether it runs, the first.
fn sizes(all: &[usize]) -> &[usize] {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    all.get(..1).filter(|_| !measuring).unwrap_or(all)
}

fn main() {
    let mut criterion = Criterion::default()
        .with_measurement(CpuTime)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50)
        .without_plots()
        .configure_from_args();
    for clients in sizes(&[1, 1_000, 100_000]) {
        refused::measure(&mut criterion, *clients);
        authentic::measure(&mut criterion, *clients);
    }
    for entries in sizes(&[1_000, 10_000, 100_000, 1_000_000]) {
        replay::measure(&mut criterion, *entries);
    }
    criterion.final_summary();
}
