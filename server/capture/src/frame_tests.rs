//! What `frame` accepts and refuses, on packets crafted with pnet.

use std::net::SocketAddr;

use proptest::prelude::*;
use spad_model::{Carrier, Datagram, FrameFault};

use super::craft::{CUSTOMER_TAG, IPV4, IPV6, SERVICE_TAG, packet, tagged};
use super::frame::{MAX_PAYLOAD, MIN_PAYLOAD, parse};

const V4: [&str; 2] = ["192.0.2.7:40000", "198.51.100.1:62201"];
const V6: [&str; 2] = ["[2001:db8::7]:40000", "[2001:db8::1]:62201"];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn genuine(ends: [&str; 2], payload: &[u8]) -> (u16, Vec<u8>) {
    packet(address(ends[0]), address(ends[1]), &[], payload)
}

fn fault((ethertype, bytes): &(u16, Vec<u8>)) -> FrameFault {
    parse(*ethertype, 3, bytes).unwrap_err()
}

/// The fault after some bytes of a genuine packet were changed.
fn fault_after_change(ends: [&str; 2], change: impl FnOnce(&mut Vec<u8>)) -> FrameFault {
    let mut changed = genuine(ends, &[7; 200]);
    change(&mut changed.1);
    fault(&changed)
}

fn assert_accepted(ends: [&str; 2], (ethertype, bytes): &(u16, Vec<u8>), payload: &[u8]) {
    let expected =
        Datagram::new(Carrier::Udp, address(ends[0]), address(ends[1]), 3, payload).unwrap();
    assert_eq!(parse(*ethertype, 3, bytes), Ok(expected));
}

#[test]
fn a_packet_of_either_family_is_accepted_with_every_allowed_length() {
    for ends in [V4, V6] {
        for length in MIN_PAYLOAD..=MAX_PAYLOAD {
            let payload = vec![1; length];
            assert_accepted(ends, &genuine(ends, &payload), &payload);
        }
    }
}

#[test]
fn shorter_and_longer_payloads_are_refused() {
    for ends in [V4, V6] {
        assert_eq!(fault(&genuine(ends, &[1; 159])), FrameFault::TooShort);
        assert_eq!(fault(&genuine(ends, &[])), FrameFault::TooShort);
        assert_eq!(fault(&genuine(ends, &[1; 513])), FrameFault::TooLong);
        assert_eq!(fault(&genuine(ends, &[1; 1400])), FrameFault::TooLong);
    }
}

#[test]
fn up_to_two_tags_are_skipped_and_a_third_is_refused() {
    for ends in [V4, V6] {
        let payload = [5; 300];
        let one = tagged(CUSTOMER_TAG, genuine(ends, &payload));
        assert_accepted(ends, &one, &payload);
        let two = tagged(SERVICE_TAG, one);
        assert_accepted(ends, &two, &payload);
        let three = tagged(SERVICE_TAG, two);
        assert_eq!(fault(&three), FrameFault::VlanTags);
    }
    assert_eq!(
        fault(&(CUSTOMER_TAG, vec![0, 100, 8])),
        FrameFault::Truncated
    );
}

#[test]
fn tags_are_skipped_too_where_the_kernel_names_the_type_behind_them() {
    for ends in [V4, V6] {
        let payload = [5; 512];
        let plain = genuine(ends, &payload);
        let one = tagged(CUSTOMER_TAG, plain.clone());
        assert_accepted(ends, &(plain.0, one.1.clone()), &payload);
        let two = tagged(SERVICE_TAG, one);
        assert_accepted(ends, &(plain.0, two.1.clone()), &payload);
        let three = tagged(SERVICE_TAG, two);
        assert!(parse(plain.0, 3, &three.1).is_err());
    }
}

#[test]
fn a_flow_label_that_looks_like_a_tag_is_none() {
    for label in [0x0800_u16, 0x86dd, 0x8100, 0x88a8] {
        let payload = [5; 160];
        let (ethertype, mut bytes) = genuine(V6, &payload);
        bytes[2..4].copy_from_slice(&label.to_be_bytes());
        assert_accepted(V6, &(ethertype, bytes), &payload);
    }
}

#[test]
fn ipv4_options_are_skipped() {
    for words in 0..=10 {
        let payload = [9; 200];
        let crafted = packet(
            address(V4[0]),
            address(V4[1]),
            &vec![1; words * 4],
            &payload,
        );
        assert_accepted(V4, &crafted, &payload);
    }
}

#[test]
fn padding_after_the_ip_length_is_ignored() {
    for ends in [V4, V6] {
        let payload = [2; 160];
        let mut padded = genuine(ends, &payload);
        padded.1.extend_from_slice(&[0; 46]);
        assert_accepted(ends, &padded, &payload);
    }
}

#[test]
fn bytes_between_the_udp_length_and_the_ip_length_are_no_payload() {
    let (ethertype, mut bytes) = genuine(V4, &[2; 200]);
    bytes[24..26].copy_from_slice(&(8_u16 + 180).to_be_bytes());
    assert_accepted(V4, &(ethertype, bytes), &[2; 180]);
}

#[test]
fn fragments_of_both_families_are_refused() {
    // More fragments; a last fragment by its offset; the same with the reserved flag.
    for flags in [0x2000_u16, 0x0001, 0x1fff, 0x2001, 0x8001] {
        let refused = fault_after_change(V4, |bytes| {
            bytes[6..8].copy_from_slice(&flags.to_be_bytes())
        });
        assert_eq!(refused, FrameFault::Fragment);
    }
    assert_eq!(
        fault_after_change(V6, |bytes| bytes[6] = 44),
        FrameFault::Fragment
    );
    // "Do not fragment" is no fragment.
    let (_, mut bytes) = genuine(V4, &[1; 160]);
    bytes[6] = 0x40;
    assert!(parse(IPV4, 3, &bytes).is_ok());
}

#[test]
fn every_ipv6_extension_header_is_refused() {
    for next in [0, 43, 50, 51, 59, 60, 135, 139, 140, 253, 254] {
        assert_eq!(
            fault_after_change(V6, |bytes| bytes[6] = next),
            FrameFault::ExtensionHeader
        );
    }
}

#[test]
fn other_protocols_and_frame_types_are_refused() {
    assert_eq!(
        fault_after_change(V4, |bytes| bytes[9] = 132),
        FrameFault::Protocol
    );
    assert_eq!(
        fault_after_change(V4, |bytes| bytes[9] = 58),
        FrameFault::Protocol
    );
    assert_eq!(
        fault_after_change(V6, |bytes| bytes[6] = 132),
        FrameFault::Protocol
    );
    assert_eq!(
        fault_after_change(V6, |bytes| bytes[6] = 1),
        FrameFault::Protocol
    );
    let (_, bytes) = genuine(V4, &[1; 160]);
    assert_eq!(fault(&(0x0806, bytes.clone())), FrameFault::EtherType);
    assert_eq!(fault(&(IPV6, bytes.clone())), FrameFault::IpVersion);
    let (_, bytes) = genuine(V6, &[1; 160]);
    assert_eq!(fault(&(IPV4, bytes)), FrameFault::IpVersion);
}

#[test]
fn lying_lengths_are_refused() {
    // IPv4: header of 16 bytes; of 60 bytes where the frame is shorter; total length without room for UDP.
    assert_eq!(
        fault_after_change(V4, |bytes| bytes[0] = 0x44),
        FrameFault::IpHeader
    );
    assert_eq!(
        fault_after_change(V4, |bytes| {
            bytes[0] = 0x4f;
            bytes.truncate(59);
        }),
        FrameFault::Truncated
    );
    assert_eq!(
        fault_after_change(V4, |bytes| bytes[2..4].copy_from_slice(&[0, 27])),
        FrameFault::IpLength
    );
    assert_eq!(
        fault_after_change(V4, |bytes| bytes[2..4].copy_from_slice(&[0, 0])),
        FrameFault::ZeroLength
    );
    assert_eq!(
        fault_after_change(V4, |bytes| bytes[2..4].copy_from_slice(&[255, 255])),
        FrameFault::Truncated
    );
    // IPv6: payload length.
    assert_eq!(
        fault_after_change(V6, |bytes| bytes[4..6].copy_from_slice(&[0, 0])),
        FrameFault::Jumbo
    );
    assert_eq!(
        fault_after_change(V6, |bytes| bytes[4..6].copy_from_slice(&[0, 7])),
        FrameFault::IpLength
    );
    assert_eq!(
        fault_after_change(V6, |bytes| bytes[4..6].copy_from_slice(&[255, 255])),
        FrameFault::Truncated
    );
    // UDP: zero, below its header, one byte beyond the IP payload though the frame has it.
    for (ends, at) in [(V4, 24), (V6, 44)] {
        let with = |length: u16| {
            fault_after_change(ends, |bytes| {
                bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(&[0; 64]);
            })
        };
        assert_eq!(with(0), FrameFault::ZeroLength);
        assert_eq!(with(7), FrameFault::UdpLength);
        assert_eq!(with(209), FrameFault::UdpLength);
        assert_eq!(with(65_535), FrameFault::UdpLength);
    }
}

#[test]
fn a_source_that_is_no_single_host_is_refused() {
    for bad in ["0.0.0.0", "224.0.0.1", "239.255.255.255", "255.255.255.255"] {
        let source = format!("{bad}:9");
        assert_eq!(
            fault(&genuine([&source, V4[1]], &[1; 160])),
            FrameFault::Source
        );
    }
    for bad in ["::", "ff02::1", "::ffff:192.0.2.7"] {
        let source = format!("[{bad}]:9");
        assert_eq!(
            fault(&genuine([&source, V6[1]], &[1; 160])),
            FrameFault::Source
        );
    }
    for fine in ["127.0.0.1:1", "10.0.0.1:0"] {
        assert_accepted([fine, V4[1]], &genuine([fine, V4[1]], &[1; 160]), &[1; 160]);
    }
    for fine in ["[::1]:1", "[fe80::1]:1"] {
        assert_accepted([fine, V6[1]], &genuine([fine, V6[1]], &[1; 160]), &[1; 160]);
    }
}

#[test]
fn a_packet_cut_anywhere_is_truncated() {
    for ends in [V4, V6] {
        let tagged_twice = tagged(SERVICE_TAG, tagged(CUSTOMER_TAG, genuine(ends, &[1; 160])));
        for (ethertype, bytes) in [genuine(ends, &[1; 160]), tagged_twice] {
            for length in 0..bytes.len() {
                assert_eq!(
                    parse(ethertype, 3, &bytes[..length]),
                    Err(FrameFault::Truncated)
                );
            }
        }
    }
}

#[test]
fn every_fault_has_a_word_of_its_own() {
    let mut words: Vec<&str> = FrameFault::ALL.iter().map(|fault| fault.reason()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), FrameFault::ALL.len());
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_datagram_of_allowed_length_or_a_fault(
        ethertype in prop_oneof![Just(IPV4), Just(IPV6), Just(CUSTOMER_TAG), Just(SERVICE_TAG), any::<u16>()],
        bytes in proptest::collection::vec(any::<u8>(), 0..700),
    ) {
        if let Ok(datagram) = parse(ethertype, 3, &bytes) {
            prop_assert!((MIN_PAYLOAD..=MAX_PAYLOAD).contains(&datagram.payload().len()));
            prop_assert!(bytes.as_ptr_range().contains(&datagram.payload().as_ptr()));
        }
    }

    #[test]
    fn a_crafted_packet_comes_back_as_it_was_sent(
        from: [u8; 4], to: [u8; 4], ports: [u16; 2],
        options in 0_usize..=10, payload in proptest::collection::vec(any::<u8>(), 160..=512),
        tags in 0_usize..=2, padding in 0_usize..64,
    ) {
        let source = SocketAddr::from((from, ports[0]));
        let destination = SocketAddr::from((to, ports[1]));
        prop_assume!(from[0] < 224 && from != [0; 4]);
        let mut crafted = packet(source, destination, &vec![1; options * 4], &payload);
        for _ in 0..tags {
            crafted = tagged(CUSTOMER_TAG, crafted);
        }
        crafted.1.resize(crafted.1.len() + padding, 0);
        let expected = Datagram::new(Carrier::Udp, source, destination, 9, &payload).unwrap();
        prop_assert_eq!(parse(crafted.0, 9, &crafted.1), Ok(expected));
        prop_assert_eq!(parse(IPV4, 9, &crafted.1), Ok(expected));
    }
}
