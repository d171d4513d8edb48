//! Packets as ordinary programs send them: UDP sockets over the loopback.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU16;

use spad_capture::CaptureOptions;
use spad_model::{CarrierSet, Ports};

use crate::capture::own_network::{
    PORT, drain_all, end_mark, in_own_network, open, open_with, receive, wait,
};

#[test]
fn a_packet_from_a_udp_socket_arrives_once_over_ipv4_and_ipv6() {
    in_own_network(|| {
        let mut capture = open();
        for host in ["127.0.0.1", "[::1]"] {
            let sender = UdpSocket::bind(format!("{host}:0")).unwrap();
            let destination = format!("{host}:{PORT}");
            for length in [160, 333, 512] {
                let payload = vec![7; length];
                sender.send_to(&payload, &destination).unwrap();
                let expected = (
                    sender.local_addr().unwrap(),
                    destination.parse().unwrap(),
                    payload,
                );
                assert_eq!(receive(&mut capture, 1), [Ok(expected)]);
            }
        }
        assert!(!wait(&capture, 50));
        assert_eq!(capture.statistics().seen, 6);
        assert_eq!(capture.statistics().dropped, 0);
    });
}

#[test]
fn other_ports_lengths_and_protocols_end_in_the_kernel() {
    in_own_network(|| {
        let mut capture = open();
        for host in ["127.0.0.1", "[::1]"] {
            let sender = UdpSocket::bind(format!("{host}:0")).unwrap();
            for (port, length) in [
                (PORT - 1, 200),
                (PORT, 0),
                (PORT, 159),
                (PORT, 513),
                (PORT, 9000),
            ] {
                sender
                    .send_to(&vec![1; length], format!("{host}:{port}"))
                    .unwrap();
            }
            let listener = TcpListener::bind(format!("{host}:{PORT}")).unwrap();
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            std::io::Write::write_all(&mut stream, &[1; 300]).unwrap();
        }
        // What follows them is seen, so they had their chance.
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(&end_mark(), ("127.0.0.1", PORT)).unwrap();
        let seen = receive(&mut capture, 1);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].as_ref().unwrap().2, end_mark());
        assert_eq!(capture.statistics().seen, 1);
    });
}

#[test]
fn without_a_port_every_port_is_looked_at() {
    in_own_network(|| {
        let mut capture = open_with(CaptureOptions {
            carriers: CarrierSet::udp(Ports::any()),
            interfaces: None,
            ring_frames: 1,
        });
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for port in [1, 53, 65_535] {
            sender.send_to(&[1; 200], ("127.0.0.1", port)).unwrap();
        }
        let seen = receive(&mut capture, 3);
        let ports: Vec<u16> = seen.into_iter().map(|it| it.unwrap().1.port()).collect();
        assert_eq!(ports, [1, 53, 65_535]);
    });
}

#[test]
fn a_full_ring_counts_what_it_drops_and_goes_on_when_emptied() {
    in_own_network(|| {
        let options = CaptureOptions {
            carriers: CarrierSet::udp(Ports::one(NonZeroU16::new(PORT).unwrap())),
            interfaces: None,
            // Two blocks, with a rest at the end of each that holds no frame.
            ring_frames: 186,
        };
        let mut capture = open_with(options);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in 0..200_u8 {
            sender.send_to(&[number; 200], ("127.0.0.1", PORT)).unwrap();
        }
        let numbers = |seen: Vec<crate::capture::own_network::Seen>| -> Vec<u8> {
            seen.into_iter().map(|it| it.unwrap().2[0]).collect()
        };
        assert_eq!(
            numbers(drain_all(&mut capture)),
            (0..186).collect::<Vec<u8>>()
        );
        let statistics = capture.statistics();
        assert_eq!((statistics.seen, statistics.dropped), (200, 14));
        // Round the ring several times, with a budget that leaves some behind.
        for number in 0..250_u8 {
            sender.send_to(&[number; 200], ("127.0.0.1", PORT)).unwrap();
            if number % 50 == 49 {
                let mut first = Vec::new();
                let done = capture.drain(20, |judged| {
                    first.push(judged.unwrap().datagram().unwrap().payload()[0])
                });
                assert_eq!(done, 20);
                assert!(
                    wait(&capture, 0),
                    "frames left behind must keep the descriptor readable"
                );
                first.extend(numbers(drain_all(&mut capture)));
                assert_eq!(first, (number - 49..=number).collect::<Vec<u8>>());
                assert!(!wait(&capture, 0));
            }
        }
        let statistics = capture.statistics();
        assert_eq!((statistics.seen, statistics.dropped), (450, 14));
    });
}
