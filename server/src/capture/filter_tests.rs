//! The filter, run in an interpreter beside `frame`: it may pass what `frame`
//! refuses for what only `frame` looks at, and passes all that `frame` accepts.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use proptest::prelude::*;

use super::craft::{CUSTOMER_TAG, SERVICE_TAG, packet, tagged};
use super::filter::{KEEP, program};
use super::frame::parse;
use super::interpreter::{Beside, run};
use super::{Carriers, FrameFault};
use crate::ports::Ports;

const PORT: u16 = 62_201;
const HOST: Beside = Beside {
    packet_type: 0,
    ethertype: 0x0800,
};

fn passes(port: Option<u16>, packet_type: u8, ethertype: u16, bytes: &[u8]) -> bool {
    let ports = port.map_or_else(Ports::any, |port| {
        Ports::one(NonZeroU16::new(port).unwrap())
    });
    let program = program(&Carriers::udp(ports));
    let kept = run(
        &program,
        Beside {
            packet_type,
            ethertype,
        },
        bytes,
    );
    assert!(kept == 0 || kept == KEEP);
    kept != 0
}

fn genuine(v6: bool, port: u16, payload: usize) -> (u16, Vec<u8>) {
    let ends = if v6 {
        [
            "[2001:db8::7]:4000".to_owned(),
            format!("[2001:db8::1]:{port}"),
        ]
    } else {
        ["192.0.2.7:4000".to_owned(), format!("198.51.100.1:{port}")]
    };
    let [source, destination] = ends.map(|end| end.parse::<SocketAddr>().unwrap());
    packet(source, destination, &[], &vec![1; payload])
}

#[test]
fn the_program_is_short_and_jumps_stay_inside() {
    let program = program(&Carriers::udp(Ports::one(NonZeroU16::new(PORT).unwrap())));
    assert!(program.len() < 256, "{}", program.len());
    for (at, instruction) in program.iter().enumerate() {
        let furthest = match instruction.code {
            0x05 => instruction.k as usize,
            _ => usize::from(instruction.jt.max(instruction.jf)),
        };
        assert!(at + 1 + furthest < program.len() || instruction.code == 0x06);
    }
}

#[test]
fn only_packets_to_this_host_pass() {
    let (ethertype, bytes) = genuine(false, PORT, 200);
    for packet_type in 0..=7 {
        assert_eq!(
            passes(Some(PORT), packet_type, ethertype, &bytes),
            packet_type == 0
        );
    }
}

#[test]
fn only_the_configured_port_passes_or_any() {
    for v6 in [false, true] {
        let (ethertype, bytes) = genuine(v6, PORT, 200);
        assert!(passes(Some(PORT), 0, ethertype, &bytes));
        assert!(!passes(Some(PORT - 1), 0, ethertype, &bytes));
        assert!(passes(None, 0, ethertype, &bytes));
    }
}

#[test]
fn of_a_list_with_ranges_exactly_its_ports_pass() {
    let end = |port| NonZeroU16::new(port).unwrap();
    let written = [
        (62_201, 62_201),
        (53, 53),
        (40_000, 50_000),
        (65_535, 65_535),
    ];
    let ports = Ports::of(written.map(|(from, to)| (end(from), end(to))));
    let looked_at = program(&Carriers::udp(ports.clone()));
    let near = [
        1, 52, 53, 54, 39_999, 40_000, 45_000, 50_000, 50_001, 62_200, 62_201, 62_202,
    ];
    for port in near.into_iter().chain([0, 65_534, 65_535]) {
        for v6 in [false, true] {
            let (ethertype, bytes) = genuine(v6, port, 200);
            for tags in 0..3 {
                let tag = |inner, _| tagged(CUSTOMER_TAG, inner);
                let (ethertype, bytes) = (0..tags).fold((ethertype, bytes.clone()), tag);
                let beside = Beside {
                    packet_type: 0,
                    ethertype,
                };
                let passes = run(&looked_at, beside, &bytes) != 0;
                assert_eq!(passes, ports.contains(port), "{port} {tags}");
            }
        }
    }
    assert!(
        run(
            &program(&Carriers::default()),
            HOST,
            &genuine(false, 53, 200).1
        ) == 0
    );
}

#[test]
fn only_lengths_of_160_to_512_bytes_pass() {
    for v6 in [false, true] {
        for payload in 0..700 {
            let (ethertype, bytes) = genuine(v6, PORT, payload);
            let expected = (160..=512).contains(&payload);
            assert_eq!(passes(Some(PORT), 0, ethertype, &bytes), expected);
        }
    }
}

/// Packets near enough to genuine ones to reach every line of filter and `frame`.
fn near_packets() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let tag = prop_oneof![Just(CUSTOMER_TAG), Just(SERVICE_TAG)];
    let change = (
        0_usize..90,
        prop_oneof![any::<u8>(), Just(0), Just(17), Just(44), Just(0x45)],
    );
    (
        any::<bool>(),
        prop_oneof![4 => Just(PORT), 1 => any::<u16>()],
        prop_oneof![4 => 150_usize..530, 1 => 0_usize..700],
        proptest::collection::vec(tag, 0..4),
        0_usize..=10,
        proptest::collection::vec(change, 0..3),
        prop_oneof![9 => Just(None), 1 => (0_usize..700).prop_map(Some)],
    )
        .prop_map(|(v6, port, payload, tags, options, changes, cut)| {
            let (ethertype, bytes) = if v6 || options == 0 {
                genuine(v6, port, payload)
            } else {
                let ends = [
                    SocketAddr::from(([192, 0, 2, 7], 40)),
                    SocketAddr::from(([10, 0, 0, 1], port)),
                ];
                packet(ends[0], ends[1], &vec![1; options * 4], &vec![1; payload])
            };
            let (ethertype, mut bytes) = tags
                .into_iter()
                .fold((ethertype, bytes), |inner, tag| tagged(tag, inner));
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(cut.unwrap_or(usize::MAX));
            (ethertype, bytes)
        })
}

/// The type that newer kernels give for a frame.
fn behind_tags(ethertype: u16, bytes: &[u8]) -> u16 {
    if ethertype == CUSTOMER_TAG || ethertype == SERVICE_TAG {
        behind_tags(u16::from_be_bytes([bytes[2], bytes[3]]), &bytes[4..])
    } else {
        ethertype
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn what_passes_is_refused_later_only_for_what_the_filter_cannot_see(
        (ethertype, bytes) in near_packets(),
    ) {
        if passes(None, 0, ethertype, &bytes) {
            let kept = &bytes[..bytes.len().min(KEEP as usize)];
            if let Err(fault) = parse(ethertype, 1, kept) {
                prop_assert!(matches!(
                    fault,
                    FrameFault::Truncated | FrameFault::ZeroLength | FrameFault::Jumbo
                        | FrameFault::IpLength | FrameFault::UdpLength | FrameFault::Source
                ), "{fault:?}");
            }
        }
    }

    #[test]
    fn what_is_accepted_passes_exactly_when_its_port_is_looked_at(
        (ethertype, bytes) in near_packets(),
    ) {
        let kept = &bytes[..bytes.len().min(KEEP as usize)];
        if let Ok(datagram) = parse(ethertype, 1, &bytes) {
            prop_assert!(passes(None, 0, ethertype, &bytes));
            prop_assert_eq!(
                passes(Some(PORT), 0, ethertype, &bytes),
                datagram.destination().port() == PORT
            );
            // A kernel that names the type behind the tags makes no difference.
            prop_assert_eq!(parse(behind_tags(ethertype, &bytes), 1, &bytes), Ok(datagram));
            // What is kept of it is enough, unless the IP length covers more than the datagram.
            let again = parse(ethertype, 1, kept);
            prop_assert!(again == Ok(datagram) || again == Err(FrameFault::Truncated) && bytes.len() > kept.len());
        }
    }
}
