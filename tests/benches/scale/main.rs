//! How spad grows: clients from one to a hundred thousand, fifty thousand grants.
//!
//! `cargo build --release -p spad && cargo bench -p spa-tests --bench scale`, as root.
//! Prints one table. Nothing in CI asserts a time; the counts are asserted here too.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program that prints a table and ends where anything is amiss"
)]

mod packets;

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use spa_tests::echo::Echo;
use spa_tests::identity::{Identity, open_for};
use spa_tests::lab::{Lab, SERVER4};
use spa_tests::process::memory;
use spa_tests::settings::{CHAT, SPA_PORT, Settings};
use spa_tests::spad::Spad;
use spa_tests::wait;

use packets::{add_local_addresses, slowest_packet};

/// What a client may open.
const ALLOW_MANY: &str = r#"["many"]"#;
/// Ports of the service that each knock opens: the most that one packet opens.
const PORTS: u32 = 16;
/// Knocks of each of the clients below, each from an address of its own.
const PACKETS_PER_CLIENT: u32 = 63;
/// Clients that open fifty thousand grants together.
const CLIENTS: u32 = 50;
/// For this long knocks are sent before any reload.
const SILENCE: Duration = Duration::from_secs(1);
/// How long their grants last after the last of them was opened.
const GRANT_SECONDS: u32 = 20;

fn main() {
    // `cargo test --all-targets` starts every benchmark with this word.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!(
        "{:<10}{:>10}{:>10}{:>14}{:>14}{:>14}{:>14}{:>14}{:>14}{:>22}",
        "clients",
        "check",
        "start",
        "engine",
        "after reload",
        "engine, most",
        "writer",
        "writer, most",
        "slowest knock",
        "while it reloads",
    );
    for clients in [1, 10, 1_000, 100_000] {
        load(clients);
    }
    println!();
    grants();
}

/// A server with this many clients, not started; what the first of them may open.
fn server(lab: &Lab, clients: u32, first: &str) -> (Spad, Vec<Identity>) {
    let settings = Settings {
        max_per_client: 1024,
        max_ttl: "10m",
        trial: "0s",
        hide: &["many", "chat"],
        ..Settings::default()
    };
    let spad = Spad::init(&lab.server, lab.path(), &settings);
    let file = spad.config().join("spad.toml");
    let ports: Vec<String> = (1..=PORTS)
        .map(|port| format!("\"tcp/{}\"", 20_000 + port))
        .collect();
    let many = format!("many = {{ ports = [{}] }}\n\n[listen]", ports.join(", "));
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    std::fs::write(&file, text.replacen("[listen]", &many, 1)).expect("spad.toml");
    let public = spad.public();
    let enrolled = (0..clients).map(|number| {
        let identity = Identity::new(&public);
        let allowed = if number == 0 { first } else { ALLOW_MANY };
        let text = format!("key = \"{}\"\nallow = {allowed}\n", identity.public());
        let file = spad
            .config()
            .join(format!("clients.d/client-{number}.toml"));
        std::fs::write(file, text).expect("a client's file");
        identity
    });
    let enrolled = enrolled.collect();
    (spad, enrolled)
}

fn load(clients: u32) {
    let lab = Lab::new();
    let (mut spad, identities) = server(&lab, clients, r#"["many", "chat"]"#);
    let _echo = Echo::udp(&lab.server, CHAT);
    add_local_addresses(&lab);
    let check = timed(|| drop(spad.cli(&["check"]).ok()));
    let start = timed(|| spad.start());
    let engine = spad.process().id();
    let resident = memory(engine, "VmRSS");
    let idle = slowest_packet(&lab, &identities[0], 1, || {
        wait::until_after(wait::now(), SILENCE)
    });
    spad.reload();
    let reload = slowest_packet(&lab, &identities[0], 2, || spad.reload());
    // What a reload no longer needs is given back beside the work.
    wait::until_after(wait::now(), Duration::from_secs(1));
    let others = lab.server.processes().into_iter();
    let mut others = others.filter_map(|id| u32::try_from(id).ok());
    let writer = others.find(|id| *id != engine).expect("the writer");
    println!(
        "{clients:<10}{:>10}{:>10}{:>14}{:>14}{:>14}{:>14}{:>14}{:>14}{:>22}",
        milliseconds(check),
        milliseconds(start),
        mebibytes(resident),
        mebibytes(memory(engine, "VmRSS")),
        mebibytes(memory(engine, "VmHWM")),
        mebibytes(memory(writer, "VmRSS")),
        mebibytes(memory(writer, "VmHWM")),
        milliseconds(idle.1),
        format!("{} of {}", milliseconds(reload.1), reload.0),
    );
}

fn grants() {
    let lab = Lab::new();
    let (mut spad, identities) = server(&lab, CLIENTS, ALLOW_MANY);
    spad.start();
    add_local_addresses(&lab);
    let packets = CLIENTS * PACKETS_PER_CLIENT;
    let open = u64::from(packets * PORTS);
    let began = wait::now();
    // All of them end within a second of each other, however long the knocks take.
    let all = lab.client.enter(|| {
        for number in 0..packets {
            let identity = &identities[(number % CLIENTS) as usize];
            let source = Ipv4Addr::from_bits(0x0a07_0000 + number);
            let passed = u32::try_from(began.elapsed().as_secs()).unwrap_or(u32::MAX);
            let request = open_for(&[], (60 + GRANT_SECONDS).saturating_sub(passed));
            let socket = UdpSocket::bind((source, 0)).expect("a socket");
            let packet = identity.seal(&request);
            let _ = socket
                .send_to(&packet, (SERVER4, SPA_PORT))
                .expect("a way to the server");
            // The ring must not overflow where the server is slower than this.
            if number % 512 == 511 {
                spad.wait_verdict_count("opened", u64::from(number + 1));
            }
        }
        spad.wait_verdict_count("opened", u64::from(packets));
        began.elapsed()
    });
    assert_eq!(spad.status()["open_grants"], open);
    let row = |what: &str, value: String| println!("{what:<44}{value:>12}");
    row(&format!("{open} grants, opened"), milliseconds(all));
    row(
        "  knocks a second, one after the other",
        format!("{:.0}", f64::from(packets) / all.as_secs_f64()),
    );
    row(
        "  counted: spad status",
        milliseconds(timed(|| drop(spad.status()))),
    );
    let mut listed = 0;
    let list = timed(|| {
        let list = spad.cli(&["grants", "--json"]).ok().json();
        listed = list.as_array().map_or(0, Vec::len);
    });
    assert_eq!(listed as u64, open);
    row("  listed: spad grants", milliseconds(list));
    let engine = spad.process().id();
    row("  engine, resident", mebibytes(memory(engine, "VmRSS")));
    spad.stop();
    let start = timed(|| spad.start());
    assert_eq!(spad.status()["open_grants"], open);
    row("  adopted: start", milliseconds(start));
    let end = wait::within(Duration::from_secs(120), "all of them end", || {
        let left = spad.status()["open_grants"].as_u64()?;
        (left < open).then(wait::now)
    });
    wait::eventually("the rest ends too", || {
        (spad.status()["open_grants"] == 0).then_some(())
    });
    row("  expired: first to last", milliseconds(end.elapsed()));
    assert_eq!(spad.status()["audit_dropped"], 0);
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = wait::now();
    work();
    began.elapsed()
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1000.0)
}

fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1} MiB", kibibytes as f64 / 1024.0)
}
