//! Very many grants at once: taken up in portions, so that no packet waits for all of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use spad_engine::{Effect, Engine, GrantListing};
use spad_model::{Element, KernelElement};
use spad_replay::{Horizon, ReplayCache};

use super::world::*;

const MANY: u32 = 5000;
/// More than this is never taken up between two packets.
const BATCH: usize = 128;

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a07_0000 + number).into()
}

/// An engine that adopted this many grants, which all end in the same moment.
fn engine(harness: &EngineHarness) -> Engine {
    let kernel: Vec<_> = (0..MANY)
        .map(|number| KernelElement {
            element: Element {
                address: address(number),
                service: "tcp/22".parse().unwrap(),
                source_port: None,
                once: false,
                prefix: None,
            },
            remaining: seconds(100),
        })
        .collect();
    let mut engine = Engine::new(
        clients(config()),
        ReplayCache::default(),
        Horizon::at_start(harness.now.wall),
    );
    engine.adopt(&kernel, Vec::new(), harness.now, &mut Vec::new());
    engine
}

#[test]
fn grants_that_end_in_one_moment_are_taken_up_in_portions_and_each_is_told_once() {
    let mut harness = EngineHarness::new();
    let mut engine = engine(&harness);
    assert_eq!(engine.open_grants(), MANY as usize);
    for _ in 0..99 {
        harness.now.boot = harness.now.boot.saturating_add(seconds(1));
        let mut effects = Vec::new();
        engine.tick(harness.now, &mut effects);
        assert!(effects.is_empty() && engine.open_grants() == MANY as usize);
    }
    let mut reported = BTreeSet::new();
    harness.now.boot = harness.now.boot.saturating_add(seconds(1));
    let end = harness.now.boot;
    loop {
        let mut effects = Vec::new();
        engine.tick(harness.now, &mut effects);
        assert!((1..=BATCH).contains(&effects.len()), "{}", effects.len());
        for effect in effects {
            let Effect::Audit(event) = effect else {
                panic!("the kernel closed it by itself: {effect:?}");
            };
            assert!(reported.insert(event.granted_to.unwrap()), "told once");
        }
        if engine.open_grants() == 0 {
            break;
        }
        harness.now.boot = engine.next_tick().unwrap();
    }
    assert_eq!(reported.len(), MANY as usize);
    // At this pace the audit's thread keeps up, and nobody takes them for open much longer.
    assert!(harness.now.boot.saturating_since(end) < seconds(1));
    assert!(engine.grants(harness.now).is_empty());
}

#[test]
fn a_list_of_many_is_made_in_portions_while_grants_come_and_go() {
    let harness = EngineHarness::new();
    let mut engine = engine(&harness);
    let now = harness.now;
    let all: BTreeSet<IpAddr> = (0..MANY).map(address).collect();
    let mut listing = GrantListing::default();
    let mut portions = 0;
    while engine.list_page(&mut listing, now) {
        portions += 1;
    }
    assert!(portions >= MANY as usize / BATCH);
    let rows = listing.into_rows();
    let listed: Vec<IpAddr> = rows.iter().map(|row| row.peer.address).collect();
    assert_eq!(
        listed,
        all.into_iter().collect::<Vec<_>>(),
        "each once, in order"
    );

    // What ends while the list is made is in it or not; the others are in it once.
    let mut listing = GrantListing::default();
    assert!(engine.list_page(&mut listing, now));
    let mut later = now;
    later.boot = now.boot.saturating_add(seconds(100));
    engine.tick(later, &mut Vec::new());
    let gone = MANY as usize - engine.open_grants();
    assert!(gone > 0);
    while engine.list_page(&mut listing, now) {}
    let listed: BTreeSet<IpAddr> = listing
        .into_rows()
        .iter()
        .map(|row| row.peer.address)
        .collect();
    assert!(listed.len() >= MANY as usize - gone);
    let left: BTreeSet<IpAddr> = engine
        .grants(now)
        .iter()
        .map(|row| row.peer.address)
        .collect();
    assert!(left.len() == MANY as usize - gone && left.is_subset(&listed));
}
