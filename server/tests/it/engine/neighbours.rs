//! Clients that share an address.

use std::time::Duration;

use spa_proto::{Open, Request};
use spad::audit::Event;
use spad::verdict::Reason;

use crate::engine::world::*;

const WEB: &str = "tcp/8080";

#[test]
fn one_client_cannot_shorten_anothers_grant() {
    let mut world = World::new();
    world.send(laptop, &open_for(&[WEB], 100));
    world.send(desk, &open_for(&[WEB], 1));
    assert_eq!(world.engine.grants(world.now).len(), 2);
    world.pass(seconds(2));
    assert_eq!(
        world.audited(Event::Expire)[0]
            .client
            .as_ref()
            .unwrap()
            .as_str(),
        "desk"
    );
    world.pass(seconds(97));
    assert!(world.is_open(HERE, WEB));
    world.pass(seconds(1));
    assert!(!world.is_open(HERE, WEB));
}

#[test]
fn one_client_cannot_close_anothers_grant() {
    let mut world = World::new();
    world.send(laptop, &open_for(&[WEB], 100));
    assert_eq!(world.send(desk, &close(&[])), Reason::NoServices);
    assert_eq!(world.send(desk, &close(&[WEB])), Reason::Closed);
    assert!(world.is_open(HERE, WEB));
    world.pass(seconds(1));
    assert_eq!(world.send(desk, &open_for(&[WEB], 200)), Reason::Opened);
    world.pass(seconds(1));
    assert_eq!(world.send(desk, &close(&[WEB])), Reason::Closed);
    assert!(world.is_open(HERE, WEB));
    world.pass(seconds(97));
    assert!(world.is_open(HERE, WEB), "the laptop's time is not over");
    world.pass(seconds(2));
    assert!(
        !world.is_open(HERE, WEB),
        "the desk's longer time went with it"
    );
}

#[test]
fn when_the_last_holder_closes_the_kernel_closes_at_once() {
    let mut world = World::new();
    world.send(laptop, &open_for(&[WEB], 100));
    world.send(desk, &open_for(&[WEB], 50));
    world.pass(seconds(1));
    world.send(laptop, &close(&[WEB]));
    assert!(world.is_open(HERE, WEB));
    world.send(desk, &close(&[WEB]));
    assert!(!world.is_open(HERE, WEB));
    assert_eq!(world.audited(Event::Close).len(), 2);
    assert!(world.engine.holders().is_empty());
}

#[test]
fn a_close_reaches_only_its_own_address_and_service() {
    let mut world = World::new();
    world.send(laptop, &open_for(&["tcp/22", WEB], 100));
    let packet = world.seal(laptop, &open_for(&[WEB], 100));
    world.receive(THERE, &packet);
    world.pass(seconds(1));
    assert_eq!(world.send(laptop, &close(&[WEB])), Reason::Closed);
    assert_eq!(
        world.kernel.open(),
        [element(HERE, "tcp/22"), element(THERE, WEB)]
    );
}

#[test]
fn a_refused_renewal_leaves_what_was_granted() {
    let mut world = World::new();
    world.send(laptop, &open_for(&[WEB], 100));
    world.kernel.refuse = Some(spad::firewall::FirewallRefusal::SetFull);
    assert_eq!(
        world.send(laptop, &open_for(&[WEB], 200)),
        Reason::FirewallSetFull
    );
    assert_eq!(
        world.send(desk, &open_for(&[WEB], 200)),
        Reason::FirewallSetFull
    );
    world.kernel.refuse = None;
    let rows = world.engine.grants(world.now);
    assert_eq!((rows.len(), rows[0].remaining), (1, seconds(100)));
    world.pass(Duration::from_millis(100_100));
    assert!(world.kernel.open().is_empty() && world.engine.grants(world.now).is_empty());
}

#[test]
fn answers_that_come_late_and_mixed_leave_no_hole() {
    let mut world = World::new();
    world.hold = true;
    let long = world.seal(laptop, &open_for(&[WEB], 300));
    let short = world.seal(desk, &open_for(&[WEB], 10));
    world.receive(HERE, &long);
    world.receive(HERE, &short);
    // The first is refused, the second taken: it was asked for the longer time of both.
    let changes = std::mem::take(&mut world.unanswered);
    world.hold = false;
    world.kernel.refuse = Some(spad::firewall::FirewallRefusal::Kernel(12));
    world.answer(&changes[0]);
    world.kernel.refuse = None;
    world.answer(&changes[1]);
    assert!(world.is_open(HERE, WEB));
    world.pass(seconds(11));
    assert!(
        !world.is_open(HERE, WEB),
        "mended to the time of the one who holds it"
    );
}

#[test]
fn a_close_that_overtakes_the_kernels_answer_wins() {
    let mut world = World::new();
    world.hold = true;
    let open = world.seal(laptop, &open_for(&[WEB], 300));
    world.receive(HERE, &open);
    world.now.wall = world.now.wall.saturating_add(Duration::from_millis(1));
    let shut = world.seal(laptop, &close(&[WEB]));
    world.receive(HERE, &shut);
    world.answer_all();
    world.hold = false;
    assert!(world.kernel.open().is_empty());
    assert!(world.engine.grants(world.now).is_empty() && world.engine.holders().is_empty());
}

#[test]
fn a_close_that_the_kernel_refuses_is_tried_until_it_is_done() {
    let mut world = World::new();
    world.send(laptop, &open_for(&[WEB], 300));
    world.pass(seconds(1));
    world.kernel.refuse = Some(spad::firewall::FirewallRefusal::TableMissing);
    assert_eq!(
        world.send(laptop, &close(&[WEB])),
        Reason::FirewallTableMissing
    );
    world.pass(seconds(5));
    let tried = world.kernel.transactions;
    assert!((4..10).contains(&tried), "once a second: {tried}");
    world.kernel.refuse = None;
    world.pass(seconds(2));
    assert!(world.kernel.open().is_empty());
    let done = world.kernel.transactions;
    world.pass(seconds(10));
    assert_eq!(world.kernel.transactions, done, "and then no more");
}

#[test]
fn a_grant_that_the_kernel_took_late_ends_when_its_holders_time_is_over() {
    for (once, late) in [(false, 4), (true, 4), (false, 12), (true, 12)] {
        let mut world = World::new();
        world.hold = true;
        let asked = Request::Open(Open {
            once,
            duration: 10,
            ..open(&[WEB])
        });
        let packet = world.seal(laptop, &asked);
        world.receive(HERE, &packet);
        world.pass(seconds(late));
        world.hold = false;
        world.answer_all();
        if late < 10 {
            world.pass(seconds(9 - late));
            assert_eq!(world.kernel.open().len(), 1, "its time is not over");
            world.pass(seconds(1));
        }
        world.pass(seconds(1));
        assert!(world.kernel.open().is_empty(), "once: {once}, late: {late}");
    }
}

#[test]
fn a_grant_for_one_connection_that_the_kernel_took_late_does_not_come_back() {
    let mut world = World::new();
    world.hold = true;
    let once = Request::Open(Open {
        once: true,
        duration: 100,
        ..open(&[WEB])
    });
    let packet = world.seal(laptop, &once);
    world.receive(HERE, &packet);
    world.pass(seconds(4));
    world.hold = false;
    world.answer_all();
    // Used: the kernel took it away.
    world.kernel.elements.clear();
    world.pass(seconds(101));
    assert!(world.kernel.elements.is_empty());
}
