//! Declared commands: who may have them run, and that a packet runs one once.

use spa_proto::Request;
use spad_config::{CommandDefinition, Config, Program};
use spad_engine::audit::event::Event;
use spad_engine::{Disposition, Effect};
use spad_model::{ExitKind, Reason, Requester, RunExit, RunRefusal, RunRequest};

use crate::engine::world::*;

pub(crate) fn with_backup(config: &mut Config) {
    let program = Program {
        argv: vec!["/usr/local/bin/backup".to_owned()],
        user: "backup".to_owned(),
        as_root: false,
        timeout: seconds(60),
    };
    let definition = CommandDefinition {
        program,
        parallel: false,
    };
    config
        .commands
        .insert("backup".parse().unwrap(), definition);
    let laptop = config.clients.iter_mut();
    for client in laptop.filter(|client| client.name.as_str() == "laptop") {
        client.commands = vec!["backup".parse().unwrap()];
    }
}

fn run(name: &str) -> Request {
    let command = name.parse().unwrap();
    Request::Run { command }
}

impl EngineHarness {
    fn started(&mut self) {
        let run = self.run_requests.pop().and_then(|asked| match asked {
            RunRequest::Command(run) => Some(run),
            _ => None,
        });
        let run = run.unwrap();
        let mut effects = Vec::new();
        let verdict = self.engine.run_started(run.id, self.now, &mut effects);
        self.verdicts.push(verdict.unwrap());
        self.execute(effects);
        self.check_counts();
    }
}

#[test]
fn a_command_runs_for_a_client_whose_file_lists_it_and_the_verdict_waits_for_the_runner() {
    let mut harness = EngineHarness::with(with_backup);
    let packet = harness.seal(laptop, &run("backup"));
    assert_eq!(harness.receive(HERE, &packet), None, "no verdict yet");
    assert_eq!(harness.engine.pending(), 1);
    let [RunRequest::Command(asked)] = &harness.run_requests[..] else {
        panic!("{:?}", harness.run_requests);
    };
    assert_eq!(asked.command.as_str(), "backup");
    assert!(matches!(&asked.requester, Requester::Client(name, _) if name.as_str() == "laptop"));
    assert_eq!(asked.source, ip(HERE));
    let id = asked.id;
    harness.started();
    assert_eq!(harness.verdicts.last().unwrap().reason, Reason::Started);
    assert_eq!(harness.audited(Event::RunStart).len(), 1);

    let ended = RunExit {
        id,
        kind: ExitKind::Exited(0),
        duration: seconds(3),
        output: b"done\n".to_vec(),
        truncated: 0,
    };
    let mut effects = Vec::new();
    harness.engine.run_ended(ended, harness.now, &mut effects);
    harness.execute(effects);
    let [line] = harness.audited(Event::Run)[..] else {
        panic!("one line");
    };
    assert_eq!(line.client.as_ref().unwrap().as_str(), "laptop");
    let run = line.run.as_ref().unwrap();
    assert_eq!(
        (run.name.as_str(), run.output.as_str()),
        ("backup", "done\n")
    );
}

#[test]
fn a_command_that_is_not_declared_or_not_the_clients_is_refused_and_nobody_is_asked() {
    let mut harness = EngineHarness::with(with_backup);
    assert_eq!(
        harness.send(laptop, &run("restart")),
        Reason::CommandUnknown
    );
    assert_eq!(
        harness.send(desk, &run("backup")),
        Reason::CommandNotAllowed
    );
    assert_eq!(harness.run_requests, []);
    harness.reload(|config| {
        for client in &mut config.clients {
            client.enabled = false;
        }
    });
    assert_eq!(harness.send(laptop, &run("backup")), Reason::Disabled);
    assert_eq!(harness.run_requests, []);
}

#[test]
fn a_packet_is_recorded_before_its_command_runs_and_a_replayed_one_runs_nothing() {
    let mut harness = EngineHarness::with(with_backup);
    let packet = harness.seal(laptop, &run("backup"));
    let source = std::net::SocketAddr::new(ip(HERE), 40_000);
    let datagram = spad_model::Datagram::new(
        spad_model::Carrier::Udp,
        source,
        "203.0.113.1:62201".parse().unwrap(),
        2,
        &packet,
    )
    .unwrap();
    let mut effects = Vec::new();
    let judged = harness
        .engine
        .on_datagram(&datagram, harness.now, &mut effects);
    assert!(matches!(judged, Disposition::AwaitingRunner(_)));
    let record = effects.iter().position(|e| matches!(e, Effect::Record(_)));
    let asked = effects.iter().position(|e| matches!(e, Effect::Run(_)));
    assert!(record.unwrap() < asked.unwrap(), "{effects:?}");
    harness.packets += 1;
    harness.execute(effects);
    harness.started();
    harness.advance(seconds(5));
    assert_eq!(harness.receive(THERE, &packet), Some(Reason::Replay));
    assert_eq!(harness.run_requests, []);
}

#[test]
fn what_the_runner_does_not_start_is_told_with_its_reason() {
    for (refusal, reason) in [
        (RunRefusal::Unknown, Reason::CommandUnknown),
        (RunRefusal::NotAllowed, Reason::CommandNotAllowed),
        (RunRefusal::Running, Reason::CommandRunning),
        (RunRefusal::Busy, Reason::RunnerBusy),
        (RunRefusal::Failed, Reason::RunnerFailed),
    ] {
        let mut harness = EngineHarness::with(with_backup);
        let packet = harness.seal(laptop, &run("backup"));
        assert_eq!(harness.receive(HERE, &packet), None);
        let Some(RunRequest::Command(run)) = harness.run_requests.pop() else {
            panic!("nothing asked");
        };
        let mut effects = Vec::new();
        let now = harness.now;
        let verdict = harness
            .engine
            .run_refused(run.id, refusal, now, &mut effects);
        harness.verdicts.extend(verdict);
        harness.execute(effects);
        harness.check_counts();
        assert_eq!(harness.verdicts.last().unwrap().reason, reason);
        assert_eq!(harness.audited(Event::Refuse).len(), 1);
        assert_eq!(harness.audited(Event::RunStart).len(), 0);
    }
}

#[test]
fn runs_that_nobody_answers_are_bounded() {
    let mut harness = EngineHarness::with(|config| {
        with_backup(config);
        config.grants.rate.count = 1000;
    });
    let mut last = None;
    for _ in 0..65 {
        let packet = harness.seal(laptop, &run("backup"));
        last = harness.receive(HERE, &packet);
    }
    assert_eq!(last, Some(Reason::RunnerBusy));
    assert_eq!(harness.run_requests.len(), 64);
}

#[test]
fn a_command_runs_only_for_a_packet_from_the_clients_sources() {
    let mut harness = EngineHarness::with(|config| {
        with_backup(config);
        let laptop = config.clients.iter_mut();
        for client in laptop.filter(|client| client.name.as_str() == "laptop") {
            client.sources = vec![vec!["198.51.100.0/24".parse().unwrap()].into()];
        }
    });
    assert_eq!(
        harness.send(laptop, &run("backup")),
        Reason::SourceNotAllowed
    );
    assert_eq!(harness.run_requests, []);
    let packet = harness.seal(laptop, &run("backup"));
    assert_eq!(harness.receive("198.51.100.7", &packet), None);
    harness.started();
}
