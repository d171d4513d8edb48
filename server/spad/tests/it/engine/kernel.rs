//! Sleep, restart, and what the kernel holds that nobody remembers.

use spa_proto::{Open, Request, Timestamp};
use spad_engine::Engine;
use spad_engine::audit::event::Event;
use spad_model::Reason;
use spad_replay::{Horizon, JournalRecord, ReplayCache};

use crate::engine::world::*;

const WEB: &str = "tcp/8080";

/// The daemon dies; another takes over with the journal's holders and the kernel's elements.
fn restart(harness: &mut EngineHarness) {
    let holders = harness.engine.holders();
    let mut cache = ReplayCache::default();
    for record in harness.engine.journal_records() {
        cache.restore(&record);
    }
    let config = harness.engine.clients().config().as_ref().clone();
    harness.engine = Engine::new(
        clients(config),
        cache,
        Horizon::at_start(Timestamp::default()),
    );
    harness.packets = 0;
    harness.verdicts.clear();
    harness.move_horizon();
    let mut effects = Vec::new();
    let kernel = harness.kernel.list();
    harness
        .engine
        .adopt(&kernel, holders, harness.now, &mut effects);
    harness.execute(effects);
}

#[test]
fn what_ended_during_sleep_is_closed_on_resume_and_the_rest_ends_on_time() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&["tcp/22"], 30));
    harness.send(laptop, &open_for(&[WEB], 300));
    harness.advance(seconds(1));
    harness.suspend(seconds(200));
    assert_eq!(harness.kernel.open(), [element(HERE, WEB)]);
    harness.advance(seconds(98));
    assert!(harness.is_open(HERE, WEB));
    harness.advance(seconds(2));
    assert!(
        harness.kernel.open().is_empty(),
        "its timeout had stood still for 200 s"
    );
}

#[test]
fn a_grant_for_one_connection_does_not_come_back_after_sleep() {
    let mut harness = EngineHarness::new();
    harness.send(
        laptop,
        &Request::Open(Open {
            once: true,
            duration: 300,
            ..open(&[WEB])
        }),
    );
    // Used: the kernel took it away.
    harness.kernel.elements.clear();
    harness.advance(seconds(1));
    harness.suspend(seconds(10));
    harness.advance(seconds(10));
    assert!(harness.kernel.open().is_empty());
}

#[test]
fn a_restart_adopts_open_grants_with_their_holders() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[WEB], 100));
    harness.advance(seconds(10));
    restart(&mut harness);
    let rows = harness.engine.grants(harness.now);
    assert_eq!(rows[0].client.as_ref().unwrap().as_str(), "laptop");
    assert_eq!(rows[0].remaining, seconds(90));
    harness.advance(seconds(1));
    assert_eq!(harness.send(laptop, &close(&[])), Reason::Closed);
    assert!(harness.kernel.open().is_empty());
}

#[test]
fn of_what_a_restart_adopted_the_grant_that_ends_next_gives_way() {
    // Whichever the order of the elements.
    for (ssh, web) in [(50, 100), (100, 50)] {
        let mut harness = EngineHarness::with(|config| config.grants.max_per_client = 2);
        harness.send(laptop, &open_for(&["tcp/22"], ssh));
        harness.send(laptop, &open_for(&[WEB], web));
        harness.advance(seconds(10));
        restart(&mut harness);
        harness.send(laptop, &open_for(&["udp/9999"], 100));
        assert_eq!(harness.is_open(HERE, "tcp/22"), ssh == 100);
        assert_eq!(harness.is_open(HERE, WEB), web == 100);
        assert!(harness.is_open(HERE, "udp/9999"));
    }
}

#[test]
fn an_element_without_a_holder_runs_out_and_is_nobodys_to_close() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[WEB], 100));
    let mut effects = Vec::new();
    let kernel = harness.kernel.list();
    let config = harness.engine.clients().config().as_ref().clone();
    harness.engine = Engine::new(
        clients(config),
        ReplayCache::default(),
        Horizon::at_start(Timestamp::default()),
    );
    harness.packets = 0;
    harness.verdicts.clear();
    harness.move_horizon();
    harness
        .engine
        .adopt(&kernel, Vec::new(), harness.now, &mut effects);
    harness.execute(effects);
    assert_eq!(harness.engine.grants(harness.now)[0].client, None);
    assert_eq!(harness.send(laptop, &close(&[])), Reason::NoServices);
    assert!(harness.is_open(HERE, WEB));
    harness.advance(seconds(100));
    assert!(harness.engine.grants(harness.now).is_empty());
}

#[test]
fn holders_of_what_the_kernel_lost_are_struck_from_the_journal() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[WEB], 100));
    harness.kernel.elements.clear();
    harness.journal.clear();
    restart(&mut harness);
    assert!(matches!(
        harness.journal[..],
        [JournalRecord::HolderRemoved(_)]
    ));
    assert!(harness.engine.grants(harness.now).is_empty());
}

#[test]
fn a_client_that_was_removed_while_the_daemon_was_down_loses_its_grant_at_start() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[WEB], 100));
    let holders = harness.engine.holders();
    let mut without = config();
    without.clients.remove(1);
    harness.engine = Engine::new(
        clients(without),
        ReplayCache::default(),
        Horizon::at_start(Timestamp::default()),
    );
    let mut effects = Vec::new();
    let kernel = harness.kernel.list();
    harness
        .engine
        .adopt(&kernel, holders, harness.now, &mut effects);
    harness.execute(effects);
    assert!(harness.kernel.open().is_empty());
    assert_eq!(harness.audited(Event::Revoke).len(), 1);
}

#[test]
fn a_used_packet_stays_used_after_a_restart_and_a_last_close_stays_last() {
    let mut harness = EngineHarness::new();
    let earlier = harness.seal(laptop, &open_for(&[WEB], 100));
    let used = harness.seal(laptop, &open_for(&[WEB], 100));
    assert_eq!(harness.receive(HERE, &used), Some(Reason::Opened));
    harness.advance(seconds(1));
    harness.send(laptop, &close(&[]));
    restart(&mut harness);
    assert_eq!(harness.receive(THERE, &used), Some(Reason::Replay));
    assert_eq!(
        harness.receive(HERE, &earlier),
        Some(Reason::OlderThanClose)
    );
}

#[test]
fn a_grant_for_one_connection_keeps_its_holder_when_one_for_many_ends_before_it() {
    let mut harness = EngineHarness::new();
    let once = Request::Open(Open {
        once: true,
        duration: 100,
        ..open(&[WEB])
    });
    assert_eq!(harness.send(laptop, &once), Reason::Opened);
    assert_eq!(harness.send(laptop, &open_for(&[WEB], 1)), Reason::Opened);
    harness.advance(seconds(3));
    let mut holders = std::collections::BTreeMap::new();
    for record in &harness.journal {
        match record {
            JournalRecord::Holder(holder) => drop(holders.insert(holder.key, holder.ends)),
            JournalRecord::HolderRemoved(key) => drop(holders.remove(key)),
            _ => {}
        }
    }
    let left: Vec<_> = holders
        .iter()
        .map(|(key, ends)| (key.once, ends.saturating_since(harness.now.boot)))
        .collect();
    assert_eq!(left, [(true, seconds(97))]);
}
