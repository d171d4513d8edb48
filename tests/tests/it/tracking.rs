//! The kernel's table of connections, filled by datagrams with forged sources.

use pnet::packet::ethernet::EtherTypes;
use spa_tests::echo::Echo;
use spa_tests::frame::{self, Endpoints};
use spa_tests::lab::{Lab, SERVER4, STRANGER4};
use spa_tests::reach::Reachability;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::tap;
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// A UDP service that everybody can see.
const EXPOSED_UDP: u16 = 9997;

fn tracked(lab: &Lab) -> u64 {
    let count = lab
        .server
        .enter(|| std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count"));
    let count = count.expect("the kernel tracks connections");
    count.trim().parse().expect("a number")
}

/// One datagram or first segment from each of 500 ports of somebody else's address.
fn forged(lab: &Lab, port: u16, tcp: bool) {
    let frames: Vec<_> = (0..500_u32)
        .map(|number| {
            let source = 20_000 + u16::try_from(number).expect("a port");
            let endpoints = Endpoints::new((STRANGER4, source), (SERVER4, port));
            let (protocol, body) = if tcp {
                (6, frame::syn(endpoints))
            } else {
                (17, frame::udp(endpoints, b"there?"))
            };
            let packet = frame::ipv4(STRANGER4, SERVER4, protocol, &body, 0, false);
            frame::ethernet(EtherTypes::Ipv4, &packet)
        })
        .collect();
    tap::inject(&lab.client, &frames);
}

#[test]
fn a_table_of_connections_that_strangers_fill_is_warned_of_until_it_has_room_again() {
    let mut bed = TestBed::stopped(&Settings::default());
    bed.spad.fake_conntrack_max(400);
    bed.spad.start();
    let _shown = Echo::udp(&bed.lab.server, EXPOSED_UDP);
    forged(&bed.lab, EXPOSED_UDP, false);
    wait::eventually("they are tracked", || {
        (tracked(&bed.lab) >= 400).then_some(())
    });
    let warned = |bed: &TestBed| {
        let warnings = bed.spad.status()["warnings"].to_string();
        warnings
            .contains("table of connections is nearly full")
            .then_some(warnings)
    };
    wait::within(std::time::Duration::from_secs(25), "status warns", || {
        warned(&bed)
    });
    assert_eq!(bed.spad.output().matches("nearly full").count(), 1);
    // Somebody makes room.
    bed.spad.fake_conntrack_max(100_000);
    wait::within(
        std::time::Duration::from_secs(25),
        "the warning ends",
        || warned(&bed).is_none().then_some(()),
    );
    let output = bed.spad.output();
    assert_eq!(output.matches("nearly full").count(), 1, "{output}");
    assert_eq!(output.matches("has room again").count(), 1, "{output}");
    for detail in [
        "connection tracking nearly full",
        "connection tracking has room again",
    ] {
        let _ = bed
            .spad
            .wait_audited(&[("event", "state"), ("detail", detail)]);
    }
}

#[test]
fn what_strangers_send_to_hidden_ports_is_not_tracked() {
    for answer in ["as_closed", "drop"] {
        let bed = TestBed::with(&Settings {
            answer,
            ..Settings::default()
        });
        assert_ne!(bed.tcp(WEB), Reachability::Open);
        let before = tracked(&bed.lab);
        for (port, tcp) in [(WEB, true), (CHAT, false)] {
            forged(&bed.lab, port, tcp);
        }
        // What comes last was judged last.
        bed.open(&["tcp/8080"]);
        let after = tracked(&bed.lab);
        assert!(after < before + 50, "{answer}: {before}, then {after}");
    }
}

#[test]
fn a_shown_service_that_is_left_untracked_as_the_documents_say_fills_nothing() {
    let bed = TestBed::new();
    let _shown = Echo::udp(&bed.lab.server, EXPOSED_UDP);
    bed.lab.server.nft(&format!(
        "table inet untracked {{
           chain in  {{ type filter hook prerouting priority raw; udp dport {EXPOSED_UDP} notrack; }}
           chain out {{ type filter hook output priority raw; udp sport {EXPOSED_UDP} notrack; }}
         }}"
    ));
    let before = tracked(&bed.lab);
    forged(&bed.lab, EXPOSED_UDP, false);
    assert_eq!(bed.udp(EXPOSED_UDP), Reachability::Open);
    let after = tracked(&bed.lab);
    assert!(after < before + 50, "{before}, then {after}");
    assert_eq!(bed.udp(CHAT), Reachability::Refused);
}
