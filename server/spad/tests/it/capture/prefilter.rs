//! Several rings, a thread for each: what comes through, and what threads do besides.

use std::net::UdpSocket;
use std::num::NonZeroU16;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spa_keys::{HeadKeys, ServerSecret};
use spad_capture::{Capture, CaptureOptions, Ingress};
use spad_model::{CarrierSet, HeadKeySet, Ports, Reason};

use crate::capture::own_network::{PORT, in_own_network, run_ip};

const THREADS: usize = 4;
const MOMENT: Duration = Duration::from_millis(50);
/// What `capture/intake.rs` queues at most.
const QUEUE_LEN: u64 = 1024;

/// A started intake, and the head's keys whose datagrams it lets pass.
fn start(interfaces: Option<&str>) -> (Ingress, HeadKeys) {
    let options = CaptureOptions {
        carriers: CarrierSet::udp(Ports::one(NonZeroU16::new(PORT).unwrap())),
        interfaces: interfaces.map(|name| vec![name.to_owned()]),
        ring_frames: 2048,
    };
    let captures = Capture::open_fanout_group(&options, THREADS).unwrap();
    let (head_key_set, keys) = head_keys();
    let mut ingress = Ingress::new(captures, head_key_set).unwrap();
    ingress.start().unwrap();
    (ingress, keys)
}

fn head_keys() -> (HeadKeySet, HeadKeys) {
    let secret = ServerSecret::generate().unwrap();
    let keys = HeadKeys::new(&secret.public());
    (HeadKeySet::new(&[secret.into()]), keys)
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
fn is_readable(ingress: &Ingress, timeout_in: Duration) -> bool {
    let timeout = Timespec::try_from(timeout_in).unwrap();
    let mut fds = [PollFd::new(ingress, PollFlags::IN)];
    poll(&mut fds, Some(&timeout)).unwrap() > 0
}

/// Asks until it is so, for 3 s at most.
fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    (0..300).any(|_| {
        condition() || {
            std::thread::sleep(Duration::from_millis(10));
            false
        }
    })
}

/// The voluntary switches of each running sieve, by its name.
fn prefilter_threads() -> Vec<(String, String)> {
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
        let (mut ingress, keys) = start(None);
        send(&vec![vec![1; 200]; 300]);
        let mut noise = 0;
        assert!(eventually(|| {
            noise += ingress.take_counters().get(Reason::HeadTag);
            noise == 300
        }));
        assert!(!is_readable(&ingress, MOMENT), "noise wakes nobody");
        send(&vec![tagged(&keys); 40]);
        let mut received = 0;
        while received < 40 {
            assert!(
                is_readable(&ingress, Duration::from_secs(3)),
                "after {received}"
            );
            received += ingress.drain(15, |frame| {
                assert_eq!(frame.unwrap().datagram().unwrap().payload(), tagged(&keys));
            });
        }
        assert_eq!(ingress.drain(15, |_| ()), 0);
        assert!(!is_readable(&ingress, MOMENT), "all was heard");
        assert_eq!(ingress.take_counters().total(), 0);
        let statistics = ingress.statistics();
        assert_eq!((statistics.seen, statistics.dropped), (340, 0));
    });
}

#[test]
fn what_the_queue_has_no_room_for_counts_as_dropped() {
    in_own_network(|| {
        let (mut ingress, keys) = start(None);
        for _ in 0..12 {
            send(&vec![tagged(&keys); 100]);
        }
        assert!(eventually(
            || ingress.statistics().dropped == 1200 - QUEUE_LEN
        ));
        assert_eq!(ingress.statistics().seen, 1200);
        let waited = ingress.drain(usize::MAX, |_| ());
        assert_eq!(u64::try_from(waited).unwrap(), QUEUE_LEN);
    });
}

#[test]
fn other_heads_hold_once_they_are_to_be_used() {
    in_own_network(|| {
        let (mut ingress, old) = start(None);
        let (head_key_set, new) = head_keys();
        ingress.set_head_keys(&head_key_set);
        send(&[tagged(&old), tagged(&new)]);
        let mut received = 0;
        assert!(eventually(|| {
            received += ingress.drain(9, |frame| {
                assert_eq!(frame.unwrap().datagram().unwrap().payload(), tagged(&new))
            });
            received == 1
        }));
        let mut noise = 0;
        assert!(eventually(|| {
            noise += ingress.take_counters().get(Reason::HeadTag);
            noise == 1
        }));
    });
}

#[test]
fn a_renamed_interface_is_looked_up_again_by_every_thread() {
    in_own_network(|| {
        let (mut ingress, _) = start(Some("lo"));
        let counted = |intake: &mut Ingress, reason| {
            let mut noise = 0;
            eventually(|| {
                noise += intake.take_counters().get(reason);
                noise == 64
            })
        };
        send(&vec![vec![1; 200]; 64]);
        assert!(counted(&mut ingress, Reason::HeadTag));
        run_ip("link set lo down");
        run_ip("link set lo name other");
        run_ip("link set other up");
        ingress.clear_interface_cache();
        send(&vec![vec![1; 200]; 64]);
        assert!(counted(&mut ingress, Reason::Frame));
    });
}

#[test]
fn threads_sleep_while_nothing_comes_and_end_with_their_intake() {
    in_own_network(|| {
        let (ingress, _) = start(None);
        assert_eq!(ingress.threads(), THREADS);
        assert!(eventually(|| prefilter_threads().len() == THREADS));
        // Until each sleeps.
        std::thread::sleep(Duration::from_millis(200));
        let before = prefilter_threads();
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(prefilter_threads(), before, "nobody woke without a frame");
        drop(ingress);
        assert!(eventually(|| prefilter_threads().is_empty()), "they end");
    });
}
