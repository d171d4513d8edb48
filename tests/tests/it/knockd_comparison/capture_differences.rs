//! What is heard as a knock, where, and of what shape.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pnet::packet::ethernet::EtherTypes;
use pnet::packet::ip::IpNextHeaderProtocols;
use spa_tests::frame::{self, Endpoints};
use spa_tests::lab::{CLIENT4, CLIENT6, LINK, SERVER4, SERVER6};
use spa_tests::wait;

use crate::knockd_comparison::fixture::{
    CLIENT, CLIENT_V6, DoorPair, KnockdComparison, PerServer, SEQUENCE, syn,
};

const SPAD_ALONE: PerServer<usize> = PerServer { knockd: 0, spad: 1 };
const NEITHER: PerServer<usize> = PerServer { knockd: 0, spad: 0 };

#[test]
fn an_address_that_the_host_gets_later_is_heard_by_spad_alone() {
    let comparison = KnockdComparison::with(&DoorPair::new("7000,8000,9000"));
    let later = Ipv4Addr::new(192, 0, 2, 9);
    let address = format!("{later}/24");
    let add = ["addr", "add", &address, "dev", LINK];
    let _ = comparison.bed.lab.server.run_ok("ip", &add);
    comparison.knock_at(CLIENT, later.into(), &SEQUENCE);
    assert_eq!(comparison.opened(CLIENT), SPAD_ALONE);
    // At the address that it had, as usual.
    comparison.knock(CLIENT, &SEQUENCE);
    assert_eq!(comparison.opened(CLIENT), PerServer { knockd: 1, spad: 2 });
}

#[test]
fn a_link_that_goes_and_comes_back_ends_knockd_and_spad_hears_on() {
    let mut comparison = KnockdComparison::with(&DoorPair::new("7000,8000,9000"));
    comparison.wait_processed();
    comparison.bed.lab.unplug();
    let ended = wait::eventually("knockd ends", || comparison.knockd.process.try_wait());
    let output = comparison.knockd.process.output();
    assert!(
        ended.success() && output.contains("interface disappeared"),
        "{ended}: {output}"
    );
    comparison.bed.lab.plug();
    // Which interfaces there are is looked at now and then.
    wait::eventually("spad opens", || {
        comparison.knock(CLIENT, &SEQUENCE);
        (comparison.bed.spad.verdict_count("knock_opened") > 0).then_some(())
    });
}

#[test]
fn a_knock_inside_a_vlan_is_heard_by_spad_alone() {
    let comparison = KnockdComparison::with(&DoorPair::new("7000,8000,9000"));
    let knock = |(place, port): (u16, &u16)| {
        let from = SocketAddr::new(CLIENT, 40_000 + place);
        let frame = syn(from, (SERVER4, *port).into());
        frame::tagged(&frame, &[(EtherTypes::Vlan, 5)])
    };
    let frames: Vec<_> = (0..).zip(&SEQUENCE).map(knock).collect();
    comparison.send(&frames);
    assert_eq!(comparison.opened(CLIENT), SPAD_ALONE);
}

#[test]
fn a_knock_behind_an_ipv6_extension_header_is_none_for_either() {
    let comparison = KnockdComparison::with(&DoorPair::new("7000,8000,9000"));
    let options = IpNextHeaderProtocols::Ipv6Opts.0;
    let knock = |port: &u16| {
        let segment = frame::syn(Endpoints::new((CLIENT6, 40_000), (SERVER6, *port)));
        let behind = frame::padding_header(IpNextHeaderProtocols::Tcp.0, &segment);
        let packet = frame::ipv6(CLIENT6, SERVER6, options, &behind);
        frame::ethernet(EtherTypes::Ipv6, &packet)
    };
    comparison.send(&SEQUENCE.each_ref().map(knock));
    assert_eq!(comparison.opened(CLIENT_V6), NEITHER);
    assert_eq!(comparison.bed.spad.verdict_count("knock"), 0);
    comparison.knock(CLIENT_V6, &SEQUENCE);
    assert_eq!(
        comparison.opened(CLIENT_V6),
        PerServer { knockd: 1, spad: 1 }
    );
}

#[test]
fn a_datagram_that_ends_within_its_header_is_a_knock_for_knockd_alone() {
    let comparison = KnockdComparison::with(&DoorPair::new("7000:udp,8000:udp,9000:udp"));
    let udp = IpNextHeaderProtocols::Udp.0;
    let knock = |port: &u16| {
        let whole = frame::udp(Endpoints::new((CLIENT4, 40_000), (SERVER4, *port)), b"x");
        let packet = frame::ipv4(CLIENT4, SERVER4, udp, &whole[..4], 0, false);
        frame::ethernet(EtherTypes::Ipv4, &packet)
    };
    comparison.send(&SEQUENCE.each_ref().map(knock));
    assert_eq!(comparison.opened(CLIENT), PerServer { knockd: 1, spad: 0 });
}

#[test]
fn a_source_that_is_no_hosts_opens_knockd_alone() {
    let comparison = KnockdComparison::with(&DoorPair::new("7000,8000,9000"));
    for source in [Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)] {
        let source = IpAddr::V4(source);
        comparison.knock(source, &SEQUENCE);
        assert_eq!(
            comparison.opened(source),
            PerServer { knockd: 1, spad: 0 },
            "{source}"
        );
    }
}
