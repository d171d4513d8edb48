//! Doors that open once by each of their sequences.

use std::collections::HashSet;

use spad::config::{Config, KnockDoor, used_up};
use spad::engine::{Effect, Engine};
use spad::firewall::FirewallRefusal;
use spad::knocking::{Demands, Door, Hit, Listed, OneTime, Sequence, Sequences};
use spad::replay::{Horizon, ReplayCache};
use spad::verdict::Reason;

use crate::engine::world::*;

const SSH: &str = "tcp/22";
const FIRST: [&str; 3] = ["7000", "8000:udp", "9000"];
const SECOND: [&str; 2] = ["7100", "8100"];
const THIRD: [&str; 2] = ["7200", "8200"];

/// A door with a file of these.
fn list(config: &mut Config, name: &str, lists: &[&[&str]]) {
    let listed = lists.iter().enumerate().map(|(line, knocks)| Listed {
        sequence: knocks.join(",").parse().unwrap(),
        place: spa_findings::Source::new("side".as_ref(), "\n".repeat(line)).place(line..line),
    });
    let list = OneTime {
        file: format!("/etc/spad/{name}").into(),
        listed: listed.collect(),
    };
    config.knock.push(KnockDoor {
        name: name.parse().unwrap(),
        door: Door {
            sequences: Sequences::OneTime(list),
            ..Door::new("1,20".parse().unwrap())
        },
        open: vec!["ssh".parse().unwrap()],
        ttl: None,
        run: None,
    });
    let doors: Vec<_> = config.knock.iter().map(|door| &door.door).collect();
    config.listen.carriers.knocks = Demands::of(&doors);
}

fn door(config: &mut Config) {
    list(config, "side", &[&FIRST, &SECOND, &THIRD]);
}

/// Knocks, and closes again what was opened.
fn opens(world: &mut World, from: &str, knocks: &[&str]) -> bool {
    world.knock(from, knocks);
    let opened = world.is_open(from, SSH);
    world.pass(seconds(31));
    opened
}

fn left(world: &World) -> usize {
    world.engine.sequences_left().map(|(_, left)| left).sum()
}

/// What the next life finds in the state directory.
fn recorded(world: &World) -> HashSet<Sequence> {
    let used = world.used.iter();
    used.map(|used| used.sequence.clone()).collect()
}

#[test]
fn each_sequence_opens_once_and_in_its_turn() {
    for from in [HERE, "2001:db8::7"] {
        let mut world = World::with(door);
        assert!(!opens(&mut world, from, &SECOND), "not its turn");
        assert!(opens(&mut world, from, &FIRST));
        assert!(!opens(&mut world, from, &FIRST), "a second time");
        assert!(!opens(&mut world, THERE, &FIRST), "somebody who saw it");
        assert!(!opens(&mut world, from, &THIRD), "not its turn");
        assert_eq!(left(&world), 2);
        assert!(opens(&mut world, from, &SECOND));
        assert!(opens(&mut world, from, &THIRD));
        for knocks in [&FIRST[..], &SECOND, &THIRD] {
            assert!(!opens(&mut world, from, knocks), "none is left");
        }
        assert_eq!(world.count(Reason::KnockOpened), 3);
        let used = world
            .used
            .iter()
            .map(|used| (used.left, used.sequence.to_string()));
        let right = [(2, &FIRST[..]), (1, &SECOND), (0, &THIRD)];
        let right = right.map(|(left, knocks)| (left, knocks.join(",")));
        assert_eq!(used.collect::<Vec<_>>(), right);
    }
}

#[test]
fn that_a_sequence_is_used_is_written_before_anything_opens() {
    let mut world = World::with(door);
    world.knock(HERE, &FIRST[..2]);
    let hit = Hit {
        source: ip(HERE),
        source_port: 40_000,
        destination: ip("203.0.113.1"),
        knock: FIRST[2].parse().unwrap(),
        flags: 0x02,
        interface: 2,
    };
    let mut effects = Vec::new();
    world.engine.knock(&hit, world.now, &mut effects);
    assert!(
        matches!(&effects[..], [Effect::UseUp(_), Effect::Firewall(_)]),
        "{effects:?}"
    );
}

#[test]
fn of_two_who_knock_the_same_at_the_same_time_one_is_let_in() {
    let mut world = World::with(door);
    for knock in FIRST {
        world.knock(HERE, &[knock]);
        world.knock(THERE, &[knock]);
    }
    assert_eq!(world.kernel.open(), [element(HERE, SSH)]);
    assert_eq!(world.used.len(), 1);
}

#[test]
fn an_attempt_that_was_under_way_does_not_go_on_with_the_next_sequence() {
    let mut world = World::with(|config| {
        list(
            config,
            "side",
            &[&["7000", "9000"], &["7000", "9500", "9600"]],
        );
    });
    world.knock(THERE, &["7000"]);
    world.knock(HERE, &["7000", "9000"]);
    world.knock(THERE, &["9500", "9600"]);
    assert_eq!(world.kernel.open(), [element(HERE, SSH)]);
    world.knock(THERE, &["7000", "9500", "9600"]);
    assert_eq!(
        world.kernel.open().len(),
        2,
        "from its beginning on it opens"
    );
}

#[test]
fn what_is_used_is_used_in_the_next_life_and_after_each_reload() {
    let mut world = World::with(door);
    assert!(opens(&mut world, HERE, &FIRST));
    world.reload(|_| {});
    assert!(!opens(&mut world, HERE, &FIRST), "after a reload");
    let mut after = World::with(door);
    after.engine.recall_used(recorded(&world));
    assert_eq!(left(&after), 2);
    assert!(!opens(&mut after, HERE, &FIRST), "in the next life");
    assert!(opens(&mut after, HERE, &SECOND));
}

#[test]
fn a_used_sequence_opens_at_no_other_door_and_at_no_other_place_of_a_list() {
    let mut world = World::with(door);
    assert!(opens(&mut world, HERE, &FIRST));
    world.reload(|config| {
        config.knock.clear();
        list(config, "another", &[&THIRD, &FIRST, &SECOND]);
    });
    assert!(!opens(&mut world, HERE, &FIRST));
    assert!(opens(&mut world, HERE, &THIRD));
    assert!(!opens(&mut world, HERE, &FIRST));
    assert!(
        opens(&mut world, HERE, &SECOND),
        "the used one was passed over"
    );
}

#[test]
fn where_nobody_knows_what_is_used_nothing_opens() {
    let mut world = World::with(door);
    let mut config = Config::clone(world.engine.clients().config());
    config.knock.truncate(1);
    let horizon = Horizon::at_start(spa_proto::Timestamp::default());
    world.engine = Engine::new(clients(config), ReplayCache::default(), horizon);
    world.packets = 0;
    world.verdicts.clear();
    assert!(!opens(&mut world, HERE, &FIRST));
    world.reload(|_| {});
    assert!(!opens(&mut world, HERE, &FIRST), "nor after a reload");
    assert!(world.engine.used_sequences().is_none() && world.used.is_empty());
}

#[test]
fn what_was_knocked_is_used_also_where_it_opened_nothing() {
    let mut world = World::with(door);
    world.knock("127.0.0.1", &FIRST);
    assert_eq!(world.count(Reason::KnockRefused), 1);
    world.kernel.refuse = Some(FirewallRefusal::SetFull);
    world.knock(HERE, &SECOND);
    world.kernel.refuse = None;
    for knocks in [&FIRST[..], &SECOND] {
        assert!(!opens(&mut world, HERE, knocks), "it was seen");
    }
    assert_eq!(world.used.len(), 2);
    assert!(opens(&mut world, HERE, &THIRD));
}

#[test]
fn wrong_knocks_and_scans_use_nothing_up() {
    let mut world = World::with(door);
    let scan: Vec<String> = (6990..9010).map(|port| port.to_string()).collect();
    let mut knocks: Vec<&str> = scan.iter().map(String::as_str).collect();
    world.knock(HERE, &knocks);
    knocks.reverse();
    world.knock(HERE, &knocks);
    assert!(world.used.is_empty());
    assert!(opens(&mut world, HERE, &FIRST));
}

#[test]
fn used_lines_are_told_behind_unused_ones_alone_and_an_empty_door_is() {
    let mut world = World::with(door);
    let told = |world: &World| {
        let used = world.engine.used_sequences().unwrap();
        used_up(world.engine.clients().config(), used).to_string()
    };
    assert_eq!(told(&world), "");
    opens(&mut world, HERE, &FIRST);
    assert_eq!(told(&world), "", "used ones stand at the beginning");
    world.reload(|config| {
        config.knock.clear();
        list(config, "side", &[&SECOND, &FIRST, &THIRD]);
    });
    let said = told(&world);
    assert!(said.contains("/etc/spad/side:2:1"), "{said}");
    assert!(said.contains("is used already"), "{said}");
    opens(&mut world, HERE, &SECOND);
    opens(&mut world, HERE, &THIRD);
    let said = told(&world);
    assert!(said.contains("the door `side` opens nothing"), "{said}");
}
