//! What a stranger sees of a hidden port: what he sees of a closed one.

use std::net::IpAddr;

use spad_firewall::FromWriter;

use crate::firewall::netns::{
    GHOST4, GHOST6, SERVER4, SERVER6, TestNetns, echo, in_netns, nft, sh, udp as service,
};
use crate::firewall::wire::{
    ACK, RST, SYN, Wire, datagram, packet, segment, tcp, udp, with_checksum,
};

/// A port on which nothing listens, for each hidden one; as many one bits, so that checksums match in length.
const CLOSED: u16 = 23;

/// The answer without what must differ: the IPv4 identification, the ports, the checksums.
fn fingerprint(answer: &[u8]) -> Vec<u8> {
    let mut bytes = answer.to_vec();
    let head = if bytes[0] >> 4 == 4 {
        if bytes[4..6] != [0, 0] {
            bytes[4..6].copy_from_slice(b"id");
        }
        bytes[10..12].fill(0);
        20
    } else {
        // A flow label is a number of the kernel's own: that there is one is what shows.
        if (bytes[1] & 15, bytes[2], bytes[3]) != (0, 0, 0) {
            bytes[1] |= 15;
            bytes[2..4].fill(0xff);
        }
        40
    };
    let (protocol, rest) = (
        if head == 20 { bytes[9] } else { bytes[6] },
        &mut bytes[head..],
    );
    if protocol == 6 {
        rest[0..2].fill(0);
        rest[16..18].fill(0);
    } else {
        rest[2..4].fill(0);
        // The packet that is given back: its own checksums, ports and label.
        let inner = if head == 20 { 8 + 20 } else { 8 + 40 };
        rest[inner + 2..inner + 4].fill(0);
        rest[inner + 6..inner + 8].fill(0);
        rest[8 + 10..8 + 12].fill(0);
    }
    bytes
}

in_netns! {
    fn a_hidden_port_answers_byte_for_byte_as_a_closed_one() {
        let world = TestNetns::new("\"ssh\", \"dns\"", "trial = \"0s\"");
        echo(22);
        let _service = service(std::net::Ipv4Addr::UNSPECIFIED, 53);
        let _writer = world.writer();
        let mut wire = Wire::new(&world);
        let families: [(IpAddr, IpAddr); 2] = [(GHOST4.into(), SERVER4.into()), (GHOST6.into(), SERVER6.into())];
        for (from, to) in families {
            // First segments, stray ones, and what no honest sender sends.
            for flags in [SYN, SYN | ACK, ACK, 1, 1 | ACK, 0, 0x29, 0xc2, SYN | 1, RST, RST | ACK] {
                let [hidden, closed] = [22, CLOSED].map(|port| {
                    let heard = wire.exchange(&tcp(from, to, (4000 + u16::from(flags), port), flags));
                    heard.iter().map(|packet| fingerprint(packet)).collect::<Vec<_>>()
                });
                assert_eq!(hidden, closed, "TCP flags {flags:#x} over {to}");
                assert_eq!(hidden.len(), usize::from(flags & RST == 0), "one answer, none to a reset");
            }
            for (hidden, closed) in [(53, 54), (62201, 62202)] {
                let [hidden, closed] = [hidden, closed].map(|port| {
                    let heard = wire.exchange(&udp(from, to, (4000, port)));
                    heard.iter().map(|packet| fingerprint(packet)).collect::<Vec<_>>()
                });
                assert_eq!(hidden, closed, "UDP over {to}");
                assert_eq!(hidden.len(), 1);
            }
        }
    }

    fn resets_of_one_flow_have_one_flow_label_and_those_of_others_have_others() {
        let world = TestNetns::new("\"ssh\"", "trial = \"0s\"");
        let _writer = world.writer();
        let mut wire = Wire::new(&world);
        let mut label = |source: u16| {
            let replies = wire.exchange(&tcp(GHOST6, SERVER6, (source, 22), SYN));
            let reset = replies.first().unwrap();
            assert_eq!(reset[0], 0x60);
            assert_eq!(reset[1] >> 4, 0, "the traffic class is left alone");
            [reset[1], reset[2], reset[3]]
        };
        let labels: std::collections::BTreeSet<_> = (4000..4032).map(&mut label).collect();
        assert!(labels.len() > 30, "{labels:02x?}");
        assert!(labels.iter().any(|label| label[0] != 0), "all twenty bits are used");
        assert_eq!(label(4000), label(4000));
    }

    fn no_start_beside_a_firewall_that_drops_the_rest_answers_for_a_moment() {
        nft("table inet user { chain in { type filter hook input priority 0; policy drop; tcp dport 22 accept; }; }");
        let world = TestNetns::new("\"ssh\"", "trial = \"0s\"");
        let answers = || sh("nft list chain inet spad reject_ungranted").contains("goto reject_as_closed");
        world.spad(&["firewall", "load"]);
        assert!(!answers(), "at boot");
        for when in ["after a load", "after a flush"] {
            let mut writer = world.writer();
            assert!(!answers(), "{when}");
            let strangers_get = writer.wait_for(|message| matches!(message, FromWriter::StrangerReply(_)));
            let FromWriter::StrangerReply(text) = strangers_get else { unreachable!() };
            assert!(text.contains("inet user in: nothing"), "{text}");
            drop(writer);
            nft("delete table inet spad");
        }
        nft("delete table inet user");
        world.spad(&["firewall", "load"]);
        assert!(answers(), "without it");
    }

    fn rules_by_which_strangers_tell_hidden_ports_from_closed_ones_are_named() {
        let world = TestNetns::new("\"ssh\"", "trial = \"0s\"");
        echo(22);
        let mut source = 4000;
        for (chain, told) in [
            ("out { type filter hook output priority 0; policy drop; ct state established accept; }", Some("the chain inet user out")),
            ("out { type filter hook output priority 0; ct state related tcp flags rst drop; }", Some("the chain inet user out")),
            ("out { type filter hook output priority 0; policy drop; ct state { established, related } accept; }", None),
            ("in { type filter hook input priority 0; tcp dport 23-99 reject; }", Some("the tcp ports 23-99 are answered otherwise than others, by the chain inet user in")),
        ] {
            nft(&format!("table inet user {{ chain {chain} }}"));
            world.spad(&["firewall", "load"]);
            let mut wire = Wire::new(&world);
            for (from, to) in [(IpAddr::from(GHOST4), IpAddr::from(SERVER4)), (GHOST6.into(), SERVER6.into())] {
                source += 1;
                let [hidden, closed] = [22, CLOSED].map(|port| {
                    let replies = wire.exchange(&tcp(from, to, (source, port), SYN));
                    replies.iter().map(|packet| fingerprint(packet)).collect::<Vec<_>>()
                });
                assert_eq!(hidden == closed, told.is_none(), "{chain} over {to}: {hidden:02x?} {closed:02x?}");
            }
            let shown = world.spad(&["firewall", "show"]);
            let named = shown.lines().filter(|line| line.starts_with("# at hidden ports:"));
            let named: Vec<&str> = named.collect();
            match told {
                None => assert_eq!(named, Vec::<&str>::new(), "{chain}"),
                Some(words) => assert!(named.iter().any(|line| line.contains(words)), "{chain}: {shown}"),
            }
            nft("delete table inet user");
        }
    }

    fn a_broken_checksum_is_not_answered_as_it_is_not_at_a_closed_port() {
        let world = TestNetns::new("\"ssh\", \"dns\"", "trial = \"0s\"");
        let _writer = world.writer();
        let mut wire = Wire::new(&world);
        for port in [22, CLOSED] {
            let mut packet = tcp(GHOST4, SERVER4, (4000, port), SYN);
            *packet.get_mut(37).unwrap() ^= 1;
            assert_eq!(wire.exchange(&packet).len(), 0, "TCP port {port}");
        }
        for port in [53, 54] {
            let mut packet = udp(GHOST4, SERVER4, (4000, port));
            *packet.last_mut().unwrap() ^= 1;
            assert_eq!(wire.exchange(&packet).len(), 0, "UDP port {port}");
        }
    }

    fn lengths_that_lie_and_a_missing_checksum_are_answered_at_no_hidden_port_as_at_no_closed_one() {
        let world = TestNetns::new("\"ssh\", \"dns\"", "trial = \"0s\"");
        let _writer = world.writer();
        let mut wire = Wire::new(&world);
        let families: [(IpAddr, IpAddr); 2] = [(GHOST4.into(), SERVER4.into()), (GHOST6.into(), SERVER6.into())];
        for (from, to) in families {
            for port in [22, CLOSED] {
                // A TCP header of four words, which is too short, and of more than there are.
                for (words, answers) in [(4, 0), (5, 1), (6, 0), (15, 0)] {
                    let mut inner = segment(from, to, (4000 + words, port), SYN, 0);
                    inner[12] = u8::try_from(words).unwrap() << 4;
                    let inner = with_checksum(from, to, 6, inner);
                    assert_eq!(wire.exchange(&packet(from, to, 6, &inner)).len(), answers, "{words} words to {to} port {port}");
                }
                let mut inner = segment(from, to, (4100, port), SYN, 0);
                inner[12] = 15 << 4;
                inner.extend([1; 40]);
                let inner = with_checksum(from, to, 6, inner);
                assert_eq!(wire.exchange(&packet(from, to, 6, &inner)).len(), 1, "all options to {to} port {port}");
            }
            for port in [53, 54, 62201] {
                for (length, answers) in [(4, 0), (16, 1), (60, 0)] {
                    let mut inner = datagram(from, to, (4000, port), b"01234567");
                    inner[5] = length;
                    let inner = with_checksum(from, to, 17, inner);
                    assert_eq!(wire.exchange(&packet(from, to, 17, &inner)).len(), answers, "length {length} to {to} port {port}");
                }
                let mut inner = datagram(from, to, (4000, port), b"01234567");
                inner[6..8].fill(0);
                let answers = usize::from(to.is_ipv4());
                assert_eq!(wire.exchange(&packet(from, to, 17, &inner)).len(), answers, "no checksum to {to} port {port}");
            }
        }
    }

    fn the_knock_port_is_answered_for_by_the_kernel_itself_where_closed_ports_answer() {
        let world = TestNetns::new("\"ssh\", \"dns\"", "trial = \"0s\"");
        let _writer = world.writer();
        let mut wire = Wire::new(&world);
        let families: [(IpAddr, IpAddr); 2] = [(GHOST4.into(), SERVER4.into()), (GHOST6.into(), SERVER6.into())];
        for (from, to) in families {
            // What is behind the datagram is cut off in a closed port's answer, and makes `reject` give none.
            let [knock, closed] = [62201, 62202].map(|port| {
                let mut inner = datagram(from, to, (4000, port), b"01");
                inner.extend(b"behind");
                let replies = wire.exchange(&packet(from, to, 17, &inner));
                replies.iter().map(|packet| fingerprint(packet)).collect::<Vec<_>>()
            });
            assert_eq!(knock, closed, "over {to}");
            assert_eq!(knock.len(), 1);
        }
    }

    fn with_drop_not_one_byte_comes_back_from_hidden_ports_and_the_knock_port() {
        let world = TestNetns::new("\"ssh\", \"dns\"", "trial = \"0s\"\nanswer = \"drop\"");
        echo(22);
        let _writer = world.writer();
        let mut wire = Wire::new(&world);
        let families: [(IpAddr, IpAddr); 2] = [(GHOST4.into(), SERVER4.into()), (GHOST6.into(), SERVER6.into())];
        for (from, to) in families {
            for flags in [SYN, ACK, 0] {
                assert_eq!(wire.exchange(&tcp(from, to, (4000, 22), flags)).len(), 0);
            }
            for port in [53, 62201] {
                assert_eq!(wire.exchange(&udp(from, to, (4000, port))).len(), 0);
            }
            assert_eq!(wire.exchange(&udp(from, to, (4000, 54))).len(), 1, "others answer as ever");
        }
    }
}
