//! What a knock costs at the command line: the whole process of `spa open
//! --no-wait`, beside Debian's fwknop sending one packet, and beside `true`, what
//! any process costs.
//!
//! `cargo build --release -p spa && cargo bench -p spa-tests --bench client`, as
//! root, with fwknop-client installed. Prints one table. Nothing in CI asserts a time.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program that prints a table and ends where anything is amiss"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use spa_keys::{ServerSecret, SharedKey};
use spa_tests::binaries;
use spa_tests::lab::{CLIENT4, Lab, SERVER4};
use spa_tests::settings::SPA_PORT;
use spa_tests::wait;

/// Starts of each program, one after the other, in turns: what else the machine
/// does meets all of them. A multiple of six: see [`order`].
const STARTS: usize = 210;
/// Any keys will do.
const KEY: &str = "c2luZ2xlIHBhY2tldCBhdXRob3JpemF0aW9uIGtleSE=";
const HMAC: &str =
    "YW5vdGhlciBrZXksIGZvciB0aGUgSE1BQyBvZiB0aGVzZSBwYWNrZXRzISEhISEhISEhISEhISEhISEhISE=";

fn main() {
    // `cargo test --all-targets` starts every benchmark with this word.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let lab = Lab::new();
    let home = lab.path();
    binaries::install(home);
    write_spa_files(home);
    let mut rows = [
        ("true", program("true", home)),
        ("spa, an address", spa(home, "address")),
        ("spa, a shared key, as fwknop's", spa(home, "shared")),
        ("spa, a name of /etc/hosts", spa(home, "name")),
        ("fwknop, saved stanza", fwknop_stanza(home)),
        ("fwknop, arguments", fwknop(home)),
    ]
    .map(|(name, command)| (name, command, Vec::with_capacity(STARTS)));
    lab.client.enter(|| {
        pin(0);
        for turn in 0..=STARTS {
            let _ = start(&mut program("true", home));
            for place in order(turn) {
                let Some((_, command, spans)) = rows.get_mut(place) else {
                    continue;
                };
                let duration = start(command);
                // The first one reads the disk.
                if turn > 0 {
                    spans.push(duration);
                }
            }
        }
    });
    println!("{STARTS} starts of each in turns, one packet each, all on CPU 0; milliseconds\n");
    println!(
        "{:<32}{:>10}{:>20}{:>10}{:>10}{:>14}",
        "", "least", "quartiles", "median", "p95", "above true"
    );
    let mut floor = None;
    for (name, _, mut spans) in rows {
        spans.sort();
        let [least, low, median, high, p95] =
            [0, 25, 50, 75, 95].map(|percent| quantile(&spans, percent));
        let above = median - *floor.get_or_insert(median);
        let quartiles = format!("{low:.3} – {high:.3}");
        println!("{name:<32}{least:>10.3}{quartiles:>20}{median:>10.3}{p95:>10.3}{above:>14.3}");
    }
}

/// The places of the six programs in this turn. Who comes after a program like itself
/// finds the processor's caches warm: so in six turns each comes once after each other, and
/// once first.
fn order(turn: usize) -> impl Iterator<Item = usize> {
    // Multiples of a number that seven does not divide are all different, modulo seven.
    let factor = turn % 6 + 1;
    (1..7).map(move |step| step * factor % 7 - 1)
}

/// From before the start to the end of the process.
fn start(command: &mut Command) -> Duration {
    let before = wait::now();
    let ended = command.status().expect("a program that can be started");
    let duration = before.elapsed();
    assert!(ended.success(), "{command:?} ended with {ended}");
    duration
}

/// A program of which nothing is seen, with the lab's directory as home.
fn program(name: impl AsRef<std::ffi::OsStr>, home: &Path) -> Command {
    let mut command = Command::new(name);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env("HOME", home)
        .env_remove("XDG_CONFIG_HOME");
    command
}

fn spa(home: &Path, host: &str) -> Command {
    let mut command = program(binaries::spa(), home);
    command.args(["open", "--no-wait", host]);
    command
}

/// A key pair and three hosts: one by its address; one that has a shared key
/// instead, so that no X25519 is computed, as fwknop computes none; and one by a name that every
/// machine's /etc/hosts has, so that the start of the name service is seen.
fn write_spa_files(home: &Path) {
    let key = ServerSecret::generate()
        .expect("a key")
        .public()
        .to_string();
    let (address, port) = (SERVER4.to_string(), SPA_PORT.to_string());
    run_ok(program(binaries::spa(), home).args(["key", "new"]));
    let shared = home.join("shared.key");
    let text = SharedKey::generate().expect("a key").to_text();
    std::fs::write(&shared, text.as_bytes()).expect("the shared key's file");
    let owners = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&shared, owners).expect("its mode");
    let hosts = [
        ("address", address.as_str()),
        ("shared", address.as_str()),
        ("name", "localhost"),
    ];
    for (host, address) in hosts {
        let mut command = program(binaries::spa(), home);
        command.args(["host", "add", host, "--address", address, "--port", &port]);
        command.args(["--key", &key, "--service", "chat=udp/9999"]);
        if host == "shared" {
            command.arg("--shared-key-file").arg(&shared);
        }
        run_ok(command.args(["--default", "chat"]));
    }
}

/// All that fwknop needs to know, as arguments.
fn fwknop(home: &Path) -> Command {
    let mut command = program("fwknop", home);
    command
        .args(["-A", "udp/9999", "-a", &CLIENT4.to_string()])
        .args(["-D", &SERVER4.to_string(), "--no-save-args"])
        .args(["--key-base64-rijndael", KEY])
        .args(["--use-hmac", "--key-base64-hmac", HMAC]);
    command
}

/// The same from fwknop's own file, as `spa` has it from its.
fn fwknop_stanza(home: &Path) -> Command {
    run_ok(fwknop(home).args(["--save-rc-stanza", "-n", "gw", "--test"]));
    let mut command = program("fwknop", home);
    command.args(["-n", "gw", "--no-save-args"]);
    command
}

fn run_ok(command: &mut Command) {
    let _ = start(command);
}

/// In milliseconds.
fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let duration = sorted.get(last * percent / 100).copied();
    duration.unwrap_or_default().as_secs_f64() * 1000.0
}

/// Keeps the calling thread on one processor, and what it starts.
fn pin(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).expect("a processor");
}
