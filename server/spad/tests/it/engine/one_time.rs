//! Doors that open once by each of their sequences.

use std::collections::HashSet;

use spad_config::{Config, Door, check_used_sequences};
use spad_engine::{Effect, Engine};
use spad_model::knock::{
    KnockFilter, KnockPattern, ObservedKnock, OneTime, OneTimeSequence, Sequence, Sequences,
};
use spad_model::{FirewallError, Reason};
use spad_replay::{Horizon, ReplayCache};

use crate::engine::world::*;

const SSH: &str = "tcp/22";
const FIRST: [&str; 3] = ["7000", "8000:udp", "9000"];
const SECOND: [&str; 2] = ["7100", "8100"];
const THIRD: [&str; 2] = ["7200", "8200"];

/// A door with a file of these.
fn list(config: &mut Config, name: &str, lists: &[&[&str]]) {
    let listed = lists
        .iter()
        .enumerate()
        .map(|(line, knocks)| OneTimeSequence {
            sequence: knocks.join(",").parse().unwrap(),
            location: spa_findings::Source::new("side".as_ref(), "\n".repeat(line))
                .location(line..line),
        });
    let list = OneTime {
        file: format!("/etc/spad/{name}").into(),
        sequences: listed.collect(),
    };
    config.knock.push(Door {
        name: name.parse().unwrap(),
        pattern: KnockPattern {
            sequences: Sequences::OneTime(list),
            ..KnockPattern::new("1,20".parse().unwrap())
        },
        open: vec!["ssh".parse().unwrap()],
        ttl: None,
        run: None,
    });
    let doors: Vec<_> = config.knock.iter().map(|door| &door.pattern).collect();
    config.listen.carriers.knocks = KnockFilter::new(&doors);
}

fn door(config: &mut Config) {
    list(config, "side", &[&FIRST, &SECOND, &THIRD]);
}

/// Knocks, and closes again what was opened.
fn opens(harness: &mut EngineHarness, from: &str, knocks: &[&str]) -> bool {
    harness.knock(from, knocks);
    let opened = harness.is_open(from, SSH);
    harness.advance(seconds(31));
    opened
}

fn remaining(harness: &EngineHarness) -> usize {
    harness
        .engine
        .remaining_sequences()
        .map(|(_, left)| left)
        .sum()
}

/// What the next life finds in the state directory.
fn recorded(harness: &EngineHarness) -> HashSet<Sequence> {
    let used = harness.used.iter();
    used.map(|used| used.sequence.clone()).collect()
}

#[test]
fn each_sequence_opens_once_and_in_its_turn() {
    for from in [HERE, "2001:db8::7"] {
        let mut harness = EngineHarness::with(door);
        assert!(!opens(&mut harness, from, &SECOND), "not its turn");
        assert!(opens(&mut harness, from, &FIRST));
        assert!(!opens(&mut harness, from, &FIRST), "a second time");
        assert!(!opens(&mut harness, THERE, &FIRST), "somebody who saw it");
        assert!(!opens(&mut harness, from, &THIRD), "not its turn");
        assert_eq!(remaining(&harness), 2);
        assert!(opens(&mut harness, from, &SECOND));
        assert!(opens(&mut harness, from, &THIRD));
        for knocks in [&FIRST[..], &SECOND, &THIRD] {
            assert!(!opens(&mut harness, from, knocks), "none is left");
        }
        assert_eq!(harness.count(Reason::KnockOpened), 3);
        let used = harness
            .used
            .iter()
            .map(|used| (used.remaining, used.sequence.to_string()));
        let right = [(2, &FIRST[..]), (1, &SECOND), (0, &THIRD)];
        let right = right.map(|(left, knocks)| (left, knocks.join(",")));
        assert_eq!(used.collect::<Vec<_>>(), right);
    }
}

#[test]
fn that_a_sequence_is_used_is_written_before_anything_opens() {
    let mut harness = EngineHarness::with(door);
    harness.knock(HERE, &FIRST[..2]);
    let hit = ObservedKnock {
        source: ip(HERE),
        source_port: 40_000,
        destination: ip("203.0.113.1"),
        knock: FIRST[2].parse().unwrap(),
        flags: 0x02,
        interface: 2,
    };
    let mut effects = Vec::new();
    harness.engine.on_knock(&hit, harness.now, &mut effects);
    assert!(
        matches!(
            &effects[..],
            [Effect::MarkSequenceUsed(_), Effect::Firewall(_)]
        ),
        "{effects:?}"
    );
}

#[test]
fn of_two_who_knock_the_same_at_the_same_time_one_is_let_in() {
    let mut harness = EngineHarness::with(door);
    for knock in FIRST {
        harness.knock(HERE, &[knock]);
        harness.knock(THERE, &[knock]);
    }
    assert_eq!(harness.kernel.open(), [element(HERE, SSH)]);
    assert_eq!(harness.used.len(), 1);
}

#[test]
fn an_attempt_that_was_under_way_does_not_go_on_with_the_next_sequence() {
    let mut harness = EngineHarness::with(|config| {
        list(
            config,
            "side",
            &[&["7000", "9000"], &["7000", "9500", "9600"]],
        );
    });
    harness.knock(THERE, &["7000"]);
    harness.knock(HERE, &["7000", "9000"]);
    harness.knock(THERE, &["9500", "9600"]);
    assert_eq!(harness.kernel.open(), [element(HERE, SSH)]);
    harness.knock(THERE, &["7000", "9500", "9600"]);
    assert_eq!(
        harness.kernel.open().len(),
        2,
        "from its beginning on it opens"
    );
}

#[test]
fn what_is_used_is_used_in_the_next_life_and_after_each_reload() {
    let mut harness = EngineHarness::with(door);
    assert!(opens(&mut harness, HERE, &FIRST));
    harness.reload(|_| {});
    assert!(!opens(&mut harness, HERE, &FIRST), "after a reload");
    let mut after = EngineHarness::with(door);
    after.engine.load_used_sequences(recorded(&harness));
    assert_eq!(remaining(&after), 2);
    assert!(!opens(&mut after, HERE, &FIRST), "in the next life");
    assert!(opens(&mut after, HERE, &SECOND));
}

#[test]
fn a_used_sequence_opens_at_no_other_door_and_at_no_other_place_of_a_list() {
    let mut harness = EngineHarness::with(door);
    assert!(opens(&mut harness, HERE, &FIRST));
    harness.reload(|config| {
        config.knock.clear();
        list(config, "another", &[&THIRD, &FIRST, &SECOND]);
    });
    assert!(!opens(&mut harness, HERE, &FIRST));
    assert!(opens(&mut harness, HERE, &THIRD));
    assert!(!opens(&mut harness, HERE, &FIRST));
    assert!(
        opens(&mut harness, HERE, &SECOND),
        "the used one was passed over"
    );
}

#[test]
fn where_nobody_knows_what_is_used_nothing_opens() {
    let mut harness = EngineHarness::with(door);
    let mut config = Config::clone(harness.engine.clients().config());
    config.knock.truncate(1);
    let horizon = Horizon::at_start(spa_proto::Timestamp::default());
    harness.engine = Engine::new(clients(config), ReplayCache::default(), horizon);
    harness.packets = 0;
    harness.verdicts.clear();
    assert!(!opens(&mut harness, HERE, &FIRST));
    harness.reload(|_| {});
    assert!(!opens(&mut harness, HERE, &FIRST), "nor after a reload");
    assert!(harness.engine.used_sequences().is_none() && harness.used.is_empty());
}

#[test]
fn what_was_knocked_is_used_also_where_it_opened_nothing() {
    let mut harness = EngineHarness::with(door);
    harness.knock("127.0.0.1", &FIRST);
    assert_eq!(harness.count(Reason::KnockRefused), 1);
    harness.kernel.refuse = Some(FirewallError::SetFull);
    harness.knock(HERE, &SECOND);
    harness.kernel.refuse = None;
    for knocks in [&FIRST[..], &SECOND] {
        assert!(!opens(&mut harness, HERE, knocks), "it was seen");
    }
    assert_eq!(harness.used.len(), 2);
    assert!(opens(&mut harness, HERE, &THIRD));
}

#[test]
fn wrong_knocks_and_scans_use_nothing_up() {
    let mut harness = EngineHarness::with(door);
    let scan: Vec<String> = (6990..9010).map(|port| port.to_string()).collect();
    let mut knocks: Vec<&str> = scan.iter().map(String::as_str).collect();
    harness.knock(HERE, &knocks);
    knocks.reverse();
    harness.knock(HERE, &knocks);
    assert!(harness.used.is_empty());
    assert!(opens(&mut harness, HERE, &FIRST));
}

#[test]
fn used_lines_are_told_behind_unused_ones_alone_and_an_empty_door_is() {
    let mut harness = EngineHarness::with(door);
    let reported = |harness: &EngineHarness| {
        let used = harness.engine.used_sequences().unwrap();
        check_used_sequences(harness.engine.clients().config(), used).to_string()
    };
    assert_eq!(reported(&harness), "");
    opens(&mut harness, HERE, &FIRST);
    assert_eq!(reported(&harness), "", "used ones stand at the beginning");
    harness.reload(|config| {
        config.knock.clear();
        list(config, "side", &[&SECOND, &FIRST, &THIRD]);
    });
    let output = reported(&harness);
    assert!(output.contains("/etc/spad/side:2:1"), "{output}");
    assert!(output.contains("is used already"), "{output}");
    opens(&mut harness, HERE, &SECOND);
    opens(&mut harness, HERE, &THIRD);
    let output = reported(&harness);
    assert!(output.contains("the door `side` opens nothing"), "{output}");
}
