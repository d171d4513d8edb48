//! What a client holds gives way to what it asks for: honest use meets no limit, and a
//! client that hoards takes no more than its own room.

use std::num::NonZeroU16;

use spa_keys::ClientSecret;
use spa_proto::{Addresses, Open, Request};
use spad_config::Config;
use spad_engine::audit::event::Event;
use spad_engine::policy::admin::admin_permit;
use spad_model::{FirewallError, Reason, ServiceName};
use spad_replay::JournalRecord;

use crate::engine::world::*;

const WEB: &str = "tcp/8080";

fn allow_high_rate(config: &mut Config) {
    config.grants.rate.count = 1000;
}

/// As `spa proxy` asks: one source port, both families where it knows no better.
fn from_port(port: u16, both: bool) -> Request {
    let addresses = if both {
        Addresses::new(Some([192, 0, 2, 7].into()), "2001:db8::7".parse().ok()).unwrap()
    } else {
        Addresses::NONE
    };
    Request::Open(Open {
        source_port: NonZeroU16::new(port),
        addresses,
        ..open(&["tcp/22"])
    })
}

fn ports(harness: &EngineHarness) -> Vec<u16> {
    let open = harness.kernel.open();
    let mut ports: Vec<u16> = open
        .iter()
        .filter_map(|element| Some(element.source_port?.get()))
        .collect();
    ports.sort_unstable();
    ports
}

fn evicted(harness: &EngineHarness) -> Vec<String> {
    let lines = harness.audited(Event::Expire).into_iter();
    lines
        .filter(|line| line.detail == Some("gave_way"))
        .map(|line| {
            let client = line.client.as_ref().unwrap();
            let from = line.source_port.map(|port| format!(" from {port}"));
            format!(
                "{client} {}{}",
                line.port.unwrap(),
                from.unwrap_or_default()
            )
        })
        .collect()
}

#[test]
fn five_hundred_connections_in_a_row_all_pass_and_the_kernel_never_holds_more_than_the_limit() {
    for both in [false, true] {
        let mut harness = EngineHarness::with(allow_high_rate);
        for port in 20_000..20_500 {
            let request = from_port(port, both);
            assert_eq!(harness.send(laptop, &request), Reason::Opened, "{port}");
            assert!(ports(&harness).contains(&port));
            harness.advance(seconds(1) / 100);
        }
        let families = if both { 2 } else { 1 };
        assert_eq!(ports(&harness).len(), 64 * families);
        assert_eq!(ports(&harness)[0], 20_436, "the newest stay");
        assert_eq!(harness.engine.holders().len(), 64 * families);
        assert_eq!(evicted(&harness).len(), 436 * families);
        assert_eq!(evicted(&harness)[0], "laptop tcp/22 from 20000");
        assert_eq!(harness.engine.evictions().connections, 436 * families);
        assert_eq!(harness.engine.evictions().windows, 0);
    }
}

#[test]
fn sixty_four_at_once_fit_with_the_default_rate_and_none_gives_way() {
    let mut harness = EngineHarness::with(|config| {
        config.grants.rate.count = 30;
        config.grants.rate.burst = Some(100);
    });
    for port in 20_000..20_064 {
        assert_eq!(harness.send(laptop, &from_port(port, true)), Reason::Opened);
    }
    assert_eq!(ports(&harness).len(), 128);
    assert!(evicted(&harness).is_empty());
}

#[test]
fn old_and_new_change_places_in_one_change_of_the_kernel() {
    let mut harness = EngineHarness::with(|config| {
        allow_high_rate(config);
        config.grants.max_connections = 1;
    });
    harness.send(laptop, &from_port(1, false));
    let before = harness.kernel.transactions;
    harness.send(laptop, &from_port(2, false));
    assert_eq!(harness.kernel.transactions, before + 1);
    assert_eq!(ports(&harness), [2]);
    let gone = |record: &JournalRecord| matches!(record, JournalRecord::HolderRemoved(_));
    assert_eq!(harness.journal.iter().filter(|one| gone(one)).count(), 1);
}

#[test]
fn a_connection_lasts_ten_seconds_at_most_and_one_for_one_use_as_long_as_it_asked() {
    let mut harness = EngineHarness::with(allow_high_rate);
    harness.send(laptop, &from_port(1, false));
    let once = Request::Open(Open {
        once: true,
        duration: 60,
        ..open(&["tcp/22"])
    });
    harness.send(laptop, &once);
    harness.advance(seconds(9));
    assert_eq!(harness.kernel.open().len(), 2);
    harness.advance(seconds(1));
    assert!(ports(&harness).is_empty());
    assert_eq!(harness.kernel.open().len(), 1);
    assert!(evicted(&harness).is_empty(), "its time was over");
}

#[test]
fn no_row_of_connections_takes_a_window_away_nor_windows_a_connection() {
    let mut harness = EngineHarness::with(|config| {
        allow_high_rate(config);
        config.grants.max_per_client = 2;
        config.grants.max_connections = 2;
    });
    harness.send(laptop, &open_for(&["tcp/22", WEB], 300));
    for port in 1..100 {
        assert_eq!(
            harness.send(laptop, &from_port(port, false)),
            Reason::Opened
        );
    }
    assert!(harness.is_open(HERE, "tcp/22") && harness.is_open(HERE, WEB));
    assert_eq!(ports(&harness), [98, 99]);
    harness.send(laptop, &open_for(&["udp/9999"], 300));
    assert_eq!(ports(&harness), [98, 99]);
    assert_eq!(harness.engine.evictions().windows, 1);
}

#[test]
fn the_window_that_was_granted_longest_ago_gives_way_and_is_told() {
    let mut harness = EngineHarness::with(|config| {
        allow_high_rate(config);
        config.grants.max_per_client = 2;
    });
    harness.send(laptop, &open_for(&["tcp/22"], 100));
    harness.send(laptop, &open_for(&[WEB], 100));
    harness.send(laptop, &open_for(&["tcp/22"], 100));
    harness.send(laptop, &open_for(&["udp/9999"], 100));
    assert!(harness.is_open(HERE, "tcp/22"), "it was renewed");
    assert!(!harness.is_open(HERE, WEB));
    assert_eq!(evicted(&harness), ["laptop tcp/8080"]);
    // A thief with the key who holds all there is does not lock the owner out.
    let packet = harness.seal(laptop, &open_for(&["tcp/22"], 100));
    assert_eq!(harness.receive(THERE, &packet), Some(Reason::Opened));
    assert!(harness.is_open(THERE, "tcp/22") && !harness.is_open(HERE, "tcp/22"));
}

#[test]
fn what_others_hold_of_the_same_element_stays_open_for_their_time() {
    let mut harness = EngineHarness::with(|config| {
        allow_high_rate(config);
        config.grants.max_per_client = 1;
    });
    harness.send(laptop, &open_for(&[WEB], 100));
    harness.send(desk, &open_for(&[WEB], 20));
    let config = harness.engine.clients().config().clone();
    let hand = admin_permit(&config, "tcp/22", &[HERE.to_owned()], seconds(50)).unwrap();
    let mut effects = Vec::new();
    harness
        .engine
        .admin_grant(hand, 0, harness.now, &mut effects);
    harness.execute(effects);
    // The laptop's window of the web gives way; then that of ssh, which is by hand too.
    assert_eq!(
        harness.send(laptop, &open_for(&["tcp/22"], 100)),
        Reason::Opened
    );
    assert_eq!(
        harness.send(laptop, &open_for(&["udp/9999"], 100)),
        Reason::Opened
    );
    assert_eq!(evicted(&harness), ["laptop tcp/8080", "laptop tcp/22"]);
    harness.advance(seconds(19));
    assert!(harness.is_open(HERE, WEB) && harness.is_open(HERE, "tcp/22"));
    harness.advance(seconds(2));
    assert!(!harness.is_open(HERE, WEB), "the desk's time");
    harness.advance(seconds(28));
    assert!(harness.is_open(HERE, "tcp/22"));
    harness.advance(seconds(2));
    assert!(!harness.is_open(HERE, "tcp/22"), "the administrator's time");
}

#[test]
fn a_change_that_the_kernel_refuses_leaves_what_was_to_give_way() {
    let mut harness = EngineHarness::with(|config| {
        allow_high_rate(config);
        config.grants.max_per_client = 1;
    });
    harness.send(laptop, &open_for(&[WEB], 100));
    harness.kernel.refuse = Some(FirewallError::SetFull);
    let refused = harness.send(laptop, &open_for(&["tcp/22"], 100));
    assert_eq!(refused, Reason::from(FirewallError::SetFull));
    harness.kernel.refuse = None;
    harness.advance(seconds(5));
    assert_eq!(harness.kernel.open(), [element(HERE, WEB)]);
    assert_eq!(harness.engine.grants(harness.now).len(), 1);
    assert!(evicted(&harness).is_empty());
    harness.send(laptop, &open_for(&["tcp/22"], 100));
    assert_eq!(harness.kernel.open(), [element(HERE, "tcp/22")]);
}

#[test]
fn packets_that_come_before_the_kernel_answered_are_counted_too() {
    let mut harness = EngineHarness::with(|config| {
        allow_high_rate(config);
        config.grants.max_connections = 4;
    });
    harness.hold_answers = true;
    for port in 1..=20 {
        let packet = harness.seal(laptop, &from_port(port, false));
        assert_eq!(harness.receive(HERE, &packet), None);
    }
    // Port 18 is asked for again while it waits, and is the newest now.
    for port in [18, 21, 22, 23] {
        let packet = harness.seal(laptop, &from_port(port, false));
        harness.receive(HERE, &packet);
    }
    harness.answer_all();
    assert_eq!(ports(&harness), [18, 21, 22, 23]);
    assert_eq!(harness.engine.holders().len(), 4);
    assert_eq!(evicted(&harness).len(), 19);
    harness.check_counts();
}

#[test]
fn what_gives_way_and_is_asked_for_again_before_the_answer_stays() {
    let mut harness = EngineHarness::with(|config| {
        allow_high_rate(config);
        config.grants.max_per_client = 1;
    });
    harness.send(laptop, &open_for(&[WEB], 100));
    harness.hold_answers = true;
    for service in ["tcp/22", WEB] {
        let packet = harness.seal(laptop, &open_for(&[service], 100));
        harness.receive(HERE, &packet);
    }
    harness.answer_all();
    assert_eq!(harness.kernel.open(), [element(HERE, WEB)]);
    assert_eq!(evicted(&harness), ["laptop tcp/22"]);
    assert_eq!(harness.engine.grants(harness.now).len(), 1);
}

#[test]
fn a_service_of_several_ports_is_one_window_and_one_packet_may_not_ask_for_more_than_all() {
    let web: ServiceName = "web".parse().unwrap();
    let mut harness = EngineHarness::with(|config| {
        allow_high_rate(config);
        config.grants.max_per_client = 2;
        let web = config.services.get_mut(&web).unwrap();
        web.ports = (7001..7017)
            .map(|port| format!("tcp/{port}").parse().unwrap())
            .collect();
    });
    let all = open_for(&[], 100);
    assert_eq!(harness.send(laptop, &all), Reason::TooManyGrants, "three");
    let ports: Vec<String> = (7001..7015).map(|port| format!("tcp/{port}")).collect();
    let mut both: Vec<&str> = ports.iter().map(String::as_str).collect();
    both.push("tcp/22");
    assert_eq!(harness.send(laptop, &open_for(&both, 100)), Reason::Opened);
    assert_eq!(harness.kernel.open().len(), 15);
    // Other ports of the same service are the same window.
    assert_eq!(
        harness.send(laptop, &open_for(&["tcp/7016"], 100)),
        Reason::Opened
    );
    assert_eq!(harness.kernel.open().len(), 16);
    // The window gives way as a whole.
    harness.send(laptop, &open_for(&["tcp/22"], 100));
    harness.send(laptop, &open_for(&["udp/9999"], 100));
    assert_eq!(harness.kernel.open().len(), 2);
}

#[test]
fn more_than_one_change_takes_gives_way_in_several_and_nothing_is_left_behind() {
    let web: ServiceName = "web".parse().unwrap();
    let mut harness = EngineHarness::with(|config| {
        allow_high_rate(config);
        config.grants.max_per_client = 8;
        let web = config.services.get_mut(&web).unwrap();
        web.ports = (7001..7017)
            .map(|port| format!("tcp/{port}").parse().unwrap())
            .collect();
        config.clients[1].allow = ["web".parse().unwrap()].into();
    });
    for last in 1..=8 {
        let packet = harness.seal(laptop, &open_for(&[], 100));
        let from = format!("198.51.100.{last}");
        assert_eq!(harness.receive(&from, &packet), Some(Reason::Opened));
    }
    assert_eq!(harness.kernel.open().len(), 128);
    // Fewer windows from now on: all eight go for one.
    harness.reload(|config| config.grants.max_per_client = 1);
    assert_eq!(harness.kernel.open().len(), 128, "a reload takes none away");
    assert_eq!(harness.send(laptop, &open_for(&[], 100)), Reason::Opened);
    assert_eq!(harness.kernel.open().len(), 16);
    assert_eq!(harness.engine.holders().len(), 16);
    assert_eq!(evicted(&harness).len(), 128);
}

#[test]
fn both_keys_of_a_client_share_its_room() {
    let mut harness = EngineHarness::with(|config| {
        allow_high_rate(config);
        config.grants.max_per_client = 1;
        // The desk's key becomes the laptop's second one.
        let second = ClientSecret::from_bytes([3; 32]).public();
        config.clients.remove(0);
        let key = spad_config::ClientKey::Public(second);
        config.clients[0].keys.push(key.into());
    });
    harness.send(laptop, &open_for(&[WEB], 100));
    harness.send(desk, &open_for(&[WEB], 100));
    assert_eq!(harness.engine.holders().len(), 2, "one element, two keys");
    assert_eq!(
        harness.send(desk, &open_for(&["tcp/22"], 100)),
        Reason::Opened
    );
    assert_eq!(harness.kernel.open(), [element(HERE, "tcp/22")]);
    assert_eq!(harness.engine.holders().len(), 1);
}

#[test]
fn what_both_keys_of_a_client_hold_is_closed_by_one_packet() {
    for (first, second) in [(100, 50), (50, 100)] {
        let mut harness = EngineHarness::with(|config| {
            let second = ClientSecret::from_bytes([3; 32]).public();
            config.clients.remove(0);
            let key = spad_config::ClientKey::Public(second);
            config.clients[0].keys.push(key.into());
        });
        harness.send(laptop, &open_for(&[WEB], first));
        harness.send(desk, &open_for(&[WEB], second));
        assert_eq!(harness.send(laptop, &close(&[WEB])), Reason::Closed);
        assert!(harness.kernel.open().is_empty());
        assert!(harness.engine.holders().is_empty());
    }
}
