//! Knocks while something else goes on: how long the slowest of them waits.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use spa_tests::identity::{Identity, open_for};
use spa_tests::lab::{CLIENT4, Lab, SERVER4};
use spa_tests::settings::{CHAT, SPA_PORT};
use spa_tests::wait;

/// A service of the settings that answers.
const CHAT_SERVICE: &str = "udp/9999";
/// Between two knocks.
const PAUSE: Duration = Duration::from_millis(2);

/// Addresses of the client's machine that begin so are its own.
pub(crate) fn add_local_addresses(lab: &Lab) {
    let local = ["route", "add", "local", "10.7.0.0/16", "dev", "lo"];
    let _ = lab.client.run_ok("ip", &local);
    let back = ["route", "add", "10.7.0.0/16", "via", &CLIENT4.to_string()];
    let _ = lab.server.run_ok("ip", &back);
}

/// Knocks one after the other while this is done, each from an address of its own: how many,
/// and the longest time until one was let in.
pub(crate) fn slowest_packet(
    lab: &Lab,
    identity: &Identity,
    part: u8,
    during: impl FnOnce() + Send,
) -> (u16, Duration) {
    let mut slowest = (0_u16, Duration::ZERO);
    std::thread::scope(|scope| {
        let doing = scope.spawn(during);
        lab.client.enter(|| {
            while !doing.is_finished() {
                let [high, low] = slowest.0.to_be_bytes();
                let source = Ipv4Addr::new(10, 7, part * 64 + high, low);
                slowest.1 = slowest.1.max(time_to_grant(identity, source));
                slowest.0 += 1;
                // No client may have more than 1,024 grants at once.
                wait::until_after(wait::now(), PAUSE);
            }
        });
    });
    slowest
}

/// From a knock until a service answers, in steps of a millisecond.
fn time_to_grant(identity: &Identity, source: Ipv4Addr) -> Duration {
    let socket = UdpSocket::bind((source, 0)).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(1)))
        .expect("a time limit");
    let packet = identity.seal(&open_for(&[CHAT_SERVICE], 1));
    let began = wait::now();
    let _ = socket
        .send_to(&packet, (SERVER4, SPA_PORT))
        .expect("a way to the server");
    loop {
        let _ = socket.send_to(b"?", (SERVER4, CHAT));
        if socket.recv(&mut [0; 8]).is_ok() {
            return began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(10), "never let in");
    }
}
