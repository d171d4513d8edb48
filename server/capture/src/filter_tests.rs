//! The filter, run in an interpreter beside `frame`: it may pass what `frame`
//! refuses for what only `frame` looks at, and passes all that `frame` accepts.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use proptest::prelude::*;
use spad_model::knock::KnockFilter;
use spad_model::{CarrierSet, FrameFault, Ports, Received};

use super::check_destination;
use super::craft::{CUSTOMER_TAG, SERVICE_TAG, echo_request, packet, segment, tagged};
use super::filter::{SNAPLEN, program};
use super::frame::parse;
use super::interpreter::{Ancillary, run};

const PORT: u16 = 62_201;
const HOST: Ancillary = Ancillary {
    packet_type: 0,
    ethertype: 0x0800,
};

fn passes(port: Option<u16>, packet_type: u8, ethertype: u16, bytes: &[u8]) -> bool {
    let one = |port| Ports::one(NonZeroU16::new(port).unwrap());
    let ports = port.map_or_else(Ports::any, one);
    passes_by(&CarrierSet::udp(ports), packet_type, ethertype, bytes)
}

fn passes_by(carriers: &CarrierSet, packet_type: u8, ethertype: u16, bytes: &[u8]) -> bool {
    let ancillary = Ancillary {
        packet_type,
        ethertype,
    };
    let accepted_len = run(&program(carriers), ancillary, bytes);
    assert!(accepted_len == 0 || accepted_len == SNAPLEN);
    accepted_len != 0
}

/// Everything that a configuration may name.
fn all_carriers() -> CarrierSet {
    CarrierSet {
        udp: Ports::any(),
        icmp: true,
        tcp: Ports::any(),
        knocks: KnockFilter::default(),
    }
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
    let program = program(&CarrierSet::udp(Ports::one(NonZeroU16::new(PORT).unwrap())));
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
    let ports = Ports::from_ranges(written.map(|(from, to)| (end(from), end(to))));
    let filter = program(&CarrierSet::udp(ports.clone()));
    let near = [
        1, 52, 53, 54, 39_999, 40_000, 45_000, 50_000, 50_001, 62_200, 62_201, 62_202,
    ];
    for port in near.into_iter().chain([0, 65_534, 65_535]) {
        for v6 in [false, true] {
            let (ethertype, bytes) = genuine(v6, port, 200);
            for tags in 0..3 {
                let tag = |inner, _| tagged(CUSTOMER_TAG, inner);
                let (ethertype, bytes) = (0..tags).fold((ethertype, bytes.clone()), tag);
                let ancillary = Ancillary {
                    packet_type: 0,
                    ethertype,
                };
                let passes = run(&filter, ancillary, &bytes) != 0;
                assert_eq!(passes, ports.contains(port), "{port} {tags}");
            }
        }
    }
    assert!(
        run(
            &program(&CarrierSet::default()),
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

#[test]
fn each_carrier_passes_where_it_is_configured_and_nowhere_else_with_the_same_lengths() {
    let one = |port| Ports::one(NonZeroU16::new(port).unwrap());
    let only = [
        CarrierSet::udp(one(443)),
        CarrierSet {
            icmp: true,
            ..CarrierSet::default()
        },
        CarrierSet {
            tcp: one(443),
            ..CarrierSet::default()
        },
    ];
    for v6 in [false, true] {
        for payload in (0..700).chain([1400]) {
            let ends = |port: u16| {
                let ends = if v6 {
                    [
                        "[2001:db8::7]:4000".to_owned(),
                        format!("[2001:db8::1]:{port}"),
                    ]
                } else {
                    ["192.0.2.7:4000".to_owned(), format!("198.51.100.1:{port}")]
                };
                ends.map(|end| end.parse::<SocketAddr>().unwrap())
            };
            let ([source, destination], data) = (ends(443), vec![1; payload]);
            let echo = echo_request(source.ip(), destination.ip(), &[], &data);
            let packets = [
                packet(source, destination, &[], &data),
                echo,
                segment(source, destination, payload % 11 * 4, &data),
            ];
            let right = (160..=512).contains(&payload);
            for (carriers, which) in only.iter().zip(0..) {
                for (packet, carried_by) in packets.iter().zip(0..) {
                    let (ethertype, bytes) = packet;
                    let passed = passes_by(carriers, 0, *ethertype, bytes);
                    assert_eq!(passed, right && which == carried_by, "{which} {carried_by}");
                    let accepted = parse(*ethertype, 1, bytes)
                        .and_then(|datagram| check_destination(carriers, datagram))
                        .is_ok();
                    assert_eq!(accepted, passed);
                }
            }
            let [source, elsewhere] = ends(444);
            let (ethertype, bytes) = segment(source, elsewhere, 0, &data);
            assert!(!passes_by(&only[2], 0, ethertype, &bytes));
        }
    }
}

/// What the filter passes and `frame` reads: both agree.
fn classify<'a>(
    carriers: &CarrierSet,
    (ethertype, bytes): &'a (u16, Vec<u8>),
) -> Option<Received<'a>> {
    let passed = passes_by(carriers, 0, *ethertype, bytes);
    let received = super::classify(
        carriers,
        *ethertype,
        2,
        bytes.get(..SNAPLEN as usize).unwrap_or(bytes),
    );
    assert_eq!(passed, received.is_ok(), "{received:?}");
    received.ok()
}

/// Doors at these ports.
fn knock_carriers(tcp: Ports, udp: Ports) -> CarrierSet {
    CarrierSet {
        knocks: KnockFilter {
            tcp,
            udp,
            ..KnockFilter::default()
        },
        ..CarrierSet::udp(Ports::one(NonZeroU16::new(62201).unwrap()))
    }
}

#[test]
fn knocks_by_udp_pass_where_no_packet_is_looked_for_there() {
    let knocks = knock_carriers(Ports::default(), Ports::any()).knocks;
    let alone = CarrierSet {
        knocks,
        ..CarrierSet::default()
    };
    for ends in [
        ["192.0.2.7:4000", "198.51.100.1:8000"],
        ["[2001:db8::7]:4000", "[2001:db8::1]:8000"],
    ] {
        let [from, to] = ends.map(|end| end.parse().unwrap());
        let datagram = packet(from, to, &[], &[1]);
        let heard = classify(&alone, &datagram);
        assert!(matches!(heard, Some(Received::Knock(_))));
    }
}

#[test]
fn without_doors_no_knock_passes_and_with_them_only_theirs_and_never_as_a_packet_too() {
    let one = |port| Ports::one(NonZeroU16::new(port).unwrap());
    let none = knock_carriers(Ports::default(), Ports::default());
    let some = knock_carriers(one(7000), one(8000));
    let every = knock_carriers(Ports::any(), Ports::any());
    for [source, to] in [
        ["192.0.2.7", "198.51.100.1"],
        ["2001:db8::7", "2001:db8::1"],
    ] {
        let at = |port| {
            let ends = [(source, 4000), (to, port)];
            ends.map(|(host, port)| SocketAddr::new(host.parse().unwrap(), port))
        };
        let knock = |heard: Option<Received<'_>>, port: u16| match heard {
            Some(Received::Knock(hit)) => {
                assert_eq!(
                    (hit.source, hit.source_port),
                    (source.parse().unwrap(), 4000)
                );
                assert_eq!((hit.destination, hit.interface), (to.parse().unwrap(), 2));
                hit.knock.port.get() == port
            }
            _ => false,
        };
        for payload in [0, 1, 200, 1400] {
            let data = vec![1; payload];
            for (port, at_some) in [(8000, true), (7000, false), (62201, false)] {
                let [from, to] = at(port);
                let datagram = packet(from, to, &[], &data);
                if port == 62201 && payload == 200 {
                    for carriers in [&none, &some, &every] {
                        let heard = classify(carriers, &datagram);
                        assert!(
                            heard.and_then(Received::datagram).is_some(),
                            "a packet of ours"
                        );
                    }
                    continue;
                }
                assert!(classify(&none, &datagram).is_none());
                assert_eq!(
                    knock(classify(&some, &datagram), port),
                    at_some,
                    "{port} {payload}"
                );
                assert!(knock(classify(&every, &datagram), port));
            }
            for (port, at_some) in [(7000, true), (8000, false)] {
                let [from, to] = at(port);
                for flags in 0..=0xff {
                    let (ethertype, mut bytes) = segment(from, to, 0, &data);
                    let place = if from.is_ipv4() { 20 } else { 40 } + 13;
                    bytes[place] = flags;
                    let first = flags & 0x12 == 0x02;
                    let segment = (ethertype, bytes);
                    assert!(classify(&none, &segment).is_none());
                    assert_eq!(knock(classify(&some, &segment), port), at_some && first);
                    assert_eq!(knock(classify(&every, &segment), port), first);
                }
            }
        }
    }
}

#[test]
fn of_icmp_only_echo_requests_pass() {
    let icmp = CarrierSet {
        icmp: true,
        ..CarrierSet::default()
    };
    for (ends, at, right) in [
        (["192.0.2.7", "198.51.100.1"], 20, 8),
        (["2001:db8::7", "2001:db8::1"], 40, 128),
    ] {
        let [source, destination] = ends.map(|end| end.parse().unwrap());
        for (kind, code) in (0..=255).flat_map(|kind| [(kind, 0), (kind, 1)]) {
            let (ethertype, mut bytes) = echo_request(source, destination, &[], &[1; 200]);
            (bytes[at], bytes[at + 1]) = (kind, code);
            let is_request = kind == right && code == 0;
            assert_eq!(passes_by(&icmp, 0, ethertype, &bytes), is_request);
            let parsed = parse(ethertype, 1, &bytes);
            assert_eq!(parsed.is_ok(), is_request);
            assert!(is_request || parsed == Err(FrameFault::IcmpType));
        }
    }
}

#[test]
fn the_longest_program_is_one_that_the_kernel_takes() {
    let end = |port| NonZeroU16::new(port).unwrap();
    let max_ports = || Ports::from_ranges((1..=16).map(|n| (end(n * 100), end(n * 100 + 9))));
    let carriers = CarrierSet {
        udp: max_ports(),
        icmp: true,
        tcp: max_ports(),
        knocks: KnockFilter {
            tcp: max_ports(),
            udp: max_ports(),
            ..KnockFilter::default()
        },
    };
    assert!(program(&carriers).len() <= 4096);
}

/// Packets near enough to genuine ones to reach every line of filter and `frame`.
fn near_packets() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let tag = prop_oneof![Just(CUSTOMER_TAG), Just(SERVICE_TAG)];
    let change = (
        0_usize..90,
        prop_oneof![
            any::<u8>(),
            Just(0),
            Just(17),
            Just(44),
            Just(0x45),
            Just(0x50),
            Just(6)
        ],
    );
    (
        (any::<bool>(), 0..3_u8),
        prop_oneof![4 => Just(PORT), 1 => any::<u16>()],
        prop_oneof![4 => 150_usize..530, 1 => 0_usize..700],
        proptest::collection::vec(tag, 0..4),
        0_usize..=10,
        proptest::collection::vec(change, 0..3),
        prop_oneof![9 => Just(None), 1 => (0_usize..700).prop_map(Some)],
    )
        .prop_map(
            |((v6, carrier), port, payload, tags, options, changes, cut)| {
                let ends = if v6 {
                    [
                        SocketAddr::from(([0x20; 16], 40)),
                        SocketAddr::from(([0x20; 16], port)),
                    ]
                } else {
                    [
                        SocketAddr::from(([192, 0, 2, 7], 40)),
                        SocketAddr::from(([10, 0, 0, 1], port)),
                    ]
                };
                let (ethertype, bytes) = if carrier == 1 {
                    segment(ends[0], ends[1], options * 4, &vec![1; payload])
                } else if carrier == 2 {
                    let options = if v6 { 0 } else { options * 4 };
                    echo_request(
                        ends[0].ip(),
                        ends[1].ip(),
                        &vec![1; options],
                        &vec![1; payload],
                    )
                } else if v6 || options == 0 {
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
            },
        )
}

/// The type that newer kernels give for a frame.
fn inner_type(ethertype: u16, bytes: &[u8]) -> u16 {
    if ethertype == CUSTOMER_TAG || ethertype == SERVICE_TAG {
        inner_type(u16::from_be_bytes([bytes[2], bytes[3]]), &bytes[4..])
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
        if passes_by(&all_carriers(), 0, ethertype, &bytes) {
            let kept = &bytes[..bytes.len().min(SNAPLEN as usize)];
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
        let kept = &bytes[..bytes.len().min(SNAPLEN as usize)];
        if let Ok(datagram) = parse(ethertype, 1, &bytes) {
            prop_assert!(passes_by(&all_carriers(), 0, ethertype, &bytes));
            let one = Ports::one(NonZeroU16::new(PORT).unwrap());
            let carriers = CarrierSet { udp: one.clone(), tcp: one, ..CarrierSet::default() };
            prop_assert_eq!(
                passes_by(&carriers, 0, ethertype, &bytes),
                check_destination(&carriers, datagram).is_ok()
            );
            // A kernel that names the type behind the tags makes no difference.
            prop_assert_eq!(parse(inner_type(ethertype, &bytes), 1, &bytes), Ok(datagram));
            // What is kept of it is enough, unless the IP length covers more than the datagram.
            let again = parse(ethertype, 1, kept);
            prop_assert!(again == Ok(datagram) || again == Err(FrameFault::Truncated) && bytes.len() > kept.len());
        }
    }
}
