//! Clients whose grants are for the network around their address.

use std::num::NonZeroU16;

use spa_proto::{Addresses, Open, Request};
use spad_config::Config;
use spad_engine::audit::event::Event;
use spad_model::{Element, Reason};
use spad_replay::JournalRecord;

use crate::engine::world::*;

const SSH: &str = "tcp/22";
const HOME6: &str = "2001:db8:1:2::7";

fn with_prefixes(config: &mut Config) {
    for client in &mut config.clients {
        if client.name.as_str() == "laptop" {
            (client.ipv4_prefix, client.ipv6_prefix) = (Some(24), Some(64));
        }
    }
}

fn network(address: &str, prefix: u8) -> Element {
    Element {
        prefix: Some(prefix),
        ..element(address, SSH)
    }
}

fn open_from(harness: &mut EngineHarness, from: &str) -> Reason {
    let packet = harness.seal(laptop, &open_for(&[SSH], 100));
    harness.receive(from, &packet).unwrap()
}

#[test]
fn a_client_with_a_prefix_is_granted_the_network_around_its_address_and_others_are_not() {
    let mut harness = EngineHarness::with(with_prefixes);
    assert_eq!(open_from(&mut harness, HOME6), Reason::Opened);
    assert_eq!(open_from(&mut harness, HERE), Reason::Opened);
    let granted = [network("192.0.2.0", 24), network("2001:db8:1:2::", 64)];
    assert_eq!(harness.kernel.open(), granted);
    let audited: Vec<String> = harness
        .audited(Event::Grant)
        .iter()
        .map(|line| line.granted_to.unwrap().to_string())
        .collect();
    assert_eq!(audited, ["2001:db8:1:2::/64", "192.0.2.0/24"]);
    let packet = harness.seal(phone, &open_for(&[SSH], 100));
    harness.receive("198.51.100.7", &packet);
    assert!(
        harness.is_open("198.51.100.7", SSH),
        "no prefix: one address"
    );
}

#[test]
fn a_knock_and_a_close_from_another_address_of_the_network_are_about_the_same_grant() {
    let mut harness = EngineHarness::with(with_prefixes);
    open_from(&mut harness, HOME6);
    harness.advance(seconds(50));
    let packet = harness.seal(laptop, &open_for(&[SSH], 100));
    harness.receive("2001:db8:1:2:ffff::9", &packet);
    assert_eq!(harness.engine.grants(harness.now).len(), 1);
    harness.advance(seconds(60));
    assert!(
        harness.kernel.is_open(&network("2001:db8:1:2::", 64)),
        "renewed"
    );
    let packet = harness.seal(laptop, &close(&[SSH]));
    harness.receive("2001:db8:1:3::7", &packet);
    assert_eq!(
        harness.kernel.open().len(),
        1,
        "a close from a neighbour network"
    );
    harness.advance(seconds(1));
    let packet = harness.seal(laptop, &close(&[SSH]));
    harness.receive("2001:db8:1:2:1::1", &packet);
    assert!(harness.kernel.open().is_empty());
    assert!(harness.engine.holders().is_empty());
}

#[test]
fn a_grant_for_one_connection_or_one_source_port_is_for_the_address_alone() {
    let mut harness = EngineHarness::with(with_prefixes);
    let once = Open {
        once: true,
        ..open(&[SSH])
    };
    assert_eq!(harness.send(laptop, &Request::Open(once)), Reason::Opened);
    let port = NonZeroU16::new(40_000);
    let flow = Open {
        source_port: port,
        ..open(&[SSH])
    };
    assert_eq!(harness.send(laptop, &Request::Open(flow)), Reason::Opened);
    let exact = element(HERE, SSH);
    let [once, source_port] = [
        Element {
            once: true,
            ..exact
        },
        Element {
            source_port: port,
            ..exact
        },
    ];
    let mut open = harness.kernel.open();
    open.sort_by_key(|element| element.once);
    assert_eq!(open, [source_port, once]);
}

#[test]
fn every_address_of_the_network_must_lie_in_the_clients_sources() {
    let mut harness = EngineHarness::with(|config| {
        with_prefixes(config);
        for client in &mut config.clients {
            let list = ["192.0.2.0/25", "2001:db8:1::/48"];
            client.sources = vec![list.map(|network| network.parse().unwrap()).into()];
        }
    });
    assert_eq!(open_from(&mut harness, HERE), Reason::SourceNotAllowed);
    assert_eq!(open_from(&mut harness, HOME6), Reason::Opened);
    assert_eq!(harness.kernel.open(), [network("2001:db8:1:2::", 64)]);
}

#[test]
fn stated_addresses_get_their_networks_too() {
    let mut harness = EngineHarness::with(with_prefixes);
    let (four, six) = ("203.0.113.9".parse(), "2001:db8:5:6::9".parse());
    let request = Request::Open(Open {
        addresses: Addresses::new(four.ok(), six.ok()).unwrap(),
        ..open(&[SSH])
    });
    assert_eq!(harness.send(laptop, &request), Reason::Opened);
    let granted = [network("203.0.113.0", 24), network("2001:db8:5:6::", 64)];
    assert_eq!(harness.kernel.open(), granted);
}

#[test]
fn after_a_restart_the_journal_knows_whose_network_and_whose_connection_it_is() {
    let mut harness = EngineHarness::with(with_prefixes);
    open_from(&mut harness, HOME6);
    let once = Open {
        once: true,
        duration: 100,
        ..open(&[SSH])
    };
    harness.send(laptop, &Request::Open(once));
    let packet = harness.seal(phone, &open_for(&[SSH], 100));
    harness.receive(HOME6, &packet);
    let holders: Vec<_> = harness
        .journal
        .iter()
        .filter_map(|record| match record {
            JournalRecord::Holder(holder) => Some(*holder),
            _ => None,
        })
        .collect();
    assert_eq!(holders.len(), 3);
    let mut after = EngineHarness::with(with_prefixes);
    after.kernel.elements = harness.kernel.elements.clone();
    let (listed, now) = (after.kernel.list(), after.now);
    let mut effects = Vec::new();
    after.engine.adopt(&listed, holders, now, &mut effects);
    after.execute(effects);
    let rows = after.engine.grants(after.now);
    let rows: Vec<(String, String, bool)> = rows
        .iter()
        .map(|row| {
            (
                row.client.as_ref().unwrap().to_string(),
                row.peer.to_string(),
                row.once,
            )
        })
        .collect();
    let expected = [
        ("laptop", HERE, true),
        ("laptop", "2001:db8:1:2::/64", false),
        ("phone", HOME6, false),
    ];
    assert_eq!(
        rows,
        expected.map(|(client, whom, once)| (client.to_owned(), whom.to_owned(), once))
    );
}

#[test]
fn a_reload_with_another_length_or_none_withdraws_the_networks_of_the_old_one() {
    for prefix in [None, Some(56)] {
        let mut harness = EngineHarness::with(with_prefixes);
        open_from(&mut harness, HOME6);
        open_from(&mut harness, HERE);
        harness.reload(|config| {
            for client in &mut config.clients {
                client.ipv6_prefix = prefix;
            }
        });
        assert_eq!(harness.kernel.open(), [network("192.0.2.0", 24)]);
        assert_eq!(harness.audited(Event::Revoke).len(), 1);
    }
}
