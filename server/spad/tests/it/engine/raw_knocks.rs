//! Doors that sequences of knocks open.

use spad_config::{Config, Door};
use spad_engine::audit::event::Event;
use spad_model::knock::{KnockFilter, KnockPattern, ObservedKnock, Sequences};
use spad_model::{
    ExitKind, FirewallError, HookEvent, Reason, Requester, RunCommand, RunExit, RunRefusal,
    RunRequest, Verdict,
};
use spad_replay::JournalRecord;

use crate::engine::commands::with_backup;
use crate::engine::world::*;

const SSH: &str = "tcp/22";
const WEB: &str = "tcp/8080";
const SEQUENCE: [&str; 3] = ["7000", "8000:udp", "9000"];

fn door(config: &mut Config) {
    config.knock = vec![Door {
        name: "side".parse().unwrap(),
        pattern: KnockPattern::new(SEQUENCE.join(",").parse().unwrap()),
        open: vec!["ssh".parse().unwrap()],
        ttl: None,
        run: None,
    }];
    config.listen.carriers.knocks = KnockFilter::new(&[&config.knock[0].pattern]);
}

fn hit(from: &str, knock: &str) -> ObservedKnock {
    ObservedKnock {
        source: ip(from),
        source_port: 40_000,
        destination: ip("203.0.113.1"),
        knock: knock.parse().unwrap(),
        flags: 0x02,
        interface: 2,
    }
}

impl EngineHarness {
    pub(crate) fn knock(&mut self, from: &str, knocks: &[&str]) {
        for knock in knocks {
            let hit = hit(from, knock);
            let mut effects = Vec::new();
            self.engine.on_knock(&hit, self.now, &mut effects);
            self.execute(effects);
            // Its one reason is in the counters, which `check` holds against these.
            self.packets += 1;
            self.verdicts.push(Verdict {
                reason: Reason::Knock,
                client: None,
                elements: Vec::new(),
            });
            self.check_counts();
        }
    }

    pub(crate) fn count(&self, reason: Reason) -> u64 {
        self.engine.counters().get(reason)
    }

    fn revoke_named(&mut self, name: &str) -> Option<usize> {
        let mut effects = Vec::new();
        let name = name.parse().unwrap();
        let revoked = self.engine.revoke_client(&name, 0, self.now, &mut effects);
        self.execute(effects);
        revoked.map(|revoked| revoked.grants)
    }
}

#[test]
fn the_sequence_opens_the_doors_services_for_its_sender_and_its_time() {
    for from in [HERE, "2001:db8::7"] {
        let mut harness = EngineHarness::with(door);
        harness.knock(from, &SEQUENCE[..2]);
        assert!(harness.kernel.open().is_empty() && harness.audit.is_empty());
        harness.knock(from, &SEQUENCE[2..]);
        assert_eq!(harness.kernel.open(), [element(from, SSH)]);
        assert_eq!(harness.count(Reason::Knock), 2);
        assert_eq!(harness.count(Reason::KnockOpened), 1);
        let row = &harness.engine.grants(harness.now)[0];
        let name = row.door.as_ref().map(|name| name.as_str());
        assert!(name == Some("side") && row.client.is_none() && !row.admin);
        let line = harness.audited(Event::Grant)[0];
        let name = line.door.as_ref().map(|name| name.as_str());
        assert_eq!((name, line.source), (Some("side"), Some(ip(from))));
        assert_eq!((line.ttl, line.interface), (Some(seconds(30)), Some(2)));
        assert_eq!(line.reason, Some(Reason::KnockOpened));
        assert_eq!(line.latency, Some(seconds(0)));
        harness.advance(seconds(29));
        assert!(harness.is_open(from, SSH));
        harness.advance(seconds(2));
        assert!(harness.kernel.open().is_empty());
        let line = harness.audited(Event::Expire)[0];
        assert!(line.door.is_some(), "and the end says whose it was");
    }
}

#[test]
fn without_doors_no_knock_does_anything() {
    let mut harness = EngineHarness::new();
    harness.knock(HERE, &SEQUENCE);
    assert_eq!(harness.kernel.transactions, 0);
}

#[test]
fn wrong_knocks_are_counted_and_leave_nothing_in_journal_or_audit() {
    let mut harness = EngineHarness::with(door);
    for _ in 0..1000 {
        harness.knock(HERE, &["7000", "9000", "8000:udp", "1"]);
    }
    assert_eq!(harness.count(Reason::Knock), 4000);
    assert!(harness.audit.is_empty() && harness.journal.is_empty());
    assert_eq!(harness.kernel.transactions, 0);
}

#[test]
fn an_address_that_no_host_connects_from_opens_nothing() {
    let mut harness = EngineHarness::with(door);
    for from in ["127.0.0.1", "169.254.1.1", "fe80::1", "::1", "64:ff9b::1"] {
        harness.knock(from, &SEQUENCE);
    }
    assert_eq!(harness.count(Reason::KnockRefused), 5);
    assert_eq!(harness.kernel.transactions, 0);
}

#[test]
fn who_knows_a_sequence_cannot_fill_the_sets_in_others_names() {
    let mut harness = EngineHarness::with(|config| {
        door(config);
        config.grants.rate.count = 1000;
        config.knock[0].ttl = Some(seconds(300));
    });
    for number in 0..1100 {
        if number % 100 == 0 {
            harness.advance(seconds(1));
        }
        harness.knock(
            &format!("10.0.{}.{}", number / 250, number % 250 + 1),
            &SEQUENCE,
        );
    }
    assert_eq!(harness.kernel.open().len(), 1024);
    assert_eq!(harness.count(Reason::KnockRefused), 76);
    assert_eq!(harness.send(laptop, &open_for(&[SSH], 30)), Reason::Opened);
}

#[test]
fn a_door_opens_no_more_often_than_a_client_may_send() {
    let mut harness = EngineHarness::with(door);
    for _ in 0..50 {
        harness.knock(HERE, &SEQUENCE);
    }
    assert_eq!(harness.count(Reason::KnockOpened), 10);
    assert_eq!(harness.audited(Event::Grant).len(), 10);
}

#[test]
fn one_doors_knocks_use_up_no_others_rate() {
    let mut harness = EngineHarness::with(|config| {
        door(config);
        let mut other = config.knock[0].clone();
        other.name = "other".parse().unwrap();
        other.pattern.sequences = Sequences::Always("100,200".parse().unwrap());
        config.knock.push(other);
    });
    for _ in 0..50 {
        harness.knock(HERE, &SEQUENCE);
    }
    harness.knock("192.0.2.8", &["100", "200"]);
    assert_eq!(harness.count(Reason::KnockOpened), 11);
    assert!(harness.is_open("192.0.2.8", SSH));
}

#[test]
fn how_long_a_door_opens_is_said_by_it_then_the_service_then_the_grants() {
    let opened_for = |change: fn(&mut Config)| {
        let mut harness = EngineHarness::with(|config| {
            door(config);
            config.knock[0].open = vec!["admin".parse().unwrap()];
            change(config);
        });
        harness.knock(HERE, &SEQUENCE);
        harness.audited(Event::Grant)[0].ttl.unwrap()
    };
    fn admin(config: &mut Config) -> &mut spad_config::ServiceDefinition {
        config.services.get_mut("admin").unwrap()
    }
    let door_says = |config: &mut Config| config.knock[0].ttl = Some(seconds(900));
    assert_eq!(opened_for(door_says), seconds(900));
    assert_eq!(opened_for(|_| {}), seconds(600));
    assert_eq!(opened_for(|config| admin(config).ttl = None), seconds(30));
    let longest = |config: &mut Config| {
        admin(config).max_ttl = Some(seconds(50));
        config.knock[0].ttl = Some(seconds(900));
    };
    assert_eq!(opened_for(longest), seconds(50));
    assert_eq!(
        opened_for(|config| admin(config).max_ttl = None),
        seconds(300)
    );
}

#[test]
fn a_door_to_an_inner_host_opens_nothing_for_a_family_that_is_not_led() {
    let mut harness = EngineHarness::with(|config| {
        door(config);
        let ssh = config.services.get_mut("ssh").unwrap();
        ssh.to = Some(spad_config::InnerHost {
            hosts: vec![([10, 0, 0, 5].into(), None)],
            masquerade: false,
        });
    });
    harness.knock("2001:db8::7", &SEQUENCE);
    assert_eq!(harness.count(Reason::KnockRefused), 1);
    assert_eq!(harness.kernel.transactions, 0);
    harness.knock(HERE, &SEQUENCE);
    assert!(harness.is_open(HERE, SSH));
}

#[test]
fn an_answer_that_a_reload_overtakes_is_told_still() {
    let mut harness = EngineHarness::with(door);
    harness.hold_answers = true;
    for knock in SEQUENCE {
        let mut effects = Vec::new();
        let now = harness.now;
        harness
            .engine
            .on_knock(&hit(HERE, knock), now, &mut effects);
        harness.execute(effects);
    }
    assert_eq!(harness.engine.pending(), 1);
    let mut effects = Vec::new();
    let config = Config::clone(harness.engine.clients().config());
    let now = harness.now;
    let _ = harness.engine.reload(clients(config), now, &mut effects);
    harness.execute(effects);
    assert_eq!(harness.engine.pending(), 1);
    harness.answer_all();
    assert_eq!(harness.count(Reason::KnockOpened), 1);
    assert_eq!(harness.engine.pending(), 0);
    assert_eq!(harness.audited(Event::Grant).len(), 1);
}

#[test]
fn what_the_kernel_refuses_is_no_success() {
    let mut harness = EngineHarness::with(door);
    harness.kernel.refuse = Some(FirewallError::SetFull);
    harness.knock(HERE, &SEQUENCE);
    assert_eq!(harness.count(Reason::FirewallSetFull), 1);
    assert!(harness.engine.grants(harness.now).is_empty());
    let line = harness.audited(Event::Refuse)[0];
    assert!(line.door.is_some() && line.client.is_none());
}

#[test]
fn a_client_and_a_door_hold_the_same_element_each_for_itself() {
    let mut harness = EngineHarness::with(door);
    harness.send(laptop, &open_for(&[SSH], 100));
    harness.knock(HERE, &SEQUENCE);
    assert_eq!(harness.revoke_named("side"), Some(1));
    assert!(harness.is_open(HERE, SSH), "the laptop's");
    harness.knock(HERE, &SEQUENCE);
    assert_eq!(harness.revoke_named("laptop"), Some(1));
    assert!(harness.is_open(HERE, SSH), "the door's");
    assert_eq!(harness.revoke_named("side"), Some(1));
    assert!(harness.kernel.open().is_empty());
    assert!(
        harness
            .audited(Event::Revoke)
            .iter()
            .all(|line| line.uid == Some(0))
    );
    assert_eq!(harness.revoke_named("nobody"), None);
}

/// The engine of another life, with what journal and kernel have of this one.
fn restarted(harness: &EngineHarness, change: impl FnOnce(&mut Config)) -> EngineHarness {
    let holders = harness.journal.iter().filter_map(|record| match record {
        JournalRecord::Holder(holder) => Some(*holder),
        _ => None,
    });
    let holders = holders.collect();
    let mut after = EngineHarness::with(change);
    after.kernel.elements = harness.kernel.elements.clone();
    let (listed, now) = (after.kernel.list(), after.now);
    let mut effects = Vec::new();
    after.engine.adopt(&listed, holders, now, &mut effects);
    after.execute(effects);
    after
}

#[test]
fn a_restart_cuts_what_lasts_longer_than_the_configuration_allows_now() {
    let mut harness = EngineHarness::with(door);
    harness.knock(HERE, &SEQUENCE);
    let mut after = restarted(&harness, |config| {
        door(config);
        config.knock[0].ttl = Some(seconds(10));
    });
    after.advance(seconds(9));
    assert!(after.is_open(HERE, SSH));
    after.advance(seconds(2));
    assert!(!after.is_open(HERE, SSH));
}

#[test]
fn a_grant_survives_a_restart_with_its_door_and_goes_where_the_door_is_gone() {
    let mut harness = EngineHarness::with(door);
    harness.knock(HERE, &SEQUENCE);
    let after = restarted(&harness, door);
    assert!(after.is_open(HERE, SSH));
    let rows = after.engine.grants(after.now);
    assert!(rows.len() == 1 && rows[0].door.is_some(), "{rows:?}");
    let gone = restarted(&harness, |_| {});
    assert!(gone.kernel.open().is_empty());
}

#[test]
fn a_door_that_a_reload_made_strict_opens_nothing_until_it_hears_every_port() {
    let lax = |config: &mut Config| {
        door(config);
        config.knock[0].pattern.strict = false;
        config.listen.carriers.knocks = KnockFilter::new(&[&config.knock[0].pattern]);
    };
    let mut harness = EngineHarness::with(lax);
    harness.reload(door);
    harness.knock(HERE, &SEQUENCE);
    assert_eq!(harness.count(Reason::KnockRefused), 1);
    harness.reload(lax);
    harness.knock(HERE, &SEQUENCE);
    assert_eq!(harness.count(Reason::KnockOpened), 1);
}

fn reloaded(change: impl FnOnce(&mut Config)) -> EngineHarness {
    let mut harness = EngineHarness::with(door);
    harness.knock(HERE, &SEQUENCE);
    harness.reload(change);
    harness
}

#[test]
fn a_reload_that_takes_the_door_or_its_service_away_closes_and_another_leaves_it_open() {
    let gone = reloaded(|config| config.knock.clear());
    assert!(gone.kernel.open().is_empty());
    assert!(gone.audited(Event::Revoke)[0].door.is_some());
    let other = reloaded(|config| config.knock[0].open = vec!["web".parse().unwrap()]);
    assert!(other.kernel.open().is_empty());
    let mut same = reloaded(|config| config.knock[0].open.push("web".parse().unwrap()));
    assert_eq!(same.kernel.open(), [element(HERE, SSH)]);
    same.knock(HERE, &SEQUENCE);
    assert_eq!(same.kernel.open(), [element(HERE, SSH), element(HERE, WEB)]);
}

fn with_command(config: &mut Config) {
    door(config);
    with_backup(config);
    config.knock[0].run = Some("backup".parse().unwrap());
}

fn with_command_only(config: &mut Config) {
    with_command(config);
    config.knock[0].open.clear();
}

impl EngineHarness {
    fn take_run_command(&mut self) -> Option<RunCommand> {
        match self.run_requests.pop()? {
            RunRequest::Command(run) => Some(run),
            _ => None,
        }
    }
}

#[test]
fn a_doors_command_is_asked_for_by_its_last_knock_and_told_to_its_end() {
    for from in [HERE, "2001:db8::7"] {
        let mut harness = EngineHarness::with(with_command_only);
        harness.knock(from, &SEQUENCE[..2]);
        assert!(harness.run_requests.is_empty());
        harness.knock(from, &SEQUENCE[2..]);
        assert_eq!(harness.count(Reason::KnockRan), 1);
        assert_eq!(harness.kernel.transactions, 0);
        let run = harness.take_run_command().unwrap();
        let by = Requester::Door("side".parse().unwrap());
        assert_eq!((run.command.as_str(), &run.requester), ("backup", &by));
        assert_eq!(run.source, ip(from));
        let (mut effects, now) = (Vec::new(), harness.now);
        assert_eq!(harness.engine.run_started(run.id, now, &mut effects), None);
        let ended = RunExit {
            id: run.id,
            kind: ExitKind::Exited(0),
            duration: seconds(1),
            output: b"done".to_vec(),
            truncated: 0,
        };
        harness.engine.run_ended(ended, now, &mut effects);
        harness.execute(effects);
        harness.check_counts();
        for event in [Event::RunStart, Event::Run] {
            let [line] = harness.audited(event)[..] else {
                panic!("one line {event:?}");
            };
            let name = line.door.as_ref().map(|name| name.as_str());
            assert_eq!((name, line.source), (Some("side"), Some(ip(from))));
            assert!(line.client.is_none() && line.key.is_none());
        }
    }
}

#[test]
fn a_command_beside_a_grant_runs_once_the_kernel_has_opened_and_not_where_it_refused() {
    let mut harness = EngineHarness::with(with_command);
    harness.hold_answers = true;
    harness.knock(HERE, &SEQUENCE[..2]);
    let hit = ObservedKnock {
        source: ip(HERE),
        source_port: 40_000,
        destination: ip("203.0.113.1"),
        knock: "9000".parse().unwrap(),
        flags: 0x02,
        interface: 2,
    };
    let mut effects = Vec::new();
    harness.engine.on_knock(&hit, harness.now, &mut effects);
    harness.execute(effects);
    assert!(
        harness.run_requests.is_empty(),
        "not before the kernel's answer"
    );
    harness.answer_all();
    assert!(harness.take_run_command().is_some());
    let mut refused = EngineHarness::with(with_command);
    refused.kernel.refuse = Some(FirewallError::SetFull);
    refused.knock(HERE, &SEQUENCE);
    assert!(refused.take_run_command().is_none());
}

#[test]
fn a_doors_commands_are_as_rare_as_its_grants_and_leave_room_for_clients() {
    let mut harness = EngineHarness::with(with_command_only);
    for _ in 0..50 {
        harness.knock(HERE, &SEQUENCE);
    }
    assert_eq!(harness.count(Reason::KnockRan), 10);
    assert_eq!(harness.run_requests.len(), 10);
    harness.advance(seconds(2));
    for _ in 0..50 {
        harness.knock(HERE, &SEQUENCE);
    }
    assert_eq!(harness.run_requests.len(), 16, "nobody has answered");
    let busy = harness.audited(Event::Refuse);
    assert!(
        busy.iter()
            .all(|line| line.reason == Some(Reason::RunnerBusy))
    );
    assert_eq!(busy.len(), 4);
    harness.knock("127.0.0.1", &SEQUENCE);
    assert_eq!(
        harness.run_requests.len(),
        16,
        "no host connects from there"
    );
}

#[test]
fn what_the_runner_does_not_run_for_a_door_is_told_with_its_door() {
    let mut harness = EngineHarness::with(with_command_only);
    harness.knock(HERE, &SEQUENCE);
    let run = harness.take_run_command().unwrap();
    let (mut effects, now) = (Vec::new(), harness.now);
    let why = RunRefusal::NotAllowed;
    assert_eq!(
        harness.engine.run_refused(run.id, why, now, &mut effects),
        None
    );
    harness.execute(effects);
    harness.check_counts();
    let line = harness.audited(Event::Refuse)[0];
    assert!(line.door.is_some() && line.reason == Some(Reason::CommandNotAllowed));
}

#[test]
fn hooks_are_told_of_a_doors_grant_and_its_end_and_by_which_door_it_came() {
    let mut harness = EngineHarness::with(|config| {
        door(config);
        with_backup(config);
        let program = config.commands.values().next().unwrap().program.clone();
        config.hooks.open = Some(program.clone());
        config.hooks.close = Some(program);
    });
    harness.knock(HERE, &SEQUENCE);
    let mut reported = Vec::new();
    for event in [HookEvent::Open, HookEvent::Close] {
        let Some(RunRequest::Hook(hook)) = harness.run_requests.pop() else {
            panic!("no hook {event:?}");
        };
        assert_eq!(hook.event, event);
        assert!(hook.client.is_none() && hook.key.is_none());
        reported.push(hook.door.map(|name| name.to_string()));
        let ended = RunExit {
            id: hook.id,
            kind: ExitKind::Exited(0),
            duration: seconds(1),
            output: Vec::new(),
            truncated: 0,
        };
        let (mut effects, now) = (Vec::new(), harness.now);
        harness.engine.run_ended(ended, now, &mut effects);
        harness.execute(effects);
        if event == HookEvent::Open {
            // The close hook tells the door's name also where that is gone.
            harness.reload(|config| config.knock.clear());
            harness.advance(seconds(2));
        }
    }
    assert_eq!(reported, [Some("side".to_owned()), Some("side".to_owned())]);
    let lines = harness.audited(Event::Hook);
    assert!(lines.len() == 2 && lines.iter().all(|line| line.door.is_some()));
}

#[test]
fn a_reload_that_lowers_a_doors_time_or_its_services_longest_cuts_what_it_opened() {
    for own in [true, false] {
        let mut harness = EngineHarness::with(door);
        harness.knock(HERE, &SEQUENCE);
        harness.reload(|config| {
            if own {
                config.knock[0].ttl = Some(seconds(10));
            } else {
                let ssh = config.services.get_mut("ssh").unwrap();
                ssh.max_ttl = Some(seconds(10));
            }
        });
        harness.advance(seconds(9));
        assert!(harness.is_open(HERE, SSH));
        harness.advance(seconds(2));
        assert!(!harness.is_open(HERE, SSH), "{own}");
    }
}
