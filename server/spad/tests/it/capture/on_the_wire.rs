//! Frames as a network brings them: crafted ones sent into a virtual cable.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use spad_capture::{CaptureOptions, filter};
use spad_model::{CarrierSet, Ports};

use crate::capture::craft::{
    CUSTOMER_TAG, IPV4, IPV6, SERVICE_TAG, echo_request, packet, segment, tagged,
};
use crate::capture::interpreter::{Ancillary, run};
use crate::capture::own_network::{
    FAR, PORT, Seen, Wire, cable, drain_all, end_mark, in_own_network, open, open_with, receive,
    run_ip,
};

const V4: [&str; 2] = ["192.0.2.7:40000", "198.51.100.1:62201"];
const V6: [&str; 2] = ["[2001:db8::7]:40000", "[2001:db8::1]:62201"];

fn genuine(ends: [&str; 2], payload: &[u8]) -> (u16, Vec<u8>) {
    let [source, destination] = ends.map(|end| end.parse().unwrap());
    packet(source, destination, &[], payload)
}

fn expected(ends: [&str; 2], payload: &[u8]) -> Seen {
    let [source, destination] = ends.map(|end| end.parse::<SocketAddr>().unwrap());
    Ok((source, destination, payload.to_vec()))
}

#[test]
fn packets_behind_up_to_three_vlan_tags_arrive_the_outermost_taken_off_by_the_kernel() {
    in_own_network(|| {
        cable();
        let mut capture = open();
        let mut wire = Wire::new("near");
        for ends in [V4, V6] {
            for outer in [CUSTOMER_TAG, SERVICE_TAG] {
                let mut packet = genuine(ends, &[4; 512]);
                for _ in 0..3 {
                    packet = tagged(outer, packet);
                    wire.send(&packet);
                    assert_eq!(receive(&mut capture, 1), [expected(ends, &[4; 512])]);
                }
            }
        }
    });
}

#[test]
fn a_packet_that_a_bridge_takes_in_is_seen_there_and_at_its_port() {
    in_own_network(|| {
        cable();
        run_ip("link add bridge type bridge");
        run_ip("link set far master bridge");
        run_ip("link set bridge address 02:00:00:00:00:02");
        run_ip("link set bridge up");
        let mut capture = open();
        let mut wire = Wire::new("near");
        let mut seen = Vec::new();
        // A bridge port takes a moment until it forwards.
        for _ in 0..50 {
            wire.send(&genuine(V4, &[4; 200]));
            seen = receive(&mut capture, 1);
            if seen.len() == 2 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        assert_eq!(seen, [expected(V4, &[4; 200]), expected(V4, &[4; 200])]);
    });
}

#[test]
fn ipv4_options_arrive_and_ethernet_padding_is_left_behind() {
    in_own_network(|| {
        cable();
        let mut capture = open();
        let [source, destination] = V4.map(|end| end.parse().unwrap());
        let mut long = packet(source, destination, &[1; 40], &[5; 512]);
        long.1.extend_from_slice(&[0; 100]);
        Wire::new("near").send(&long);
        assert_eq!(receive(&mut capture, 1), [expected(V4, &[5; 512])]);
    });
}

#[test]
fn what_is_not_for_this_host_or_not_plain_udp_ends_in_the_kernel() {
    in_own_network(|| {
        cable();
        let mut capture = open();
        let mut wire = Wire::new("near");
        // To another host, to all, to a group.
        for address in [[2, 0, 0, 0, 0, 9], [255; 6], [1, 0, 94, 0, 0, 1]] {
            wire.send_to(address, &genuine(V4, &[1; 200]));
            wire.send_to(address, &genuine(V6, &[1; 200]));
        }
        // First and later fragments, TCP; an extension header, TCP; a type that is neither.
        for (ends, changes) in [
            (V4, vec![(6, 0x20), (7, 1), (9, 6), (0, 0x44), (0, 0x65)]),
            (V6, vec![(6, 44), (6, 0), (6, 60), (6, 6), (0, 0x45)]),
        ] {
            for (at, value) in changes {
                let mut packet = genuine(ends, &[1; 200]);
                packet.1[at] = value;
                wire.send_to(FAR, &packet);
            }
            wire.send(&(0x0806, genuine(ends, &[1; 200]).1));
        }
        wire.send(&genuine(V4, &end_mark()));
        assert_eq!(receive(&mut capture, 1), [expected(V4, &end_mark())]);
        assert_eq!(capture.statistics().seen, 1);
    });
}

/// A generator whose numbers are the same in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// A genuine packet with up to three bytes of its headers changed, cut now and then, tagged now and then;
/// and the same as the kernel shows it to the filter, the outermost tag taken off.
fn random_frames(numbers: &mut Numbers) -> [(u16, Vec<u8>); 2] {
    let ends = [V4, V6][numbers.below(2)];
    let length = if numbers.below(2) == 0 {
        200
    } else {
        numbers.below(700)
    };
    let [source, destination] = ends.map(|end| end.parse::<SocketAddr>().unwrap());
    let payload = vec![1; length];
    let (ethertype, mut bytes) = match numbers.below(3) {
        0 => genuine(ends, &payload),
        1 => segment(source, destination, numbers.below(11) * 4, &payload),
        _ => echo_request(source.ip(), destination.ip(), &[], &payload),
    };
    for _ in 0..numbers.below(4) {
        let at = numbers.below(48);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = if numbers.below(2) == 0 {
                numbers.byte()
            } else {
                [0, 17, 0x46, 0x60, 6, 8][numbers.below(6)]
            };
        }
    }
    if numbers.below(8) == 0 {
        bytes.truncate(1 + numbers.below(bytes.len() - 1));
    }
    let mut shown = (ethertype, bytes);
    if numbers.below(16) == 0 {
        shown.0 = [IPV4, IPV6][numbers.below(2)];
    }
    for _ in 0..numbers.below(3) {
        shown = tagged([CUSTOMER_TAG, SERVICE_TAG][numbers.below(2)], shown);
    }
    let has_tag = shown.0 == CUSTOMER_TAG || shown.0 == SERVICE_TAG;
    if has_tag || numbers.below(4) == 0 {
        [tagged(CUSTOMER_TAG, shown.clone()), shown]
    } else {
        [shown.clone(), shown]
    }
}

#[test]
fn the_kernel_passes_exactly_the_frames_that_the_interpreter_passes_and_none_panics() {
    in_own_network(|| {
        cable();
        let mut wire = Wire::new("near");
        let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
        let one = || Ports::one(NonZeroU16::new(PORT).unwrap());
        let (udp, tcp) = (Ports::any(), Ports::any());
        let icmp = true;
        for carriers in [
            CarrierSet::udp(one()),
            CarrierSet {
                udp,
                icmp,
                tcp,
                ..CarrierSet::default()
            },
        ] {
            let program = filter::program(&carriers);
            let mut capture = open_with(CaptureOptions {
                carriers,
                interfaces: None,
                ring_frames: 2048,
            });
            let mut expected = 0;
            for number in 0..4000 {
                let [sent, shown] = random_frames(&mut numbers);
                let ancillary = Ancillary {
                    packet_type: 0,
                    ethertype: shown.0,
                };
                let passes = run(&program, ancillary, &shown.1) != 0;
                expected += u64::from(passes);
                wire.send(&sent);
                if number % 8 == 7 {
                    // One at a time would take long; eight at a time still show which eight differ.
                    let seen = capture.statistics().seen;
                    assert_eq!(seen, expected, "up to {number}: {shown:02x?}");
                }
                for accepted in drain_all(&mut capture).into_iter().flatten() {
                    assert!((160..=512).contains(&accepted.2.len()));
                }
            }
            assert!(
                (500..3500).contains(&expected),
                "{expected} of 4000 show little"
            );
            assert_eq!(capture.statistics().dropped, 0);
        }
    });
}
