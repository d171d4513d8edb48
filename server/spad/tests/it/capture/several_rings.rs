//! Packet sockets that share the frames: each comes once, to one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use spad_capture::{Capture, CaptureOptions, filter};
use spad_model::{CarrierSet, Ports};
use spad_sys::packet_socket::{attach_filter, detach_filter};

use crate::capture::own_network::{PORT, drain_all, in_own_network};

fn open_group(ring_frames: u32) -> Vec<Capture> {
    let options = CaptureOptions {
        carriers: CarrierSet::udp(Ports::one(NonZeroU16::new(PORT).unwrap())),
        interfaces: None,
        ring_frames,
    };
    Capture::open_fanout_group(&options, 4).unwrap()
}

/// Sends at the loopback, which delivers before `send_to` returns.
fn send(sender: &UdpSocket, number: u32) {
    let mut payload = [0; 200];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    let host = sender.local_addr().unwrap().ip();
    sender.send_to(&payload, (host, PORT)).unwrap();
}

/// The numbers that came into a ring, and where from.
fn numbers(capture: &mut Capture) -> Vec<(SocketAddr, u32)> {
    let number = |payload: &[u8]| u32::from_be_bytes(*payload.first_chunk().unwrap());
    drain_all(capture)
        .into_iter()
        .map(|seen| seen.unwrap())
        .map(|(source, _, payload)| (source, number(&payload)))
        .collect()
}

#[test]
fn each_frame_comes_once_and_all_of_one_flow_into_one_ring() {
    in_own_network(|| {
        let mut rings = open_group(2048);
        let hosts = ["127.0.0.1:0", "[::1]:0"];
        let senders: Vec<_> = (0..64)
            .map(|number| UdpSocket::bind(hosts[number % 2]).unwrap())
            .collect();
        for number in 0..640 {
            send(&senders[number % 64], u32::try_from(number).unwrap());
        }
        let mut received = BTreeSet::new();
        let mut ring_by_flow = BTreeMap::new();
        for (index, ring) in rings.iter_mut().enumerate() {
            for (source, number) in numbers(ring) {
                assert!(received.insert(number), "{number} came twice");
                assert_eq!(
                    *ring_by_flow.entry(source).or_insert(index),
                    index,
                    "{source}"
                );
            }
        }
        assert_eq!(received, (0..640).collect());
        let used: BTreeSet<_> = ring_by_flow.values().collect();
        assert_eq!(used.len(), 4, "64 flows spread over all rings");
        let seen: u64 = rings.iter_mut().map(|ring| ring.statistics().seen).sum();
        assert_eq!(seen, 640);
    });
}

#[test]
fn a_flow_that_fills_its_ring_goes_on_in_the_others() {
    in_own_network(|| {
        let mut rings = open_group(93);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in 0..150 {
            send(&sender, number);
        }
        let received: BTreeSet<_> = rings.iter_mut().flat_map(numbers).collect();
        assert_eq!(received.len(), 150);
        let dropped: u64 = rings.iter_mut().map(|ring| ring.statistics().dropped).sum();
        assert_eq!(dropped, 0);
    });
}

#[test]
fn no_frame_comes_twice_while_the_sockets_are_being_opened() {
    in_own_network(|| {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
                let mut number = 0;
                while !done.load(Ordering::Relaxed) {
                    send(&sender, number);
                    number += 1;
                }
            });
            let groups: Vec<Vec<_>> = (0..20)
                .map(|_| open_group(2048).iter_mut().flat_map(numbers).collect())
                .collect();
            // First of all, or a test that fails would not end.
            done.store(true, Ordering::Relaxed);
            assert!(groups.iter().any(|received| !received.is_empty()));
            for came in groups {
                let different: BTreeSet<_> = came.iter().collect();
                assert_eq!(different.len(), came.len(), "some came twice");
            }
        });
    });
}

#[test]
fn two_groups_hear_everything_each() {
    in_own_network(|| {
        let mut groups = [open_group(64), open_group(64)];
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in 0..32 {
            send(&sender, number);
        }
        for rings in &mut groups {
            let received: Vec<_> = rings.iter_mut().flat_map(numbers).collect();
            assert_eq!(received.len(), 32);
        }
    });
}

#[test]
fn nobody_can_take_off_or_widen_the_filter_of_any_of_them() {
    in_own_network(|| {
        for ring in open_group(64) {
            let refused = detach_filter(ring.as_fd()).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
            let refused = attach_filter(
                ring.as_fd(),
                &filter::program(&CarrierSet::udp(Ports::any())),
            )
            .unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        }
    });
}
