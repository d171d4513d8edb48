//! The lab itself: what the other tests lean on is real.

use std::net::IpAddr;

use spa_tests::echo::Echo;
use spa_tests::lab::{CLIENT_MAC, LINK, Lab, SERVER_MAC, SERVER4, SERVER6};
use spa_tests::reach::{self, Reachability};
use spa_tests::sshd::Sshd;
use spa_tests::tap::Tap;
use spa_tests::{attacker, process, wait};

#[test]
fn two_machines_reach_each_other_over_both_families() {
    let lab = Lab::new();
    let (_tcp, _udp) = (Echo::tcp(&lab.server, 8080), Echo::udp(&lab.server, 9999));
    for server in [IpAddr::from(SERVER4), SERVER6.into()] {
        assert_eq!(reach::tcp(&lab.client, server, 8080), Reachability::Open);
        assert_eq!(reach::udp(&lab.client, server, 9999), Reachability::Open);
        assert_eq!(reach::tcp(&lab.client, server, 8081), Reachability::Refused);
        assert_eq!(reach::udp(&lab.client, server, 9998), Reachability::Refused);
    }
}

#[test]
fn a_tap_hears_both_directions() {
    let lab = Lab::new();
    let _echo = Echo::udp(&lab.server, 9999);
    let tap = Tap::start(&lab.client);
    assert_eq!(
        reach::udp(&lab.client, SERVER4.into(), 9999),
        Reachability::Open
    );
    assert_eq!(tap.datagram_to(9999), b"there?");
    wait::eventually("the answer", || {
        (!tap.sent_by(SERVER_MAC).is_empty()).then_some(())
    });
    assert_eq!(tap.sent_by(CLIENT_MAC).len(), 1);
}

#[test]
fn real_ssh_gets_into_a_real_sshd() {
    let lab = Lab::new();
    let sshd = Sshd::start(&lab.server, lab.path(), 22);
    let done = sshd.ssh(&lab.client, SERVER4.into(), "echo inside");
    assert_eq!(done.stdout.trim(), "inside", "{}", done.stderr);
}

#[test]
fn a_pulled_link_comes_back() {
    let lab = Lab::new();
    let _echo = Echo::tcp(&lab.server, 8080);
    lab.unplug();
    assert!(!lab.client.run("ip", &["link", "show", LINK]).success);
    lab.plug();
    wait::eventually("the way is back", || {
        (reach::tcp(&lab.client, SERVER4.into(), 8080) == Reachability::Open).then_some(())
    });
}

#[test]
fn nothing_is_left_even_after_a_failed_test() {
    let names = std::sync::Mutex::new(Vec::new());
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let lab = Lab::new();
        let _sshd = Sshd::start(&lab.server, lab.path(), 22);
        let found = [
            lab.server.name().to_owned(),
            lab.client.name().to_owned(),
            lab.path().display().to_string(),
        ];
        names.lock().expect("a lock").extend(found);
        std::panic::resume_unwind(Box::new("a test that fails"));
    }));
    assert!(failed.is_err());
    let listed = process::run(std::process::Command::new("ip").args(["netns", "list"])).stdout;
    for name in names.lock().expect("a lock").iter() {
        assert!(!listed.contains(name.as_str()), "{name} is still there");
        assert!(
            !std::path::Path::new(name).exists(),
            "{name} is still there"
        );
    }
}

#[test]
fn a_flipped_bit_is_one_bit() {
    let packet = attacker::random_packet(160);
    for bit in 0..160 * 8 {
        let flipped = attacker::flip_bit(&packet, bit);
        let changed: u32 = packet
            .iter()
            .zip(&flipped)
            .map(|(a, b)| (a ^ b).count_ones())
            .sum();
        assert_eq!(changed, 1);
    }
}
