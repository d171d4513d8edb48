//! Clients that share an address.

use std::time::Duration;

use spa_proto::{Open, Request};
use spad_engine::audit::event::Event;
use spad_model::Reason;

use crate::engine::world::*;

const WEB: &str = "tcp/8080";

#[test]
fn one_client_cannot_shorten_anothers_grant() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[WEB], 100));
    harness.send(desk, &open_for(&[WEB], 1));
    assert_eq!(harness.engine.grants(harness.now).len(), 2);
    harness.advance(seconds(2));
    assert_eq!(
        harness.audited(Event::Expire)[0]
            .client
            .as_ref()
            .unwrap()
            .as_str(),
        "desk"
    );
    harness.advance(seconds(97));
    assert!(harness.is_open(HERE, WEB));
    harness.advance(seconds(1));
    assert!(!harness.is_open(HERE, WEB));
}

#[test]
fn one_client_cannot_close_anothers_grant() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[WEB], 100));
    assert_eq!(harness.send(desk, &close(&[])), Reason::NoServices);
    assert_eq!(harness.send(desk, &close(&[WEB])), Reason::Closed);
    assert!(harness.is_open(HERE, WEB));
    harness.advance(seconds(1));
    assert_eq!(harness.send(desk, &open_for(&[WEB], 200)), Reason::Opened);
    harness.advance(seconds(1));
    assert_eq!(harness.send(desk, &close(&[WEB])), Reason::Closed);
    assert!(harness.is_open(HERE, WEB));
    harness.advance(seconds(97));
    assert!(harness.is_open(HERE, WEB), "the laptop's time is not over");
    harness.advance(seconds(2));
    assert!(
        !harness.is_open(HERE, WEB),
        "the desk's longer time went with it"
    );
}

#[test]
fn when_the_last_holder_closes_the_kernel_closes_at_once() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[WEB], 100));
    harness.send(desk, &open_for(&[WEB], 50));
    harness.advance(seconds(1));
    harness.send(laptop, &close(&[WEB]));
    assert!(harness.is_open(HERE, WEB));
    harness.send(desk, &close(&[WEB]));
    assert!(!harness.is_open(HERE, WEB));
    assert_eq!(harness.audited(Event::Close).len(), 2);
    assert!(harness.engine.holders().is_empty());
}

#[test]
fn a_close_reaches_only_its_own_address_and_service() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&["tcp/22", WEB], 100));
    let packet = harness.seal(laptop, &open_for(&[WEB], 100));
    harness.receive(THERE, &packet);
    harness.advance(seconds(1));
    assert_eq!(harness.send(laptop, &close(&[WEB])), Reason::Closed);
    assert_eq!(
        harness.kernel.open(),
        [element(HERE, "tcp/22"), element(THERE, WEB)]
    );
}

#[test]
fn a_refused_renewal_leaves_what_was_granted() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[WEB], 100));
    harness.kernel.refuse = Some(spad_model::FirewallError::SetFull);
    assert_eq!(
        harness.send(laptop, &open_for(&[WEB], 200)),
        Reason::FirewallSetFull
    );
    assert_eq!(
        harness.send(desk, &open_for(&[WEB], 200)),
        Reason::FirewallSetFull
    );
    harness.kernel.refuse = None;
    let rows = harness.engine.grants(harness.now);
    assert_eq!((rows.len(), rows[0].remaining), (1, seconds(100)));
    harness.advance(Duration::from_millis(100_100));
    assert!(harness.kernel.open().is_empty() && harness.engine.grants(harness.now).is_empty());
}

#[test]
fn answers_that_come_late_and_mixed_leave_no_hole() {
    let mut harness = EngineHarness::new();
    harness.hold_answers = true;
    let long = harness.seal(laptop, &open_for(&[WEB], 300));
    let short = harness.seal(desk, &open_for(&[WEB], 10));
    harness.receive(HERE, &long);
    harness.receive(HERE, &short);
    // The first is refused, the second taken: it was asked for the longer time of both.
    let changes = std::mem::take(&mut harness.pending_changes);
    harness.hold_answers = false;
    harness.kernel.refuse = Some(spad_model::FirewallError::Kernel(12));
    harness.answer(&changes[0]);
    harness.kernel.refuse = None;
    harness.answer(&changes[1]);
    assert!(harness.is_open(HERE, WEB));
    harness.advance(seconds(11));
    assert!(
        !harness.is_open(HERE, WEB),
        "mended to the time of the one who holds it"
    );
}

#[test]
fn a_close_that_overtakes_the_kernels_answer_wins() {
    let mut harness = EngineHarness::new();
    harness.hold_answers = true;
    let open = harness.seal(laptop, &open_for(&[WEB], 300));
    harness.receive(HERE, &open);
    harness.now.wall = harness.now.wall.saturating_add(Duration::from_millis(1));
    let shut = harness.seal(laptop, &close(&[WEB]));
    harness.receive(HERE, &shut);
    harness.answer_all();
    harness.hold_answers = false;
    assert!(harness.kernel.open().is_empty());
    assert!(harness.engine.grants(harness.now).is_empty() && harness.engine.holders().is_empty());
}

#[test]
fn a_close_that_the_kernel_refuses_is_tried_until_it_is_done() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[WEB], 300));
    harness.advance(seconds(1));
    harness.kernel.refuse = Some(spad_model::FirewallError::TableMissing);
    assert_eq!(
        harness.send(laptop, &close(&[WEB])),
        Reason::FirewallTableMissing
    );
    harness.advance(seconds(5));
    let tried = harness.kernel.transactions;
    assert!((4..10).contains(&tried), "once a second: {tried}");
    harness.kernel.refuse = None;
    harness.advance(seconds(2));
    assert!(harness.kernel.open().is_empty());
    let done = harness.kernel.transactions;
    harness.advance(seconds(10));
    assert_eq!(harness.kernel.transactions, done, "and then no more");
}

#[test]
fn a_grant_that_the_kernel_took_late_ends_when_its_holders_time_is_over() {
    for (once, late) in [(false, 4), (true, 4), (false, 12), (true, 12)] {
        let mut harness = EngineHarness::new();
        harness.hold_answers = true;
        let requested = Request::Open(Open {
            once,
            duration: 10,
            ..open(&[WEB])
        });
        let packet = harness.seal(laptop, &requested);
        harness.receive(HERE, &packet);
        harness.advance(seconds(late));
        harness.hold_answers = false;
        harness.answer_all();
        if late < 10 {
            harness.advance(seconds(9 - late));
            assert_eq!(harness.kernel.open().len(), 1, "its time is not over");
            harness.advance(seconds(1));
        }
        harness.advance(seconds(1));
        assert!(
            harness.kernel.open().is_empty(),
            "once: {once}, late: {late}"
        );
    }
}

#[test]
fn a_grant_for_one_connection_that_the_kernel_took_late_does_not_come_back() {
    let mut harness = EngineHarness::new();
    harness.hold_answers = true;
    let once = Request::Open(Open {
        once: true,
        duration: 100,
        ..open(&[WEB])
    });
    let packet = harness.seal(laptop, &once);
    harness.receive(HERE, &packet);
    harness.advance(seconds(4));
    harness.hold_answers = false;
    harness.answer_all();
    // Used: the kernel took it away.
    harness.kernel.elements.clear();
    harness.advance(seconds(101));
    assert!(harness.kernel.elements.is_empty());
}
