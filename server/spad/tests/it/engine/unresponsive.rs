//! A firewall writer that answers too late, or not at all.

use spad_engine::audit::event::Event;
use spad_model::Reason;

use crate::engine::world::*;

/// Whatever waits for the writer waits no longer.
fn give_up(harness: &mut EngineHarness) {
    let mut effects = Vec::new();
    let verdicts = harness.engine.abort_unanswered(harness.now, &mut effects);
    harness.verdicts.extend(verdicts);
    harness.execute(effects);
    harness.check_counts();
}

#[test]
fn what_is_given_up_is_refused_and_undone_when_the_kernel_took_it_after_all() {
    let mut harness = EngineHarness::new();
    harness.hold_answers = true;
    let packet = harness.seal(laptop, &open_for(&["tcp/22"], 0));
    assert_eq!(harness.receive(HERE, &packet), None);
    harness.advance(seconds(2));
    give_up(&mut harness);
    assert_eq!(
        harness.engine.counters().get(Reason::FirewallUnresponsive),
        1
    );
    assert_eq!(harness.audited(Event::Refuse).len(), 1);
    harness.advance(seconds(10));
    harness.hold_answers = false;
    harness.answer_all();
    harness.advance(seconds(2));
    assert!(!harness.is_open(HERE, "tcp/22"), "nobody holds it");
    assert_eq!(harness.engine.counters().get(Reason::Opened), 0);
    let reported = [Event::Grant, Event::Expire].map(|event| harness.audited(event).len());
    assert_eq!(reported, [0, 0], "of a grant that never was");
    assert!(harness.engine.holders().is_empty());
}

#[test]
fn a_renewal_that_is_given_up_leaves_its_client_what_it_had() {
    let mut harness = EngineHarness::new();
    assert_eq!(
        harness.send(laptop, &open_for(&["tcp/22"], 20)),
        Reason::Opened
    );
    harness.hold_answers = true;
    let packet = harness.seal(laptop, &open_for(&["tcp/22"], 30));
    assert_eq!(harness.receive(HERE, &packet), None);
    harness.advance(seconds(2));
    give_up(&mut harness);
    harness.hold_answers = false;
    harness.answer_all();
    harness.advance(seconds(16));
    assert!(harness.is_open(HERE, "tcp/22"));
    harness.advance(seconds(4));
    assert!(!harness.is_open(HERE, "tcp/22"), "not for the longer time");
    assert_eq!(harness.audited(Event::Expire).len(), 1);
}

#[test]
fn a_close_that_is_given_up_still_closes() {
    let mut harness = EngineHarness::new();
    assert_eq!(
        harness.send(laptop, &open_for(&["tcp/22"], 0)),
        Reason::Opened
    );
    harness.hold_answers = true;
    harness.advance(seconds(1));
    let packet = harness.seal(laptop, &close(&["tcp/22"]));
    assert_eq!(harness.receive(HERE, &packet), None);
    give_up(&mut harness);
    assert_eq!(
        harness.engine.counters().get(Reason::FirewallUnresponsive),
        1
    );
    harness.hold_answers = false;
    harness.answer_all();
    assert!(!harness.is_open(HERE, "tcp/22"));
}

#[test]
fn a_grant_that_ended_before_the_kernel_took_it_is_refused_without_an_end() {
    let mut harness = EngineHarness::new();
    harness.hold_answers = true;
    let packet = harness.seal(laptop, &open_for(&["tcp/22"], 2));
    assert_eq!(harness.receive(HERE, &packet), None);
    harness.advance(seconds(3));
    harness.hold_answers = false;
    harness.answer_all();
    harness.advance(seconds(2));
    assert!(!harness.is_open(HERE, "tcp/22"));
    assert_eq!(
        harness.engine.counters().get(Reason::FirewallUnresponsive),
        1
    );
    let reported = [Event::Grant, Event::Expire].map(|event| harness.audited(event).len());
    assert_eq!(reported, [0, 0]);
}
