//! Sleep, restart, and what the kernel holds that nobody remembers.

use spa_proto::{Open, Request, Timestamp};
use spad::audit::Event;
use spad::engine::Engine;
use spad::replay::{Horizon, JournalRecord, ReplayCache};
use spad::verdict::Reason;

use crate::engine::world::*;

const WEB: &str = "tcp/8080";

/// The daemon dies; another takes over with the journal's holders and the kernel's elements.
fn restart(world: &mut World) {
    let holders = world.engine.holders();
    let mut cache = ReplayCache::default();
    for record in world.engine.records() {
        cache.restore(&record);
    }
    let config = world.engine.clients().config().as_ref().clone();
    world.engine = Engine::new(
        clients(config),
        cache,
        Horizon::at_start(Timestamp::default()),
    );
    world.packets = 0;
    world.verdicts.clear();
    world.move_horizon();
    let mut effects = Vec::new();
    let kernel = world.kernel.listed();
    world
        .engine
        .adopt(&kernel, holders, world.now, &mut effects);
    world.obey(effects);
}

#[test]
fn what_ended_during_sleep_is_closed_on_resume_and_the_rest_ends_on_time() {
    let mut world = World::new();
    world.send(laptop, &open_for(&["tcp/22"], 30));
    world.send(laptop, &open_for(&[WEB], 300));
    world.pass(seconds(1));
    world.sleep(seconds(200));
    assert_eq!(world.kernel.open(), [element(HERE, WEB)]);
    world.pass(seconds(98));
    assert!(world.is_open(HERE, WEB));
    world.pass(seconds(2));
    assert!(
        world.kernel.open().is_empty(),
        "its timeout had stood still for 200 s"
    );
}

#[test]
fn a_grant_for_one_connection_does_not_come_back_after_sleep() {
    let mut world = World::new();
    world.send(
        laptop,
        &Request::Open(Open {
            once: true,
            duration: 300,
            ..open(&[WEB])
        }),
    );
    // Used: the kernel took it away.
    world.kernel.elements.clear();
    world.pass(seconds(1));
    world.sleep(seconds(10));
    world.pass(seconds(10));
    assert!(world.kernel.open().is_empty());
}

#[test]
fn a_restart_adopts_open_grants_with_their_holders() {
    let mut world = World::new();
    world.send(laptop, &open_for(&[WEB], 100));
    world.pass(seconds(10));
    restart(&mut world);
    let rows = world.engine.grants(world.now);
    assert_eq!(rows[0].client.as_ref().unwrap().as_str(), "laptop");
    assert_eq!(rows[0].remaining, seconds(90));
    world.pass(seconds(1));
    assert_eq!(world.send(laptop, &close(&[])), Reason::Closed);
    assert!(world.kernel.open().is_empty());
}

#[test]
fn of_what_a_restart_adopted_the_grant_that_ends_next_gives_way() {
    // Whichever the order of the elements.
    for (ssh, web) in [(50, 100), (100, 50)] {
        let mut world = World::with(|config| config.grants.max_per_client = 2);
        world.send(laptop, &open_for(&["tcp/22"], ssh));
        world.send(laptop, &open_for(&[WEB], web));
        world.pass(seconds(10));
        restart(&mut world);
        world.send(laptop, &open_for(&["udp/9999"], 100));
        assert_eq!(world.is_open(HERE, "tcp/22"), ssh == 100);
        assert_eq!(world.is_open(HERE, WEB), web == 100);
        assert!(world.is_open(HERE, "udp/9999"));
    }
}

#[test]
fn an_element_without_a_holder_runs_out_and_is_nobodys_to_close() {
    let mut world = World::new();
    world.send(laptop, &open_for(&[WEB], 100));
    let mut effects = Vec::new();
    let kernel = world.kernel.listed();
    let config = world.engine.clients().config().as_ref().clone();
    world.engine = Engine::new(
        clients(config),
        ReplayCache::default(),
        Horizon::at_start(Timestamp::default()),
    );
    world.packets = 0;
    world.verdicts.clear();
    world.move_horizon();
    world
        .engine
        .adopt(&kernel, Vec::new(), world.now, &mut effects);
    world.obey(effects);
    assert_eq!(world.engine.grants(world.now)[0].client, None);
    assert_eq!(world.send(laptop, &close(&[])), Reason::NoServices);
    assert!(world.is_open(HERE, WEB));
    world.pass(seconds(100));
    assert!(world.engine.grants(world.now).is_empty());
}

#[test]
fn holders_of_what_the_kernel_lost_are_struck_from_the_journal() {
    let mut world = World::new();
    world.send(laptop, &open_for(&[WEB], 100));
    world.kernel.elements.clear();
    world.journal.clear();
    restart(&mut world);
    assert!(matches!(world.journal[..], [JournalRecord::HolderGone(_)]));
    assert!(world.engine.grants(world.now).is_empty());
}

#[test]
fn a_client_that_was_removed_while_the_daemon_was_down_loses_its_grant_at_start() {
    let mut world = World::new();
    world.send(laptop, &open_for(&[WEB], 100));
    let holders = world.engine.holders();
    let mut without = config();
    without.clients.remove(1);
    world.engine = Engine::new(
        clients(without),
        ReplayCache::default(),
        Horizon::at_start(Timestamp::default()),
    );
    let mut effects = Vec::new();
    let kernel = world.kernel.listed();
    world
        .engine
        .adopt(&kernel, holders, world.now, &mut effects);
    world.obey(effects);
    assert!(world.kernel.open().is_empty());
    assert_eq!(world.audited(Event::Revoke).len(), 1);
}

#[test]
fn a_used_packet_stays_used_after_a_restart_and_a_last_close_stays_last() {
    let mut world = World::new();
    let earlier = world.seal(laptop, &open_for(&[WEB], 100));
    let used = world.seal(laptop, &open_for(&[WEB], 100));
    assert_eq!(world.receive(HERE, &used), Some(Reason::Opened));
    world.pass(seconds(1));
    world.send(laptop, &close(&[]));
    restart(&mut world);
    assert_eq!(world.receive(THERE, &used), Some(Reason::Replay));
    assert_eq!(world.receive(HERE, &earlier), Some(Reason::OlderThanClose));
}

#[test]
fn a_grant_for_one_connection_keeps_its_holder_when_one_for_many_ends_before_it() {
    let mut world = World::new();
    let once = Request::Open(Open {
        once: true,
        duration: 100,
        ..open(&[WEB])
    });
    assert_eq!(world.send(laptop, &once), Reason::Opened);
    assert_eq!(world.send(laptop, &open_for(&[WEB], 1)), Reason::Opened);
    world.pass(seconds(3));
    let mut holders = std::collections::BTreeMap::new();
    for record in &world.journal {
        match record {
            JournalRecord::Holder(holder) => drop(holders.insert(holder.key, holder.ends)),
            JournalRecord::HolderGone(key) => drop(holders.remove(key)),
            _ => {}
        }
    }
    let left: Vec<_> = holders
        .iter()
        .map(|(key, ends)| (key.once, ends.saturating_since(world.now.boot)))
        .collect();
    assert_eq!(left, [(true, seconds(97))]);
}
