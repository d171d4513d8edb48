//! Removing, disabling and narrowing act at once.

use spad_engine::audit::event::Event;
use spad_model::Reason;
use spad_replay::JournalRecord;

use crate::engine::world::*;

const WEB: &str = "tcp/8080";

#[test]
fn removing_the_last_client_works_at_once() {
    let mut harness = EngineHarness::with(|config| {
        config
            .clients
            .retain(|client| client.name.as_str() == "laptop")
    });
    harness.send(laptop, &open_for(&[WEB], 100));
    harness.reload(|config| config.clients.clear());
    assert!(harness.kernel.open().is_empty());
    let line = harness.audited(Event::Revoke)[0];
    assert_eq!(line.client.as_ref().unwrap().as_str(), "laptop");
    assert_eq!(
        harness.send(laptop, &open_for(&[WEB], 100)),
        Reason::UnknownKey
    );
}

#[test]
fn disabling_works_at_once_and_for_that_client_alone() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[WEB], 100));
    harness.send(desk, &open_for(&[WEB], 50));
    let mut effects = Vec::new();
    assert!(
        harness
            .engine
            .disable(&"laptop".parse().unwrap(), harness.now, &mut effects)
    );
    harness.execute(effects);
    assert!(harness.is_open(HERE, WEB), "the desk's");
    assert_eq!(
        harness.send(laptop, &open_for(&[WEB], 100)),
        Reason::Disabled
    );
    harness.advance(seconds(51));
    assert!(!harness.is_open(HERE, WEB));
    assert!(
        !harness
            .engine
            .disable(&"nobody".parse().unwrap(), harness.now, &mut Vec::new())
    );
}

#[test]
fn a_service_taken_from_a_client_is_closed_and_the_others_stay() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&["tcp/22", WEB], 100));
    harness.reload(|config| {
        let laptop = &mut config.clients[1];
        let allow = laptop.allow.iter();
        laptop.allow = allow
            .filter(|name| name.as_str() != "web")
            .cloned()
            .collect();
    });
    assert_eq!(harness.kernel.open(), [element(HERE, "tcp/22")]);
}

#[test]
fn a_client_disabled_while_the_kernel_had_not_answered_gets_nothing() {
    let mut harness = EngineHarness::new();
    harness.hold_answers = true;
    let packet = harness.seal(laptop, &open_for(&[WEB], 100));
    harness.receive(HERE, &packet);
    harness.reload(|config| config.clients[1].enabled = false);
    harness.answer_all();
    assert!(harness.kernel.open().is_empty() && harness.engine.holders().is_empty());
    assert_eq!(
        harness
            .verdicts
            .last()
            .unwrap()
            .client
            .as_ref()
            .unwrap()
            .as_str(),
        "laptop"
    );
}

#[test]
fn a_used_packet_stays_used_when_its_client_is_removed_and_added_again() {
    let mut harness = EngineHarness::new();
    let packet = harness.seal(laptop, &open_for(&[WEB], 100));
    harness.receive(HERE, &packet);
    let removed = config().clients[1].clone();
    harness.reload(|config| drop(config.clients.remove(1)));
    harness.reload(|config| config.clients.insert(1, removed));
    assert_eq!(harness.receive(THERE, &packet), Some(Reason::Replay));
}

#[test]
fn two_clients_with_one_key_are_refused_by_name() {
    let mut config = config();
    config.clients[0].keys = config.clients[1].keys.clone();
    config.clients.pop();
    let server = std::sync::Arc::new(spa_keys::ServerSecret::from_bytes(SERVER));
    let secrets = spad_engine::clients::ClientSecrets::default();
    let error = spad_engine::clients::Clients::build(config.into(), vec![server], secrets, [0; 8])
        .unwrap_err();
    assert!(error.to_string().contains("desk and laptop"), "{error}");
}

/// The longest time of all from now on, for the writer too.
fn lower_max_ttl(harness: &mut EngineHarness, seconds_max: u64) {
    harness.reload(|config| {
        config.grants.max_ttl = seconds(seconds_max);
        config.grants.admin_max_ttl = seconds(seconds_max);
        for service in config.services.values_mut() {
            service.max_ttl = None;
        }
    });
    harness.kernel.max_ttl = Some(seconds(seconds_max));
}

#[test]
fn a_grant_longer_than_a_reload_allows_is_cut_and_does_not_refuse_others_at_its_address() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&["tcp/8080"], 300));
    harness.advance(seconds(1));
    lower_max_ttl(&mut harness, 60);
    assert_eq!(
        harness.send(desk, &open_for(&["tcp/8080"], 30)),
        Reason::Opened
    );
    let rows = harness.engine.grants(harness.now);
    assert!(rows.iter().all(|row| row.remaining <= seconds(60)));
    harness.advance(seconds(59));
    assert!(
        harness.is_open(HERE, "tcp/8080"),
        "the laptop's time is not over"
    );
    harness.advance(seconds(2));
    assert!(harness.kernel.open().is_empty() && harness.engine.holders().is_empty());
}

#[test]
fn a_cut_grant_ends_in_the_kernel_though_nobody_knocks_and_the_journal_knows_when() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&["tcp/8080", "tcp/22"], 300));
    harness.advance(seconds(1));
    lower_max_ttl(&mut harness, 60);
    let end = harness.now.boot.saturating_add(seconds(60));
    let cut = harness
        .journal
        .iter()
        .rev()
        .take(2)
        .all(|record| matches!(record, JournalRecord::Holder(holder) if holder.ends == end));
    assert!(cut, "{:?}", harness.journal);
    harness.advance(seconds(1));
    assert!(
        harness
            .kernel
            .list()
            .iter()
            .all(|one| one.remaining <= seconds(60))
    );
    harness.advance(seconds(60));
    assert!(harness.kernel.open().is_empty());
}

#[test]
fn a_reload_with_the_same_or_longer_maxima_cuts_nothing() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&["tcp/8080"], 300));
    let (before, records) = (harness.kernel.transactions, harness.journal.len());
    harness.reload(|config| config.grants.max_ttl = seconds(600));
    harness.advance(seconds(2));
    assert_eq!(harness.kernel.transactions, before);
    assert_eq!(harness.journal.len(), records);
    harness.advance(seconds(297));
    assert!(harness.is_open(HERE, "tcp/8080"));
}

#[test]
fn a_reload_that_lowers_the_longest_time_of_a_client_or_service_cuts_what_is_open_of_it_alone() {
    for own in [true, false] {
        let mut harness = EngineHarness::new();
        harness.send(laptop, &open_for(&[WEB, "tcp/22"], 300));
        harness.send(desk, &open_for(&[WEB], 300));
        harness.grant("web", &[HERE], 300).unwrap();
        harness.reload(|config| {
            if own {
                config.clients[1].max_ttl = Some(seconds(60));
            } else {
                let web = config.services.get_mut("web");
                web.unwrap().max_ttl = Some(seconds(60));
            }
        });
        let rows = harness.engine.grants(harness.now);
        for row in rows {
            let client = row.client.as_ref().map(|name| name.as_str());
            let is_cut = match client {
                Some("laptop") => own || row.service == WEB.parse().unwrap(),
                Some(_) => !own,
                None => false,
            };
            let left = if is_cut { 60 } else { 300 };
            assert_eq!(row.remaining, seconds(left), "{client:?} {}", row.service);
        }
        harness.advance(seconds(61));
        assert!(harness.is_open(HERE, WEB), "the administrator's");
        assert_eq!(harness.is_open(HERE, "tcp/22"), !own);
    }
}

#[test]
fn a_reload_that_ends_a_client_or_its_key_ends_what_they_have_open() {
    for key in [false, true] {
        let mut harness = EngineHarness::new();
        harness.send(laptop, &open_for(&[WEB], 300));
        let end = harness.now.wall.saturating_add(seconds(20));
        harness.reload(|config| {
            let laptop = &mut config.clients[1];
            if key {
                laptop.keys[0].until = Some(end);
            } else {
                laptop.expires = Some(end);
            }
        });
        harness.advance(seconds(19));
        assert!(harness.is_open(HERE, WEB));
        harness.advance(seconds(2));
        assert!(!harness.is_open(HERE, WEB));
    }
}

#[test]
fn what_the_kernel_has_not_answered_when_a_reload_shortens_it_is_cut_too() {
    let mut harness = EngineHarness::new();
    harness.hold_answers = true;
    let packet = harness.seal(laptop, &open_for(&[WEB], 300));
    harness.receive(HERE, &packet);
    harness.reload(|config| config.clients[1].max_ttl = Some(seconds(60)));
    harness.answer_all();
    harness.hold_answers = false;
    let holders = harness.engine.holders();
    let end = harness.now.boot.saturating_add(seconds(60));
    assert_eq!((holders.len(), holders[0].ends), (1, end));
    harness.advance(seconds(61));
    assert!(harness.kernel.open().is_empty());
}

#[test]
fn who_asks_at_an_address_before_the_kernel_answered_lengthens_nothing_that_was_cut() {
    let mut harness = EngineHarness::new();
    harness.hold_answers = true;
    let packet = harness.seal(laptop, &open_for(&[WEB], 300));
    harness.receive(HERE, &packet);
    harness.reload(|config| config.clients[1].max_ttl = Some(seconds(60)));
    let packet = harness.seal(desk, &open_for(&[WEB], 30));
    harness.receive(HERE, &packet);
    harness.answer_all();
    let listed = harness.kernel.list();
    assert_eq!((listed.len(), listed[0].remaining), (1, seconds(60)));
}

#[test]
fn the_longest_time_of_an_administrator_is_that_of_his_grants_alone() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[WEB], 300));
    harness.grant("ssh", &[HERE], 600).unwrap();
    harness.reload(|config| config.grants.admin_max_ttl = seconds(60));
    harness.advance(seconds(61));
    assert_eq!(harness.kernel.open(), [element(HERE, WEB)]);
}
