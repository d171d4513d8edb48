//! What groups, hours, and keys with an end come to when packets are judged.

use std::sync::Arc;

use jiff::tz::TimeZone;
use spa_proto::Timestamp;
use spad_config::{Config, Hours, Week};
use spad_engine::audit::event::Event;
use spad_model::Reason;

use crate::engine::world::*;

/// The world begins on a Friday, at 08:00 UTC: 09:00 in Berlin.
fn hours(zone: &str, text: &str) -> Arc<Hours> {
    let week = Week::parse([text]).unwrap();
    Arc::new(Hours::new(week, TimeZone::get(zone).unwrap()))
}

fn within(lists: &[(&str, &str)]) -> EngineHarness {
    EngineHarness::with(|config: &mut Config| {
        let lists = lists.iter().map(|(zone, text)| hours(zone, text));
        config.clients[1].hours = lists.collect();
    })
}

#[test]
fn outside_its_hours_a_client_opens_nothing_and_may_still_close() {
    let mut harness = within(&[("UTC", "fri 07:00-08:10")]);
    let open = open_for(&["tcp/22", "tcp/8080"], 300);
    assert_eq!(harness.send(laptop, &open), Reason::Opened);
    harness.advance(seconds(240));
    harness.set_clock(START + 600 * 1_000_000);
    assert_eq!(harness.send(laptop, &open), Reason::OutsideHours);
    assert_eq!(harness.send(laptop, &close(&["tcp/22"])), Reason::Closed);
    assert!(!harness.is_open(HERE, "tcp/22") && harness.is_open(HERE, "tcp/8080"));
    assert_eq!(
        harness.send(phone, &open_for(&["tcp/22"], 0)),
        Reason::Opened
    );
}

#[test]
fn a_grant_ends_with_the_hours() {
    let mut harness = within(&[("UTC", "fri 07:00-08:01")]);
    assert_eq!(
        harness.send(laptop, &open_for(&["tcp/22"], 300)),
        Reason::Opened
    );
    assert_eq!(harness.verdicts[0].elements[0].1, seconds(60));
    harness.advance(seconds(59));
    assert!(harness.is_open(HERE, "tcp/22"));
    harness.advance(seconds(2));
    assert!(!harness.is_open(HERE, "tcp/22"));
    assert_eq!(harness.audited(Event::Expire).len(), 1);
}

#[test]
fn every_list_of_hours_must_hold_and_each_by_its_own_zone() {
    let open = open_for(&["tcp/22"], 300);
    let mut harness = within(&[("UTC", "07:00-09:00"), ("Europe/Berlin", "08:55-09:02")]);
    assert_eq!(harness.send(laptop, &open), Reason::Opened);
    assert_eq!(harness.verdicts[0].elements[0].1, seconds(120));
    let mut harness = within(&[("UTC", "07:00-09:00"), ("Europe/Berlin", "08:00-09:00")]);
    assert_eq!(harness.send(laptop, &open), Reason::OutsideHours);
}

#[test]
fn a_grant_ends_when_the_client_or_its_key_does_but_lasts_a_second() {
    let at = |s: u64| Some(Timestamp::from_micros(START + s * 1_000_000));
    let open = open_for(&["tcp/22"], 300);
    let ttl = |change: &dyn Fn(&mut Config)| {
        let mut harness = EngineHarness::with(change);
        assert_eq!(harness.send(laptop, &open), Reason::Opened);
        harness.verdicts[0].elements[0].1
    };
    assert_eq!(
        ttl(&|config| config.clients[1].expires = at(40)),
        seconds(40)
    );
    assert_eq!(
        ttl(&|config| config.clients[1].keys[0].until = at(50)),
        seconds(50)
    );
    let soon = Some(Timestamp::from_micros(START + 1));
    assert_eq!(ttl(&|config| config.clients[1].expires = soon), seconds(1));
}

#[test]
fn the_packets_of_a_key_are_refused_when_its_time_is_over_and_those_of_another_are_not() {
    let mut harness = EngineHarness::with(|config| {
        let desk = config.clients.remove(0).keys;
        let laptop = &mut config.clients[0];
        laptop.keys[0].until = Some(Timestamp::from_micros(START + 30_000_000));
        laptop.keys.extend(desk);
    });
    let open = open_for(&["tcp/22"], 0);
    assert_eq!(harness.send(laptop, &open), Reason::Opened);
    assert_eq!(harness.send(desk, &open), Reason::Opened);
    harness.advance(seconds(30));
    assert_eq!(harness.send(laptop, &open), Reason::KeyExpired);
    assert_eq!(
        harness.audited(Event::Refuse)[0].key,
        Some(harness.laptop.id)
    );
    assert_eq!(harness.send(desk, &open), Reason::Opened);
}

#[test]
fn an_address_must_be_in_every_list_of_sources() {
    let mut harness = EngineHarness::with(|config| {
        let wide = [
            "192.0.2.0/24".parse().unwrap(),
            "198.51.100.0/24".parse().unwrap(),
        ];
        let narrow = [
            "198.51.100.7/32".parse().unwrap(),
            "203.0.113.0/24".parse().unwrap(),
        ];
        config.clients[1].sources = vec![wide.into(), narrow.into()];
    });
    let request = open_for(&["tcp/22"], 0);
    for (from, reason) in [
        (HERE, Reason::SourceNotAllowed),
        ("203.0.113.9", Reason::SourceNotAllowed),
        (THERE, Reason::Opened),
    ] {
        let packet = harness.seal(laptop, &request);
        assert_eq!(harness.receive(from, &packet), Some(reason), "{from}");
    }
}

#[test]
fn a_clients_own_number_of_grants_goes_before_the_general_one() {
    let mut harness = EngineHarness::with(|config| {
        config.grants.max_per_client = 2;
        config.clients[1].max_grants = Some(1);
        config.clients[2].max_grants = Some(3);
    });
    let three = open_for(&["tcp/22", "tcp/8080", "udp/9999"], 0);
    let two = open_for(&["tcp/22", "tcp/8080"], 0);
    assert_eq!(harness.send(laptop, &two), Reason::TooManyGrants);
    assert_eq!(
        harness.send(laptop, &open_for(&["tcp/22"], 0)),
        Reason::Opened
    );
    assert_eq!(harness.send(phone, &three), Reason::Opened);
}

#[test]
fn what_a_group_gives_no_longer_is_closed_at_reload_and_hours_close_nothing() {
    let mut harness = EngineHarness::new();
    assert_eq!(
        harness.send(laptop, &open_for(&["tcp/22", "tcp/8080"], 300)),
        Reason::Opened
    );
    harness.reload(|config| {
        let laptop = &mut config.clients[1];
        laptop.allow = client("laptop", laptop.keys[0].key.clone(), &["web"]).allow;
        laptop.hours = vec![hours("UTC", "sun 00:00-01:00")];
    });
    assert!(!harness.is_open(HERE, "tcp/22") && harness.is_open(HERE, "tcp/8080"));
    assert_eq!(harness.audited(Event::Revoke).len(), 1);
}

#[test]
fn a_refusal_names_the_service_that_was_asked_for_in_vain() {
    let mut harness = EngineHarness::new();
    let request = open_for(&["tcp/22", "tcp/8080"], 0);
    assert_eq!(harness.send(desk, &request), Reason::ServiceNotAllowed);
    assert_eq!(
        harness.send(desk, &open_for(&["tcp/23"], 0)),
        Reason::ServiceNotAllowed
    );
    let lines = harness.audited(Event::Refuse);
    let reported = |line: &spad_engine::audit::event::AuditEvent| {
        let service = line.service.as_ref().map(|name| name.as_str().to_owned());
        (line.port.unwrap().to_string(), service)
    };
    assert_eq!(
        reported(lines[0]),
        ("tcp/22".to_owned(), Some("ssh".to_owned()))
    );
    assert_eq!(reported(lines[1]), ("tcp/23".to_owned(), None));
}
