//! The kernel's table of connections, filled by datagrams with forged sources.

use pnet::packet::ethernet::EtherTypes;
use spa_tests::echo::Echo;
use spa_tests::frame::{self, Ends};
use spa_tests::lab::{Lab, SERVER4, STRANGER4};
use spa_tests::reach::Reach;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::tap;
use spa_tests::wait;
use spa_tests::world::World;

/// A UDP service that everybody can see.
const SHOWN_UDP: u16 = 9997;

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
            let ends = Ends::of((STRANGER4, source), (SERVER4, port));
            let (protocol, body) = if tcp {
                (6, frame::syn(ends))
            } else {
                (17, frame::udp(ends, b"there?"))
            };
            let packet = frame::ipv4(STRANGER4, SERVER4, protocol, &body, 0, false);
            frame::ethernet(EtherTypes::Ipv4, &packet)
        })
        .collect();
    tap::inject(&lab.client, &frames);
}

#[test]
fn a_table_of_connections_that_strangers_fill_is_warned_of_until_it_has_room_again() {
    let mut world = World::stopped(&Settings::default());
    world.spad.pretend_tracking_limit(400);
    world.spad.start();
    let _shown = Echo::udp(&world.lab.server, SHOWN_UDP);
    forged(&world.lab, SHOWN_UDP, false);
    wait::soon("they are tracked", || {
        (tracked(&world.lab) >= 400).then_some(())
    });
    let warned = |world: &World| {
        let warnings = world.spad.status()["warnings"].to_string();
        warnings
            .contains("table of connections is nearly full")
            .then_some(warnings)
    };
    wait::within(std::time::Duration::from_secs(25), "status warns", || {
        warned(&world)
    });
    assert_eq!(world.spad.said().matches("nearly full").count(), 1);
    // Somebody makes room.
    world.spad.pretend_tracking_limit(100_000);
    wait::within(
        std::time::Duration::from_secs(25),
        "the warning ends",
        || warned(&world).is_none().then_some(()),
    );
    let said = world.spad.said();
    assert_eq!(said.matches("nearly full").count(), 1, "{said}");
    assert_eq!(said.matches("has room again").count(), 1, "{said}");
    for detail in [
        "connection tracking nearly full",
        "connection tracking has room again",
    ] {
        let _ = world
            .spad
            .wait_audited(&[("event", "state"), ("detail", detail)]);
    }
}

#[test]
fn what_strangers_send_to_hidden_ports_is_not_tracked() {
    for answer in ["as_closed", "drop"] {
        let world = World::with(&Settings {
            answer,
            ..Settings::default()
        });
        assert_ne!(world.tcp(WEB), Reach::Open);
        let before = tracked(&world.lab);
        for (port, tcp) in [(WEB, true), (CHAT, false)] {
            forged(&world.lab, port, tcp);
        }
        // What comes last was judged last.
        world.open(&["tcp/8080"]);
        let after = tracked(&world.lab);
        assert!(after < before + 50, "{answer}: {before}, then {after}");
    }
}

#[test]
fn a_shown_service_that_is_left_untracked_as_the_documents_say_fills_nothing() {
    let world = World::new();
    let _shown = Echo::udp(&world.lab.server, SHOWN_UDP);
    world.lab.server.nft(&format!(
        "table inet untracked {{
           chain in  {{ type filter hook prerouting priority raw; udp dport {SHOWN_UDP} notrack; }}
           chain out {{ type filter hook output priority raw; udp sport {SHOWN_UDP} notrack; }}
         }}"
    ));
    let before = tracked(&world.lab);
    forged(&world.lab, SHOWN_UDP, false);
    assert_eq!(world.udp(SHOWN_UDP), Reach::Open);
    let after = tracked(&world.lab);
    assert!(after < before + 50, "{before}, then {after}");
    assert_eq!(world.udp(CHAT), Reach::Refused);
}
