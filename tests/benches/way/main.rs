//! Whether server/way.ld still lists what a knock runs through: steps through the engine
//! and the firewall's writer of the release program while one knock comes, and names the
//! functions that they ran outside of the section `.text.way`.
//!
//! `CARGO_PROFILE_RELEASE_STRIP=none cargo build --release -p spad && cargo bench
//! -p spa-tests --bench way`, as root, on x86_64. Prints one table; asserts nothing.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program that prints a table and ends where anything is amiss"
)]

#[path = "../peers/addresses.rs"]
mod addresses;
#[path = "../peers/pin.rs"]
mod pin;
mod program;
#[path = "../peers/spad.rs"]
mod spad;
mod steps;
mod table;
mod who;

use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::Duration;

use spa_tests::binaries;
use spa_tests::lab::{Lab, SERVER4};
use spa_tests::settings::KNOCK;
use spa_tests::wait;

use program::Program;
use spad::Spad;
use table::Walk;
use who::Who;

/// Knocks before those that are looked at: tables grow at the first ones.
const EARLIER: usize = 20;
/// Between two knocks: until both processes wait again.
const PAUSE: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    // `cargo test --all-targets` starts every benchmark with this word.
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    match look() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn look() -> Result<(), String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("this benchmark can only count on x86_64".to_owned());
    }
    let program = Program::read(binaries::spad())?;
    let lab = Lab::new();
    addresses::add_addresses(&lab, EARLIER + 2);
    let spad = Spad::start(&lab);
    for number in 0..EARLIER {
        knock(&lab, &spad, number);
        wait::until_after(wait::now(), PAUSE);
    }
    spad.daemon.wait_counted("opened", EARLIER as u64);
    let mut walks = Vec::new();
    for (number, who) in [Who::engine(&lab)?, Who::writer(&lab)?].iter().enumerate() {
        wait::until_after(wait::now(), PAUSE);
        let steps = steps::follow(who, || knock(&lab, &spad, EARLIER + number))?;
        walks.push(Walk::of(who, &steps, &program)?);
    }
    // Both were let go and did what they had to.
    spad.daemon.wait_counted("opened", EARLIER as u64 + 2);
    println!("one knock after {EARLIER} others");
    table::print(&walks, &program);
    Ok(())
}

/// From an address of its own.
fn knock(lab: &Lab, spad: &Spad, number: usize) {
    let packet = spad.packet();
    lab.client.enter(|| {
        pin::pin(pin::CLIENT);
        let socket = UdpSocket::bind((addresses::address(number), 0)).expect("a socket");
        socket
            .send_to(&packet, (SERVER4, KNOCK))
            .expect("a way to the server");
    });
}
