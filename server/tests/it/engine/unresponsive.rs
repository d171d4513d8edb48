//! A firewall writer that answers too late, or not at all.

use spad::audit::Event;
use spad::verdict::Reason;

use crate::engine::world::*;

/// Whatever waits for the writer waits no longer.
fn give_up(world: &mut World) {
    let mut effects = Vec::new();
    let verdicts = world.engine.give_up_waiting(world.now, &mut effects);
    world.verdicts.extend(verdicts);
    world.obey(effects);
    world.check();
}

#[test]
fn what_is_given_up_is_refused_and_undone_when_the_kernel_took_it_after_all() {
    let mut world = World::new();
    world.hold = true;
    let packet = world.seal(laptop, &open_for(&["tcp/22"], 0));
    assert_eq!(world.receive(HERE, &packet), None);
    world.pass(seconds(2));
    give_up(&mut world);
    assert_eq!(world.engine.counters().get(Reason::FirewallUnresponsive), 1);
    assert_eq!(world.audited(Event::Refuse).len(), 1);
    world.pass(seconds(10));
    world.hold = false;
    world.answer_all();
    world.pass(seconds(2));
    assert!(!world.is_open(HERE, "tcp/22"), "nobody holds it");
    assert_eq!(world.engine.counters().get(Reason::Opened), 0);
    let told = [Event::Grant, Event::Expire].map(|event| world.audited(event).len());
    assert_eq!(told, [0, 0], "of a grant that never was");
    assert!(world.engine.holders().is_empty());
}

#[test]
fn a_renewal_that_is_given_up_leaves_its_client_what_it_had() {
    let mut world = World::new();
    assert_eq!(
        world.send(laptop, &open_for(&["tcp/22"], 20)),
        Reason::Opened
    );
    world.hold = true;
    let packet = world.seal(laptop, &open_for(&["tcp/22"], 30));
    assert_eq!(world.receive(HERE, &packet), None);
    world.pass(seconds(2));
    give_up(&mut world);
    world.hold = false;
    world.answer_all();
    world.pass(seconds(16));
    assert!(world.is_open(HERE, "tcp/22"));
    world.pass(seconds(4));
    assert!(!world.is_open(HERE, "tcp/22"), "not for the longer time");
    assert_eq!(world.audited(Event::Expire).len(), 1);
}

#[test]
fn a_close_that_is_given_up_still_closes() {
    let mut world = World::new();
    assert_eq!(
        world.send(laptop, &open_for(&["tcp/22"], 0)),
        Reason::Opened
    );
    world.hold = true;
    world.pass(seconds(1));
    let packet = world.seal(laptop, &close(&["tcp/22"]));
    assert_eq!(world.receive(HERE, &packet), None);
    give_up(&mut world);
    assert_eq!(world.engine.counters().get(Reason::FirewallUnresponsive), 1);
    world.hold = false;
    world.answer_all();
    assert!(!world.is_open(HERE, "tcp/22"));
}

#[test]
fn a_grant_that_ended_before_the_kernel_took_it_is_refused_without_an_end() {
    let mut world = World::new();
    world.hold = true;
    let packet = world.seal(laptop, &open_for(&["tcp/22"], 2));
    assert_eq!(world.receive(HERE, &packet), None);
    world.pass(seconds(3));
    world.hold = false;
    world.answer_all();
    world.pass(seconds(2));
    assert!(!world.is_open(HERE, "tcp/22"));
    assert_eq!(world.engine.counters().get(Reason::FirewallUnresponsive), 1);
    let told = [Event::Grant, Event::Expire].map(|event| world.audited(event).len());
    assert_eq!(told, [0, 0]);
}
