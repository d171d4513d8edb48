//! What spad costs while nobody knocks and while strangers do: memory and
//! wake-ups after the start, and processor time of a forged packet.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use spa_tests::binaries;
use spa_tests::lab::Lab;
use spa_tests::process;
use spa_tests::wait;

use crate::flood::{Flood, FloodHandle};
use crate::fwknop;
use crate::pin::{CLIENT, pin};
use crate::spad::Spad;

/// Clients of the server that nobody knocks at.
const CLIENTS: usize = 10;
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);
/// Forged packets sent, as fast as one processor sends them.
const FORGED: u64 = 1_000_000;
/// Forged packets for a server that takes longer.
const FORGED_SLOW: u64 = 200;

pub(crate) fn idle_cost() {
    let lab = Lab::new();
    let spad = Spad::start_with(&lab, CLIENTS).daemon;
    let status = spad.status();
    let engine = status["pid"].as_u64().and_then(|id| id.try_into().ok());
    let engine = engine.expect("the engine's process");
    let memory = |when: &str| {
        println!("{when:<30}{} kB", process::memory(engine, "VmRSS"));
        let own = process::memory(engine, "RssAnon");
        println!("  of it not shared, not ring  {own} kB");
    };
    println!("{CLIENTS} clients");
    memory("resident after start");
    let processes = lab.server.processes();
    let before: u64 = processes.iter().map(|id| wake_ups(*id)).sum();
    wait::until_after(wait::now(), IDLE);
    let after: u64 = processes.iter().map(|id| wake_ups(*id)).sum();
    println!(
        "wake-ups in {} s of silence   {} of all {} processes",
        IDLE.as_secs(),
        after - before,
        processes.len()
    );
    for _ in 0..2 {
        spad.reload();
    }
    // What a reload no longer needs is given back beside the work.
    wait::until_after(wait::now(), Duration::from_secs(1));
    memory("resident after two reloads");
    for (name, path) in [("spad", binaries::spad()), ("spa", binaries::spa())] {
        let size = std::fs::metadata(path).map_or(0, |found| found.size());
        println!("size of {name:<22}{:.2} MiB", size as f64 / 1_048_576.0);
    }
}

/// Processor time of a forged packet, by the number of clients.
pub(crate) fn cost_by_clients() {
    println!(
        "\n{:<44}{:>10}{:>10}{:>12}{:>10}",
        "a forged packet, by clients", "user", "system", "packets", "lost"
    );
    for clients in [1, 1_000, 100_000] {
        let lab = Lab::new();
        let spad = Spad::start_with(&lab, clients);
        let pid = spad.daemon.status()["pid"]
            .as_u64()
            .expect("the engine's process");
        // The keys of the clients are computed in the background after the start.
        let mut busy = cpu_time(pid);
        wait::within(Duration::from_secs(60), "the start is over", || {
            wait::until_after(wait::now(), Duration::from_millis(300));
            let was = std::mem::replace(&mut busy, cpu_time(pid));
            (was == busy).then_some(())
        });
        let before = (cpu_time(pid), verdict_count(&spad.daemon));
        send(&lab, &Spad::forged(), FORGED);
        let after = (cpu_time(pid), verdict_count(&spad.daemon));
        row(
            &format!("spad, {clients} clients"),
            (before.0, after.0),
            after.1 - before.1,
            &spad.lost().to_string(),
        );
    }
    for clients in [1, 100, 1_000] {
        let lab = Lab::new();
        let fwknopd = fwknop::start(&lab, 0, clients);
        let pid = u64::from(fwknopd.process());
        let before = cpu_time(pid);
        // Few enough that it looks at each: it says so in its log.
        send(&lab, &fwknop::forged(Some(50.0)), FORGED_SLOW);
        wait::until_after(wait::now(), Duration::from_secs(2));
        let after = cpu_time(pid);
        row(
            &format!("fwknopd, {clients} clients"),
            (before, after),
            FORGED_SLOW,
            "-",
        );
    }
}

fn row(name: &str, (before, after): ((u64, u64), (u64, u64)), packets: u64, lost: &str) {
    let each = |ticks: u64| match ticks as f64 * 1e7 / packets as f64 {
        long if long > 10_000.0 => format!("{:.0} µs", long / 1000.0),
        short => format!("{short:.0} ns"),
    };
    println!(
        "{name:<44}{:>10}{:>10}{packets:>12}{lost:>10}",
        each(after.0 - before.0),
        each(after.1 - before.1),
    );
}

fn send(lab: &Lab, flood: &Flood, packets: u64) {
    lab.client.enter(|| {
        pin(CLIENT);
        let mut flooding = FloodHandle::new(flood);
        let began = wait::now();
        while flooding.sent() < packets {
            flooding.keep_sending(began.elapsed());
        }
    });
}

/// How often any thread of the process gave the processor away and came back.
fn wake_ups(process: i32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
    let of = |status: String| {
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt_switches"))?
            .split_whitespace()
            .last()?
            .parse::<u64>();
        line.ok()
    };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok())
        .filter_map(of)
        .sum()
}

fn verdict_count(spad: &spa_tests::spad::Spad) -> u64 {
    spad.verdicts().values().sum()
}

/// User and system time in ticks of 10 ms.
fn cpu_time(pid: u64) -> (u64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the engine runs");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let fields: Vec<_> = after_name.split_whitespace().collect();
    (fields[11].parse().unwrap(), fields[12].parse().unwrap())
}
