//! Hooks: told of every grant once it is true, and of its end whatever ended it.

use spad::audit::Event;
use spad::config::{Config, Hooks, Program};
use spad::replay::{HolderKey, JournalRecord};
use spad::runner::message::{Ended, HookEvent, How, RunHook, RunId, ToRunner};
use spad::verdict::Reason;

use crate::engine::world::*;

fn with_hooks(config: &mut Config) {
    let program = Program {
        argv: vec!["/usr/local/bin/hook".to_owned()],
        user: "daemon".to_owned(),
        as_root: false,
        timeout: seconds(60),
    };
    config.hooks = Hooks {
        open: Some(program.clone()),
        close: Some(program),
    };
}

impl World {
    /// What a hook was asked last; nothing else was.
    #[track_caller]
    fn hook(&mut self) -> RunHook {
        let mut asked = std::mem::take(&mut self.asked);
        assert_eq!(asked.len(), 1, "{asked:?}");
        let asked = asked.pop().and_then(|asked| match asked {
            ToRunner::Hook(hook) => Some(hook),
            _ => None,
        });
        asked.unwrap()
    }

    fn hook_ends(&mut self, id: RunId, code: u8) {
        let ended = Ended {
            id,
            how: How::Exited(code),
            took: seconds(1),
            output: Vec::new(),
            unheard: 0,
        };
        assert!(self.engine.is_hook(id));
        let mut effects = Vec::new();
        self.engine.hook_ended(ended, self.now, &mut effects);
        self.obey(effects);
    }

    /// The hook of this event is asked, and runs.
    #[track_caller]
    fn hook_runs(&mut self, event: HookEvent) -> RunHook {
        let hook = self.hook();
        assert_eq!(hook.event, event);
        self.hook_ends(hook.id, 0);
        hook
    }

    /// By the journal.
    fn owed(&self) -> Vec<HolderKey> {
        let mut owed = Vec::new();
        for record in &self.journal {
            match record {
                JournalRecord::HookOwed(key) => owed.push(*key),
                JournalRecord::HookDone(key) => owed.retain(|one| one != key),
                _ => {}
            }
        }
        owed
    }
}

fn ssh() -> spa_proto::Request {
    open_for(&["tcp/22"], 0)
}

#[test]
fn the_open_hook_is_told_what_the_kernel_took_and_the_close_hook_when_its_time_is_over() {
    let mut world = World::with(with_hooks);
    world.hold = true;
    let packet = world.seal(laptop, &ssh());
    assert_eq!(world.receive(HERE, &packet), None);
    assert_eq!(world.asked, [], "before the kernel took it");
    world.answer_all();
    let hook = world.hook_runs(HookEvent::Open);
    assert_eq!(hook.client.unwrap().as_str(), "laptop");
    assert_eq!(hook.whom, ip(HERE).into());
    assert_eq!(hook.service.unwrap().as_str(), "ssh");
    assert_eq!(hook.ttl, seconds(30));
    assert_eq!(world.owed().len(), 1);
    world.pass(seconds(29));
    assert_eq!(world.asked, []);
    world.pass(seconds(3));
    let hook = world.hook();
    assert_eq!((hook.event, hook.ttl), (HookEvent::Close, seconds(0)));
    assert_eq!(world.owed().len(), 1, "owed until it has run");
    world.hook_ends(hook.id, 0);
    assert_eq!(world.owed(), []);
    assert_eq!(world.audited(Event::Hook).len(), 2);
}

#[test]
fn the_close_hook_waits_until_the_kernel_holds_the_grant_no_longer() {
    let mut world = World::with(with_hooks);
    assert_eq!(world.send(laptop, &ssh()), Reason::Opened);
    world.hook_runs(HookEvent::Open);
    world.hold = true;
    let packet = world.seal(laptop, &close(&[]));
    assert_eq!(world.receive(HERE, &packet), None);
    assert_eq!(world.asked, [], "the kernel still holds it");
    world.answer_all();
    world.hook_runs(HookEvent::Close);
    assert_eq!(world.owed(), []);
}

#[test]
fn the_close_hook_runs_when_the_client_is_disabled_or_its_right_is_gone() {
    let mut world = World::with(with_hooks);
    assert_eq!(world.send(laptop, &ssh()), Reason::Opened);
    world.hook_runs(HookEvent::Open);
    let mut effects = Vec::new();
    let name = "laptop".parse().unwrap();
    assert!(world.engine.disable(&name, world.now, &mut effects));
    world.obey(effects);
    world.hook_runs(HookEvent::Close);

    assert_eq!(world.send(phone, &ssh()), Reason::Opened);
    world.hook_runs(HookEvent::Open);
    world.reload(|config| {
        let gone = |client: &spad::config::ClientConfig| client.name.as_str() != "phone";
        config.clients.retain(gone);
    });
    let hook = world.hook_runs(HookEvent::Close);
    let name = hook.client.expect("the name of who is gone");
    assert_eq!(name.as_str(), "phone");
    assert_eq!(world.owed(), []);
}

#[test]
fn a_renewal_is_told_as_such_and_closes_nothing() {
    let mut world = World::with(with_hooks);
    assert_eq!(world.send(laptop, &ssh()), Reason::Opened);
    world.hook_runs(HookEvent::Open);
    world.pass(seconds(20));
    assert_eq!(world.send(laptop, &ssh()), Reason::Opened);
    let hook = world.hook_runs(HookEvent::Renew);
    assert_eq!(hook.ttl, seconds(30));
    world.pass(seconds(20));
    assert_eq!(world.asked, []);
    world.pass(seconds(12));
    world.hook_runs(HookEvent::Close);
}

#[test]
fn the_hooks_of_one_grant_run_one_after_the_other() {
    let mut world = World::with(with_hooks);
    assert_eq!(world.send(laptop, &ssh()), Reason::Opened);
    let open = world.hook();
    assert_eq!(world.send(laptop, &close(&[])), Reason::Closed);
    assert_eq!(world.asked, [], "the open hook runs still");
    world.hook_ends(open.id, 0);
    let close = world.hook();
    assert_eq!(close.event, HookEvent::Close);
    world.pass(seconds(1));
    assert_eq!(world.send(laptop, &ssh()), Reason::Opened);
    assert_eq!(world.asked, [], "the close hook runs still");
    world.hook_ends(close.id, 0);
    world.hook_runs(HookEvent::Open);
    assert_eq!(world.owed().len(), 1, "the later grant's");
}

#[test]
fn a_close_hook_that_is_owed_from_an_earlier_life_runs_once_the_grant_is_over() {
    let mut before = World::with(with_hooks);
    assert_eq!(before.send(laptop, &ssh()), Reason::Opened);
    before.hook_runs(HookEvent::Open);
    let owed = before.owed();
    assert_eq!(owed.len(), 1);
    let kept: Vec<_> = before.engine.kept().collect();
    assert!(
        kept.contains(&JournalRecord::HookOwed(owed[0])),
        "compacted away"
    );

    // Ended meanwhile, or in a boot that knows nothing of it.
    let mut after = World::with(with_hooks);
    let mut effects = Vec::new();
    after.engine.adopt(&[], Vec::new(), after.now, &mut effects);
    after
        .engine
        .owe_hooks(owed.clone(), after.now, &mut effects);
    after.obey(effects);
    let hook = after.hook_runs(HookEvent::Close);
    assert_eq!(hook.client.unwrap().as_str(), "laptop");
    assert_eq!(
        after.journal.last(),
        Some(&JournalRecord::HookDone(owed[0]))
    );

    // Open still.
    let mut after = World::with(with_hooks);
    let (kernel, holders) = (before.kernel.listed(), before.engine.holders());
    after.now = before.now;
    after.kernel = before.kernel;
    let mut effects = Vec::new();
    after
        .engine
        .adopt(&kernel, holders, after.now, &mut effects);
    after.engine.owe_hooks(owed, after.now, &mut effects);
    after.obey(effects);
    assert_eq!(after.asked, []);
    after.pass(seconds(33));
    after.hook_runs(HookEvent::Close);
}

#[test]
fn a_close_hook_that_the_stop_of_the_daemon_ends_is_owed_still() {
    let mut world = World::with(with_hooks);
    for from in [HERE, THERE] {
        let packet = world.seal(laptop, &ssh());
        assert_eq!(world.receive(from, &packet), Some(Reason::Opened));
        world.hook_runs(HookEvent::Open);
    }
    world.pass(seconds(33));
    let asked = std::mem::take(&mut world.asked);
    assert_eq!(asked.len(), 2);
    world.engine.stop_hooks();
    let mut effects = Vec::new();
    for (asked, how) in asked.into_iter().zip([How::TimedOut, How::Exited(0)]) {
        let ToRunner::Hook(hook) = asked else {
            panic!("no hook: {asked:?}");
        };
        let ended = Ended {
            id: hook.id,
            how,
            took: seconds(1),
            output: Vec::new(),
            unheard: 0,
        };
        world.engine.hook_ended(ended, world.now, &mut effects);
    }
    world.obey(effects);
    assert_eq!(world.owed().len(), 1, "the one that ran is done");
    assert_eq!(world.asked, []);
}

#[test]
fn a_failing_hook_is_told_and_changes_nothing_else() {
    let mut world = World::with(with_hooks);
    assert_eq!(world.send(laptop, &ssh()), Reason::Opened);
    let hook = world.hook();
    world.hook_ends(hook.id, 1);
    assert!(world.is_open(HERE, "tcp/22"));
    world.pass(seconds(33));
    let hook = world.hook();
    let mut effects = Vec::new();
    let (now, why) = (world.now, Reason::RunnerFailed);
    world.engine.hook_refused(hook.id, why, now, &mut effects);
    world.obey(effects);
    let lines = world.audited(Event::Hook);
    assert_eq!(lines[1].reason, Some(Reason::RunnerFailed));
    assert_eq!(world.owed(), [], "and it is not tried for ever");
}

#[test]
fn hooks_of_many_grants_are_told_a_few_at_a_time_and_none_is_forgotten() {
    let mut world = World::with(|config| {
        with_hooks(config);
        config.grants.max_per_client = 100;
        config.grants.rate.count = 1000;
    });
    for last in 1..=20 {
        let packet = world.seal(laptop, &ssh());
        let from = format!("192.0.2.{last}");
        assert_eq!(world.receive(&from, &packet), Some(Reason::Opened));
    }
    let mut told = Vec::new();
    while !world.asked.is_empty() {
        assert!(world.asked.len() <= 4);
        for asked in std::mem::take(&mut world.asked) {
            let ToRunner::Hook(hook) = asked else {
                panic!("no hook: {asked:?}");
            };
            told.push(hook.whom);
            world.hook_ends(hook.id, 0);
        }
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 20);
}

#[test]
fn the_close_hook_is_told_of_a_grant_that_gave_way() {
    let mut world = World::with(|config| {
        with_hooks(config);
        config.grants.max_per_client = 1;
    });
    world.send(laptop, &ssh());
    world.hook_runs(HookEvent::Open);
    world.send(laptop, &open_for(&["tcp/8080"], 0));
    let mut told = Vec::new();
    for asked in std::mem::take(&mut world.asked) {
        let ToRunner::Hook(hook) = asked else {
            panic!("no hook: {asked:?}");
        };
        told.push((hook.event, hook.port.to_string()));
    }
    let expected = [
        (HookEvent::Close, "tcp/22".to_owned()),
        (HookEvent::Open, "tcp/8080".to_owned()),
    ];
    assert_eq!(told, expected);
}

#[test]
fn without_hooks_nothing_is_owed_and_nobody_asked() {
    let mut world = World::new();
    assert_eq!(world.send(laptop, &ssh()), Reason::Opened);
    world.pass(seconds(33));
    assert_eq!(world.asked, []);
    let hook = |record: &JournalRecord| {
        matches!(
            record,
            JournalRecord::HookOwed(_) | JournalRecord::HookDone(_)
        )
    };
    assert!(!world.journal.iter().any(hook));
}

#[test]
fn a_grant_that_ends_before_any_hook_heard_of_it_leaves_nothing_behind() {
    let mut world = World::with(with_hooks);
    let from = |world: &mut World, address: &str, request: &spa_proto::Request| {
        let packet = world.seal(laptop, request);
        world.receive(address, &packet).unwrap()
    };
    // Four hooks that hang take all the places there are.
    for place in 1..=4 {
        let address = format!("192.0.2.{place}");
        assert_eq!(from(&mut world, &address, &ssh()), Reason::Opened);
        world.pass(seconds(1));
    }
    assert_eq!((world.asked.len(), world.owed().len()), (4, 4));
    for place in 10..60 {
        let address = format!("192.0.2.{place}");
        assert_eq!(from(&mut world, &address, &ssh()), Reason::Opened);
        assert_eq!(world.owed().len(), 5);
        assert_eq!(from(&mut world, &address, &close(&[])), Reason::Closed);
        assert_eq!(world.owed().len(), 4, "nobody heard of it");
        world.pass(seconds(1));
    }
    assert_eq!(world.asked.len(), 4);
}
