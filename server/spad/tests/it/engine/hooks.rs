//! Hooks: told of every grant once it is true, and of its end whatever ended it.

use spad_config::{Config, Hooks, Program};
use spad_engine::audit::event::Event;
use spad_model::{ExitKind, HookEvent, Reason, RunExit, RunHook, RunId, RunRequest};
use spad_replay::{HolderKey, JournalRecord};

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

impl EngineHarness {
    /// What a hook was asked last; nothing else was.
    #[track_caller]
    fn hook(&mut self) -> RunHook {
        let mut asked = std::mem::take(&mut self.run_requests);
        assert_eq!(asked.len(), 1, "{asked:?}");
        let asked = asked.pop().and_then(|asked| match asked {
            RunRequest::Hook(hook) => Some(hook),
            _ => None,
        });
        asked.unwrap()
    }

    fn hook_ends(&mut self, id: RunId, code: u8) {
        let ended = RunExit {
            id,
            kind: ExitKind::Exited(code),
            duration: seconds(1),
            output: Vec::new(),
            truncated: 0,
        };
        let mut effects = Vec::new();
        self.engine.run_ended(ended, self.now, &mut effects);
        self.execute(effects);
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
    fn pending_hooks(&self) -> Vec<HolderKey> {
        let mut pending = Vec::new();
        for record in &self.journal {
            match record {
                JournalRecord::HookPending(key) => pending.push(*key),
                JournalRecord::HookDone(key) => pending.retain(|one| one != key),
                _ => {}
            }
        }
        pending
    }
}

fn ssh() -> spa_proto::Request {
    open_for(&["tcp/22"], 0)
}

#[test]
fn the_open_hook_is_told_what_the_kernel_took_and_the_close_hook_when_its_time_is_over() {
    let mut harness = EngineHarness::with(with_hooks);
    harness.hold_answers = true;
    let packet = harness.seal(laptop, &ssh());
    assert_eq!(harness.receive(HERE, &packet), None);
    assert_eq!(harness.run_requests, [], "before the kernel took it");
    harness.answer_all();
    let hook = harness.hook_runs(HookEvent::Open);
    assert_eq!(hook.client.unwrap().as_str(), "laptop");
    assert_eq!(hook.peer, ip(HERE).into());
    assert_eq!(hook.service.unwrap().as_str(), "ssh");
    assert_eq!(hook.ttl, seconds(30));
    assert_eq!(harness.pending_hooks().len(), 1);
    harness.advance(seconds(29));
    assert_eq!(harness.run_requests, []);
    harness.advance(seconds(3));
    let hook = harness.hook();
    assert_eq!((hook.event, hook.ttl), (HookEvent::Close, seconds(0)));
    assert_eq!(harness.pending_hooks().len(), 1, "owed until it has run");
    harness.hook_ends(hook.id, 0);
    assert_eq!(harness.pending_hooks(), []);
    assert_eq!(harness.audited(Event::Hook).len(), 2);
}

#[test]
fn the_close_hook_waits_until_the_kernel_holds_the_grant_no_longer() {
    let mut harness = EngineHarness::with(with_hooks);
    assert_eq!(harness.send(laptop, &ssh()), Reason::Opened);
    harness.hook_runs(HookEvent::Open);
    harness.hold_answers = true;
    let packet = harness.seal(laptop, &close(&[]));
    assert_eq!(harness.receive(HERE, &packet), None);
    assert_eq!(harness.run_requests, [], "the kernel still holds it");
    harness.answer_all();
    harness.hook_runs(HookEvent::Close);
    assert_eq!(harness.pending_hooks(), []);
}

#[test]
fn the_close_hook_runs_when_the_client_is_disabled_or_its_right_is_gone() {
    let mut harness = EngineHarness::with(with_hooks);
    assert_eq!(harness.send(laptop, &ssh()), Reason::Opened);
    harness.hook_runs(HookEvent::Open);
    let mut effects = Vec::new();
    let name = "laptop".parse().unwrap();
    assert!(harness.engine.disable(&name, harness.now, &mut effects));
    harness.execute(effects);
    harness.hook_runs(HookEvent::Close);

    assert_eq!(harness.send(phone, &ssh()), Reason::Opened);
    harness.hook_runs(HookEvent::Open);
    harness.reload(|config| {
        let gone = |client: &spad_config::ClientConfig| client.name.as_str() != "phone";
        config.clients.retain(gone);
    });
    let hook = harness.hook_runs(HookEvent::Close);
    let name = hook.client.expect("the name of who is gone");
    assert_eq!(name.as_str(), "phone");
    assert_eq!(harness.pending_hooks(), []);
}

#[test]
fn a_renewal_is_told_as_such_and_closes_nothing() {
    let mut harness = EngineHarness::with(with_hooks);
    assert_eq!(harness.send(laptop, &ssh()), Reason::Opened);
    harness.hook_runs(HookEvent::Open);
    harness.advance(seconds(20));
    assert_eq!(harness.send(laptop, &ssh()), Reason::Opened);
    let hook = harness.hook_runs(HookEvent::Renew);
    assert_eq!(hook.ttl, seconds(30));
    harness.advance(seconds(20));
    assert_eq!(harness.run_requests, []);
    harness.advance(seconds(12));
    harness.hook_runs(HookEvent::Close);
}

#[test]
fn the_hooks_of_one_grant_run_one_after_the_other() {
    let mut harness = EngineHarness::with(with_hooks);
    assert_eq!(harness.send(laptop, &ssh()), Reason::Opened);
    let open = harness.hook();
    assert_eq!(harness.send(laptop, &close(&[])), Reason::Closed);
    assert_eq!(harness.run_requests, [], "the open hook runs still");
    harness.hook_ends(open.id, 0);
    let close = harness.hook();
    assert_eq!(close.event, HookEvent::Close);
    harness.advance(seconds(1));
    assert_eq!(harness.send(laptop, &ssh()), Reason::Opened);
    assert_eq!(harness.run_requests, [], "the close hook runs still");
    harness.hook_ends(close.id, 0);
    harness.hook_runs(HookEvent::Open);
    assert_eq!(harness.pending_hooks().len(), 1, "the later grant's");
}

#[test]
fn a_close_hook_that_is_owed_from_an_earlier_life_runs_once_the_grant_is_over() {
    let mut before = EngineHarness::with(with_hooks);
    assert_eq!(before.send(laptop, &ssh()), Reason::Opened);
    before.hook_runs(HookEvent::Open);
    let pending = before.pending_hooks();
    assert_eq!(pending.len(), 1);
    let saved: Vec<_> = before.engine.journal_extras().collect();
    assert!(
        saved.contains(&JournalRecord::HookPending(pending[0])),
        "compacted away"
    );

    // Ended meanwhile, or in a boot that knows nothing of it.
    let mut after = EngineHarness::with(with_hooks);
    let mut effects = Vec::new();
    after.engine.adopt(&[], Vec::new(), after.now, &mut effects);
    after
        .engine
        .restore_pending_hooks(pending.clone(), after.now, &mut effects);
    after.execute(effects);
    let hook = after.hook_runs(HookEvent::Close);
    assert_eq!(hook.client.unwrap().as_str(), "laptop");
    assert_eq!(
        after.journal.last(),
        Some(&JournalRecord::HookDone(pending[0]))
    );

    // Open still.
    let mut after = EngineHarness::with(with_hooks);
    let (kernel, holders) = (before.kernel.list(), before.engine.holders());
    after.now = before.now;
    after.kernel = before.kernel;
    let mut effects = Vec::new();
    after
        .engine
        .adopt(&kernel, holders, after.now, &mut effects);
    after
        .engine
        .restore_pending_hooks(pending, after.now, &mut effects);
    after.execute(effects);
    assert_eq!(after.run_requests, []);
    after.advance(seconds(33));
    after.hook_runs(HookEvent::Close);
}

#[test]
fn a_close_hook_that_the_stop_of_the_daemon_ends_is_owed_still() {
    let mut harness = EngineHarness::with(with_hooks);
    for from in [HERE, THERE] {
        let packet = harness.seal(laptop, &ssh());
        assert_eq!(harness.receive(from, &packet), Some(Reason::Opened));
        harness.hook_runs(HookEvent::Open);
    }
    harness.advance(seconds(33));
    let asked = std::mem::take(&mut harness.run_requests);
    assert_eq!(asked.len(), 2);
    harness.engine.begin_shutdown();
    let mut effects = Vec::new();
    for (asked, how) in asked
        .into_iter()
        .zip([ExitKind::TimedOut, ExitKind::Exited(0)])
    {
        let RunRequest::Hook(hook) = asked else {
            panic!("no hook: {asked:?}");
        };
        let ended = RunExit {
            id: hook.id,
            kind: how,
            duration: seconds(1),
            output: Vec::new(),
            truncated: 0,
        };
        harness.engine.run_ended(ended, harness.now, &mut effects);
    }
    harness.execute(effects);
    assert_eq!(harness.pending_hooks().len(), 1, "the one that ran is done");
    assert_eq!(harness.run_requests, []);
}

#[test]
fn a_failing_hook_is_told_and_changes_nothing_else() {
    let mut harness = EngineHarness::with(with_hooks);
    assert_eq!(harness.send(laptop, &ssh()), Reason::Opened);
    let hook = harness.hook();
    harness.hook_ends(hook.id, 1);
    assert!(harness.is_open(HERE, "tcp/22"));
    harness.advance(seconds(33));
    let hook = harness.hook();
    let mut effects = Vec::new();
    let (now, why) = (harness.now, Reason::RunnerFailed);
    harness.engine.run_aborted(hook.id, why, now, &mut effects);
    harness.execute(effects);
    let lines = harness.audited(Event::Hook);
    assert_eq!(lines[1].reason, Some(Reason::RunnerFailed));
    assert_eq!(harness.pending_hooks(), [], "and it is not tried for ever");
}

#[test]
fn hooks_of_many_grants_are_told_a_few_at_a_time_and_none_is_forgotten() {
    let mut harness = EngineHarness::with(|config| {
        with_hooks(config);
        config.grants.max_per_client = 100;
        config.grants.rate.count = 1000;
    });
    for last in 1..=20 {
        let packet = harness.seal(laptop, &ssh());
        let from = format!("192.0.2.{last}");
        assert_eq!(harness.receive(&from, &packet), Some(Reason::Opened));
    }
    let mut reported = Vec::new();
    while !harness.run_requests.is_empty() {
        assert!(harness.run_requests.len() <= 4);
        for asked in std::mem::take(&mut harness.run_requests) {
            let RunRequest::Hook(hook) = asked else {
                panic!("no hook: {asked:?}");
            };
            reported.push(hook.peer);
            harness.hook_ends(hook.id, 0);
        }
    }
    reported.sort();
    reported.dedup();
    assert_eq!(reported.len(), 20);
}

#[test]
fn the_close_hook_is_told_of_a_grant_that_gave_way() {
    let mut harness = EngineHarness::with(|config| {
        with_hooks(config);
        config.grants.max_per_client = 1;
    });
    harness.send(laptop, &ssh());
    harness.hook_runs(HookEvent::Open);
    harness.send(laptop, &open_for(&["tcp/8080"], 0));
    let mut reported = Vec::new();
    for asked in std::mem::take(&mut harness.run_requests) {
        let RunRequest::Hook(hook) = asked else {
            panic!("no hook: {asked:?}");
        };
        reported.push((hook.event, hook.port.to_string()));
    }
    let expected = [
        (HookEvent::Close, "tcp/22".to_owned()),
        (HookEvent::Open, "tcp/8080".to_owned()),
    ];
    assert_eq!(reported, expected);
}

#[test]
fn without_hooks_nothing_is_owed_and_nobody_asked() {
    let mut harness = EngineHarness::new();
    assert_eq!(harness.send(laptop, &ssh()), Reason::Opened);
    harness.advance(seconds(33));
    assert_eq!(harness.run_requests, []);
    let hook = |record: &JournalRecord| {
        matches!(
            record,
            JournalRecord::HookPending(_) | JournalRecord::HookDone(_)
        )
    };
    assert!(!harness.journal.iter().any(hook));
}

#[test]
fn a_grant_that_ends_before_any_hook_heard_of_it_leaves_nothing_behind() {
    let mut harness = EngineHarness::with(with_hooks);
    let from = |harness: &mut EngineHarness, address: &str, request: &spa_proto::Request| {
        let packet = harness.seal(laptop, request);
        harness.receive(address, &packet).unwrap()
    };
    // Four hooks that hang take all the places there are.
    for place in 1..=4 {
        let address = format!("192.0.2.{place}");
        assert_eq!(from(&mut harness, &address, &ssh()), Reason::Opened);
        harness.advance(seconds(1));
    }
    assert_eq!(
        (harness.run_requests.len(), harness.pending_hooks().len()),
        (4, 4)
    );
    for place in 10..60 {
        let address = format!("192.0.2.{place}");
        assert_eq!(from(&mut harness, &address, &ssh()), Reason::Opened);
        assert_eq!(harness.pending_hooks().len(), 5);
        assert_eq!(from(&mut harness, &address, &close(&[])), Reason::Closed);
        assert_eq!(harness.pending_hooks().len(), 4, "nobody heard of it");
        harness.advance(seconds(1));
    }
    assert_eq!(harness.run_requests.len(), 4);
}
