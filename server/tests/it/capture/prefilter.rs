//! Several rings, a thread for each: what comes through, and what threads do besides.

use std::net::UdpSocket;
use std::num::NonZeroU16;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spa_keys::{HeadKeys, ServerSecret};
use spad::capture::{Capture, CaptureOptions, Carriers, Intake};
use spad::clients::Heads;
use spad::ports::Ports;
use spad::verdict::Reason;

use crate::capture::own_network::{PORT, in_own_network, ip};

const THREADS: usize = 4;
const MOMENT: Duration = Duration::from_millis(50);
/// What `capture/intake.rs` queues at most.
const QUEUE: u64 = 1024;

/// A started intake, and the head's keys whose datagrams it lets pass.
fn start(interfaces: Option<&str>) -> (Intake, HeadKeys) {
    let options = CaptureOptions {
        carriers: Carriers::udp(Ports::one(NonZeroU16::new(PORT).unwrap())),
        interfaces: interfaces.map(|name| vec![name.to_owned()]),
        ring_frames: 2048,
    };
    let captures = Capture::open_group(&options, THREADS).unwrap();
    let (heads, keys) = heads();
    let mut intake = Intake::new(captures, heads).unwrap();
    intake.start().unwrap();
    (intake, keys)
}

fn heads() -> (Heads, HeadKeys) {
    let secret = ServerSecret::generate().unwrap();
    let keys = HeadKeys::of(&secret.public());
    (Heads::of(&[secret.into()]), keys)
}

/// A payload with a right tag.
fn tagged(keys: &HeadKeys) -> Vec<u8> {
    let mut payload = vec![7; 200];
    let tag = keys.tag(payload.first_chunk().unwrap());
    payload[40..48].copy_from_slice(&tag);
    payload
}

/// Sends each payload from a socket of its own.
fn send(payloads: &[Vec<u8>]) {
    for payload in payloads {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(payload, ("127.0.0.1", PORT)).unwrap();
    }
}

/// Whether it rings within this time.
fn rings(intake: &Intake, within: Duration) -> bool {
    let timeout = Timespec::try_from(within).unwrap();
    let mut bell = [PollFd::new(intake, PollFlags::IN)];
    poll(&mut bell, Some(&timeout)).unwrap() > 0
}

/// Asks until it is so, for 3 s at most.
fn soon(mut so: impl FnMut() -> bool) -> bool {
    (0..300).any(|_| {
        so() || {
            std::thread::sleep(Duration::from_millis(10));
            false
        }
    })
}

/// The voluntary switches of each running sieve, by its name.
fn sieves() -> Vec<(String, String)> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let mut found: Vec<_> = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
        .map(|status| {
            let field = |name| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                line.split_whitespace().last().unwrap().to_owned()
            };
            (field("Name:"), field("voluntary_ctxt_switches:"))
        })
        .filter(|(name, _)| name.starts_with("sieve-"))
        .collect();
    found.sort();
    found
}

#[test]
fn right_heads_come_through_once_each_and_the_rest_is_counted_and_rings_nothing() {
    in_own_network(|| {
        let (mut intake, keys) = start(None);
        send(&vec![vec![1; 200]; 300]);
        let mut noise = 0;
        assert!(soon(|| {
            noise += intake.take_noise().get(Reason::HeadTag);
            noise == 300
        }));
        assert!(!rings(&intake, MOMENT), "noise wakes nobody");
        send(&vec![tagged(&keys); 40]);
        let mut came = 0;
        while came < 40 {
            assert!(rings(&intake, Duration::from_secs(3)), "after {came}");
            came += intake.drain(15, |frame| {
                assert_eq!(frame.unwrap().datagram().unwrap().payload(), tagged(&keys));
            });
        }
        assert_eq!(intake.drain(15, |_| ()), 0);
        assert!(!rings(&intake, MOMENT), "all was heard");
        assert_eq!(intake.take_noise().total(), 0);
        let statistics = intake.statistics();
        assert_eq!((statistics.seen, statistics.dropped), (340, 0));
    });
}

#[test]
fn what_the_queue_has_no_room_for_counts_as_dropped() {
    in_own_network(|| {
        let (mut intake, keys) = start(None);
        for _ in 0..12 {
            send(&vec![tagged(&keys); 100]);
        }
        assert!(soon(|| intake.statistics().dropped == 1200 - QUEUE));
        assert_eq!(intake.statistics().seen, 1200);
        let waited = intake.drain(usize::MAX, |_| ());
        assert_eq!(u64::try_from(waited).unwrap(), QUEUE);
    });
}

#[test]
fn other_heads_hold_once_they_are_to_be_used() {
    in_own_network(|| {
        let (mut intake, old) = start(None);
        let (heads, new) = heads();
        intake.use_heads(&heads);
        send(&[tagged(&old), tagged(&new)]);
        let mut came = 0;
        assert!(soon(|| {
            came += intake.drain(9, |frame| {
                assert_eq!(frame.unwrap().datagram().unwrap().payload(), tagged(&new))
            });
            came == 1
        }));
        let mut noise = 0;
        assert!(soon(|| {
            noise += intake.take_noise().get(Reason::HeadTag);
            noise == 1
        }));
    });
}

#[test]
fn a_renamed_interface_is_looked_up_again_by_every_thread() {
    in_own_network(|| {
        let (mut intake, _) = start(Some("lo"));
        let counted = |intake: &mut Intake, reason| {
            let mut noise = 0;
            soon(|| {
                noise += intake.take_noise().get(reason);
                noise == 64
            })
        };
        send(&vec![vec![1; 200]; 64]);
        assert!(counted(&mut intake, Reason::HeadTag));
        ip("link set lo down");
        ip("link set lo name other");
        ip("link set other up");
        intake.forget_interfaces();
        send(&vec![vec![1; 200]; 64]);
        assert!(counted(&mut intake, Reason::Frame));
    });
}

#[test]
fn threads_sleep_while_nothing_comes_and_end_with_their_intake() {
    in_own_network(|| {
        let (intake, _) = start(None);
        assert_eq!(intake.threads(), THREADS);
        assert!(soon(|| sieves().len() == THREADS));
        // Until each sleeps.
        std::thread::sleep(Duration::from_millis(200));
        let before = sieves();
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(sieves(), before, "nobody woke without a frame");
        drop(intake);
        assert!(soon(|| sieves().is_empty()), "they end");
    });
}
