//! What spad costs while nobody knocks and while strangers do: memory and
//! wake-ups after the start, and processor time of a forged packet.

use std::net::UdpSocket;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use spa_tests::attacker;
use spa_tests::binaries;
use spa_tests::lab::{CLIENT4, Lab, SERVER4};
use spa_tests::settings::KNOCK;
use spa_tests::wait;

use crate::pin::{CLIENT, pin};
use crate::spad::Spad;

/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);
/// Forged packets sent, as fast as one processor sends them.
const FORGED: u64 = 1_000_000;

pub(crate) fn measure() {
    let lab = Lab::new();
    let spad = Spad::start(&lab).daemon;
    let status = spad.status();
    let pid = status["pid"].as_u64().expect("the engine's process");
    println!("resident after start          {}", field(pid, "VmRSS"));
    println!("  of it not shared, not ring  {}", field(pid, "RssAnon"));
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
    for (name, path) in [("spad", binaries::spad()), ("spa", binaries::spa())] {
        let size = std::fs::metadata(path).map_or(0, |found| found.size());
        println!("size of {name:<22}{:.2} MiB", size as f64 / 1_048_576.0);
    }
    let before = (processor_time(pid), judged(&spad));
    lab.client.enter(|| {
        pin(CLIENT);
        let socket = UdpSocket::bind((CLIENT4, 0)).expect("a socket");
        socket
            .connect((SERVER4, KNOCK))
            .expect("a way to the server");
        let packets: Vec<_> = (0..64).map(|index| attacker::forge(200 + index)).collect();
        for number in 0..FORGED {
            let packet = &packets[usize::try_from(number % 64).unwrap()];
            let _ = socket.send(packet);
        }
    });
    let after = (processor_time(pid), judged(&spad));
    let count = after.1 - before.1;
    let user = (after.0.0 - before.0.0) as f64 * 1e7 / count as f64;
    let system = (after.0.1 - before.0.1) as f64 * 1e7 / count as f64;
    let lost = spad.status()["capture_dropped"].as_u64().unwrap_or(0);
    println!(
        "forged packets                {FORGED} sent, {count} judged, {lost} lost in the ring"
    );
    println!("processor time of each        {user:.0} ns user, {system:.0} ns system");
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

fn judged(spad: &spa_tests::spad::Spad) -> u64 {
    spad.verdicts().values().sum()
}

/// User and system time in ticks of 10 ms.
fn processor_time(pid: u64) -> (u64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the engine runs");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let fields: Vec<_> = after_name.split_whitespace().collect();
    (fields[11].parse().unwrap(), fields[12].parse().unwrap())
}

fn field(pid: u64, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the engine runs");
    let line = status.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':'))
        .map_or("?".to_owned(), |(_, value)| value.trim().to_owned())
}
