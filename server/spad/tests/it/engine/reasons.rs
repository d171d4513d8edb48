//! Each reason to refuse an authentic packet; the sender is named in each.

use std::time::Duration;

use spa_proto::{Addresses, CommandName, Open, Request, Timestamp, seal_plaintext};
use spad_config::Config;
use spad_engine::audit::event::Event;
use spad_model::{Class, Reason, ServiceName};

use crate::engine::world::*;

/// The laptop sends this from here; it must be refused for this reason, by name, and change nothing.
#[track_caller]
fn refused(change: impl FnOnce(&mut Config), request: &Request, reason: Reason) {
    refused_from(HERE, change, request, reason);
}

#[track_caller]
fn refused_from(from: &str, change: impl FnOnce(&mut Config), request: &Request, reason: Reason) {
    let mut harness = EngineHarness::with(change);
    let packet = harness.seal(laptop, request);
    assert_eq!(harness.receive(from, &packet), Some(reason));
    assert_eq!(reason.class(), Class::Refused);
    let line = harness.audited(Event::Refuse)[0];
    assert_eq!(line.reason, Some(reason));
    assert_eq!(line.client.as_ref().unwrap().as_str(), "laptop");
    assert_eq!(
        (line.key, line.source),
        (Some(harness.laptop.id), Some(ip(from)))
    );
    assert!(harness.kernel.elements.is_empty());
    assert_ne!(
        harness.receive(from, &packet),
        Some(Reason::Opened),
        "used up, though refused"
    );
}

fn ssh() -> Request {
    open_for(&["tcp/22"], 0)
}

fn open_with_addresses(v4: Option<&str>, v6: Option<&str>) -> Request {
    let addresses = Addresses::new(
        v4.map(|a| a.parse().unwrap()),
        v6.map(|a| a.parse().unwrap()),
    );
    Request::Open(Open {
        addresses: addresses.unwrap(),
        ..open(&["tcp/22"])
    })
}

#[test]
fn a_disabled_client() {
    refused(
        |config| config.clients[1].enabled = false,
        &ssh(),
        Reason::Disabled,
    );
}

#[test]
fn an_expired_client_from_the_very_moment_on() {
    let at = Timestamp::from_micros(START);
    refused(
        |config| config.clients[1].expires = Some(at),
        &ssh(),
        Reason::Expired,
    );
    let mut harness = EngineHarness::with(|config| {
        config.clients[1].expires = Some(Timestamp::from_micros(START + 1))
    });
    assert_eq!(harness.send(laptop, &ssh()), Reason::Opened);
}

#[test]
fn an_action_that_is_not_offered() {
    let command: CommandName = "backup".parse().unwrap();
    refused(|_| {}, &Request::Run { command }, Reason::CommandUnknown);
    refused(
        |_| {},
        &Request::Join { join_key: [9; 32] },
        Reason::NotInvited,
    );
}

#[test]
fn no_stated_address_where_one_is_required() {
    refused(
        |config| config.packets.require_address = true,
        &ssh(),
        Reason::AddressRequired,
    );
    refused(
        |config| config.clients[1].require_address = Some(true),
        &ssh(),
        Reason::AddressRequired,
    );
    let mut harness = EngineHarness::with(|config| {
        config.packets.require_address = true;
        config.clients[1].require_address = Some(false);
    });
    assert_eq!(
        harness.send(laptop, &ssh()),
        Reason::Opened,
        "the client's own setting counts"
    );
}

#[test]
fn a_source_that_nothing_can_be_granted_to() {
    for from in [
        "127.0.0.1",
        "169.254.1.1",
        "0.0.0.0",
        "fe80::1",
        "::1",
        "224.0.0.1",
        "::ffff:192.0.2.1",
    ] {
        refused_from(from, |_| {}, &ssh(), Reason::UnusableAddress);
    }
    let mut harness = EngineHarness::new();
    let packet = harness.seal(laptop, &open_with_addresses(Some(HERE), None));
    assert_eq!(
        harness.receive("fe80::1", &packet),
        Some(Reason::Opened),
        "a stated address is all that counts"
    );
    let packet = harness.seal(laptop, &ssh());
    assert_eq!(
        harness.receive("10.0.0.1", &packet),
        Some(Reason::Opened),
        "private addresses are usable"
    );
}

#[test]
fn an_address_outside_the_clients_sources() {
    let only = |config: &mut Config| {
        config.clients[1].sources = vec![["192.0.2.0/24".parse().unwrap()].into()]
    };
    refused_from(THERE, only, &ssh(), Reason::SourceNotAllowed);
    refused(
        only,
        &open_with_addresses(Some("192.0.2.9"), Some("2001:db8::1")),
        Reason::SourceNotAllowed,
    );
    refused(
        only,
        &open_with_addresses(Some(THERE), None),
        Reason::SourceNotAllowed,
    );
    let mut harness = EngineHarness::with(only);
    let packet = harness.seal(laptop, &open_with_addresses(Some("192.0.2.9"), None));
    assert_eq!(
        harness.receive(THERE, &packet),
        Some(Reason::Opened),
        "the packet's own source is ignored"
    );
}

#[test]
fn one_service_that_is_not_allowed_refuses_the_whole_packet() {
    refused(
        |_| {},
        &open_for(&["tcp/22", "tcp/8443"], 0),
        Reason::ServiceNotAllowed,
    );
    refused(|_| {}, &open_for(&["tcp/23"], 0), Reason::ServiceNotAllowed);
    refused(|_| {}, &open_for(&["udp/22"], 0), Reason::ServiceNotAllowed);
    refused(|_| {}, &close(&["tcp/8443"]), Reason::ServiceNotAllowed);
}

#[test]
fn a_client_that_may_open_nothing_or_has_nothing_to_close() {
    refused(
        |config| config.clients[1].allow = [].into(),
        &open_for(&[], 0),
        Reason::NoServices,
    );
    refused(|_| {}, &close(&[]), Reason::NoServices);
}

#[test]
fn more_elements_than_the_client_may_hold() {
    refused(
        |config| config.grants.max_per_client = 2,
        &open_for(&[], 0),
        Reason::TooManyGrants,
    );
    let mut harness = EngineHarness::with(|config| config.grants.max_per_client = 2);
    assert_eq!(
        harness.send(laptop, &open_for(&["tcp/22", "tcp/8080"], 0)),
        Reason::Opened
    );
    assert_eq!(
        harness.send(laptop, &open_for(&["tcp/8080"], 0)),
        Reason::Opened,
        "a renewal"
    );
    assert_eq!(
        harness.send(desk, &open_for(&["tcp/8080"], 0)),
        Reason::Opened,
        "another client's are not counted"
    );
    assert_eq!(
        harness.send(laptop, &open_for(&["udp/9999"], 0)),
        Reason::Opened,
        "the oldest gives way"
    );
    assert!(!harness.is_open(HERE, "tcp/22"));
}

#[test]
fn more_elements_than_one_change_of_the_firewall_takes() {
    let with_ports = |last: u16| {
        EngineHarness::with(|config| {
            config.grants.max_per_client = 1000;
            let web: ServiceName = "web".parse().unwrap();
            config.services.get_mut(&web).unwrap().ports = (7001..=last)
                .map(|port| format!("tcp/{port}").parse().unwrap())
                .collect();
            config.clients[1].allow = ["web".parse().unwrap()].into();
        })
    };
    let send = |last| with_ports(last).send(laptop, &open_for(&[], 0));
    assert_eq!(send(7064), Reason::Opened);
    assert_eq!(send(7065), Reason::TooManyGrants);
}

#[test]
fn packets_too_fast() {
    let mut harness = EngineHarness::with(|config| config.grants.rate.count = 3);
    let reasons: Vec<_> = (0..5).map(|_| harness.send(laptop, &ssh())).collect();
    assert_eq!(reasons[..3], [Reason::Opened; 3]);
    assert_eq!(reasons[3..], [Reason::Rate; 2]);
    assert_eq!(
        harness.send(phone, &ssh()),
        Reason::Opened,
        "each client for itself"
    );
    harness.advance(seconds(1));
    assert_eq!(harness.send(laptop, &ssh()), Reason::Opened);
}

#[test]
fn forged_packets_use_up_nobodys_rate() {
    let mut harness = EngineHarness::with(|config| config.grants.rate.count = 1);
    for _ in 0..100 {
        let mut packet = harness.seal(laptop, &ssh());
        *packet.last_mut().unwrap() ^= 1;
        assert_eq!(harness.receive(HERE, &packet), Some(Reason::Hmac));
    }
    assert_eq!(harness.send(laptop, &ssh()), Reason::Opened);
}

#[test]
fn an_open_not_newer_than_the_last_close_of_that_service() {
    let mut harness = EngineHarness::new();
    let earlier = harness.seal(laptop, &ssh());
    let other = harness.seal(laptop, &open_for(&["tcp/8080"], 0));
    harness.advance(seconds(2));
    let at = harness.now.wall;
    assert_eq!(harness.send(laptop, &close(&["tcp/22"])), Reason::Closed);
    assert_eq!(
        harness.receive(HERE, &earlier),
        Some(Reason::OlderThanClose)
    );
    let same = harness.seal_at(laptop, &ssh(), at);
    assert_eq!(harness.receive(HERE, &same), Some(Reason::OlderThanClose));
    let newer = harness.seal_at(laptop, &ssh(), at.saturating_add(Duration::from_micros(1)));
    assert_eq!(harness.receive(HERE, &newer), Some(Reason::Opened));
    assert_eq!(
        harness.receive(HERE, &other),
        Some(Reason::Opened),
        "another service is not closed"
    );
    assert_eq!(
        harness.send(desk, &open_for(&["tcp/8080"], 0)),
        Reason::Opened
    );
}

#[test]
fn a_close_of_nothing_at_all_still_stops_older_opens() {
    let mut harness = EngineHarness::new();
    let earlier = harness.seal(laptop, &ssh());
    harness.advance(seconds(1));
    assert_eq!(harness.send(laptop, &close(&[])), Reason::NoServices);
    assert_eq!(
        harness.receive(HERE, &earlier),
        Some(Reason::OlderThanClose)
    );
}

#[test]
fn requests_that_are_none() {
    for fault in spa_proto::RequestError::ALL {
        assert_eq!(Reason::from(*fault).class(), Class::Refused);
    }
    // Version, action, flags, duration, source port, no addresses, no services, command.
    let run = [&[1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64][..], &[b'a'; 52]].concat();
    for (plaintext, reason) in [
        (vec![2; 64], Reason::UnknownVersion),
        ([&[1, 9][..], &[0; 62]].concat(), Reason::UnknownAction),
        (run, Reason::Truncated),
    ] {
        let mut harness = EngineHarness::new();
        let nonce = harness.randomness().nonce;
        let peer = &harness.laptop;
        let now = harness.now.wall;
        let packet =
            seal_plaintext(&peer.head, peer.id, &peer.keys, plaintext, now, &nonce).unwrap();
        assert_eq!(harness.receive(HERE, &packet), Some(reason));
        assert_eq!(harness.audited(Event::Refuse)[0].reason, Some(reason));
        assert_eq!(
            harness.receive(HERE, &packet),
            Some(Reason::Duplicate),
            "used up all the same"
        );
    }
}

#[test]
fn a_service_of_a_gateway_for_a_family_that_it_does_not_lead() {
    let led = |config: &mut Config| {
        let ssh = config.services.get_mut("ssh").unwrap();
        ssh.to = Some(spad_config::InnerHost {
            hosts: vec![([10, 0, 0, 5].into(), None)],
            masquerade: false,
        });
    };
    let six = Some("2001:db8::7");
    refused(led, &open_with_addresses(None, six), Reason::NoInnerHost);
    let mut harness = EngineHarness::with(led);
    let both = open_with_addresses(Some(HERE), six);
    assert_eq!(harness.send(laptop, &both), Reason::Opened);
    let opened = &harness.verdicts.last().unwrap().elements;
    assert_eq!(opened.len(), 1, "the family that it leads");
    assert_eq!(opened[0].0.address, ip(HERE));
}

#[test]
fn a_longer_time_than_the_policy_allows_is_cut_to_it() {
    let mut harness = EngineHarness::with(|config| {
        let laptop = &mut config.clients[1];
        laptop.allow = client(
            "laptop",
            laptop.keys[0].key.clone(),
            &["ssh", "web", "chat", "admin"],
        )
        .allow;
    });
    let ttl = |harness: &mut EngineHarness, service: &str, requested: u32| {
        assert_eq!(
            harness.send(laptop, &open_for(&[service], requested)),
            Reason::Opened
        );
        harness.verdicts.last().unwrap().elements[0].1.as_secs()
    };
    assert_eq!(ttl(&mut harness, "tcp/22", 0), 30, "[grants] ttl");
    assert_eq!(ttl(&mut harness, "tcp/22", 7), 7);
    assert_eq!(
        ttl(&mut harness, "tcp/22", u32::MAX),
        300,
        "[grants] max_ttl"
    );
    assert_eq!(ttl(&mut harness, "tcp/8443", 0), 600, "the service's ttl");
    assert_eq!(
        ttl(&mut harness, "tcp/8443", u32::MAX),
        3600,
        "the service's max_ttl"
    );
    harness.reload(|config| config.clients[1].max_ttl = Some(seconds(10)));
    assert_eq!(ttl(&mut harness, "tcp/8443", 0), 10, "the client's max_ttl");
    assert_eq!(ttl(&mut harness, "tcp/22", 11), 10);
}

#[test]
fn one_client_cannot_fill_the_disk_with_its_refusals_and_none_goes_untold() {
    let mut harness = EngineHarness::new();
    harness.advance(seconds(61));
    for _ in 0..500 {
        let _ = harness.send(laptop, &open_for(&["tcp/1"], 0));
    }
    let lines = harness.audited(Event::Refuse).len();
    assert!(lines <= 20, "{lines} lines");
    assert_eq!(
        harness.send(desk, &open_for(&["tcp/1"], 0)),
        Reason::ServiceNotAllowed,
        "another client is not concerned"
    );
    assert_eq!(harness.audited(Event::Refuse).len(), lines + 1);
    harness.advance(seconds(61));
    let reported: u64 = harness
        .audited(Event::Noise)
        .iter()
        .flat_map(|line| line.counts.iter().map(|(_, count)| count))
        .sum();
    assert_eq!(reported + u64::try_from(lines).unwrap(), 500);
}
