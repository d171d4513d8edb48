//! Declared commands: who may have them run, and that a packet runs one once.

use spa_proto::Request;
use spad::audit::Event;
use spad::config::{CommandDefinition, Config, Program};
use spad::engine::{Effect, Judged};
use spad::runner::message::{Ended, How, RunBy, RunRefusal, ToRunner};
use spad::verdict::Reason;

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

impl World {
    fn started(&mut self) {
        let run = self.asked.pop().and_then(|asked| match asked {
            ToRunner::Run(run) => Some(run),
            _ => None,
        });
        let run = run.unwrap();
        let mut effects = Vec::new();
        let verdict = self.engine.run_started(run.id, self.now, &mut effects);
        self.verdicts.push(verdict.unwrap());
        self.obey(effects);
        self.check();
    }
}

#[test]
fn a_command_runs_for_a_client_whose_file_lists_it_and_the_verdict_waits_for_the_runner() {
    let mut world = World::with(with_backup);
    let packet = world.seal(laptop, &run("backup"));
    assert_eq!(world.receive(HERE, &packet), None, "no verdict yet");
    assert_eq!(world.engine.pending(), 1);
    let [ToRunner::Run(asked)] = &world.asked[..] else {
        panic!("{:?}", world.asked);
    };
    assert_eq!(asked.command.as_str(), "backup");
    assert!(matches!(&asked.by, RunBy::Client(name, _) if name.as_str() == "laptop"));
    assert_eq!(asked.source, ip(HERE));
    let id = asked.id;
    world.started();
    assert_eq!(world.verdicts.last().unwrap().reason, Reason::Started);
    assert_eq!(world.audited(Event::RunStart).len(), 1);

    let ended = Ended {
        id,
        how: How::Exited(0),
        took: seconds(3),
        output: b"done\n".to_vec(),
        unheard: 0,
    };
    let mut effects = Vec::new();
    world.engine.run_ended(ended, world.now, &mut effects);
    world.obey(effects);
    let [line] = world.audited(Event::Run)[..] else {
        panic!("one line");
    };
    assert_eq!(line.client.as_ref().unwrap().as_str(), "laptop");
    let run = line.run.as_ref().unwrap();
    assert_eq!(
        (run.what.as_str(), run.output.as_str()),
        ("backup", "done\n")
    );
}

#[test]
fn a_command_that_is_not_declared_or_not_the_clients_is_refused_and_nobody_is_asked() {
    let mut world = World::with(with_backup);
    assert_eq!(world.send(laptop, &run("restart")), Reason::CommandUnknown);
    assert_eq!(world.send(desk, &run("backup")), Reason::CommandNotAllowed);
    assert_eq!(world.asked, []);
    world.reload(|config| {
        for client in &mut config.clients {
            client.enabled = false;
        }
    });
    assert_eq!(world.send(laptop, &run("backup")), Reason::Disabled);
    assert_eq!(world.asked, []);
}

#[test]
fn a_packet_is_recorded_before_its_command_runs_and_a_replayed_one_runs_nothing() {
    let mut world = World::with(with_backup);
    let packet = world.seal(laptop, &run("backup"));
    let source = std::net::SocketAddr::new(ip(HERE), 40_000);
    let datagram =
        spad::capture::Datagram::assume(source, "203.0.113.1:62201".parse().unwrap(), 2, &packet);
    let mut effects = Vec::new();
    let judged = world.engine.packet(&datagram, world.now, &mut effects);
    assert!(matches!(judged, Judged::Running(_)));
    let record = effects.iter().position(|e| matches!(e, Effect::Record(_)));
    let asked = effects.iter().position(|e| matches!(e, Effect::Run(_)));
    assert!(record.unwrap() < asked.unwrap(), "{effects:?}");
    world.packets += 1;
    world.obey(effects);
    world.started();
    world.pass(seconds(5));
    assert_eq!(world.receive(THERE, &packet), Some(Reason::Replay));
    assert_eq!(world.asked, []);
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
        let mut world = World::with(with_backup);
        let packet = world.seal(laptop, &run("backup"));
        assert_eq!(world.receive(HERE, &packet), None);
        let Some(ToRunner::Run(run)) = world.asked.pop() else {
            panic!("nothing asked");
        };
        let mut effects = Vec::new();
        let now = world.now;
        let verdict = world.engine.run_refused(run.id, refusal, now, &mut effects);
        world.verdicts.extend(verdict);
        world.obey(effects);
        world.check();
        assert_eq!(world.verdicts.last().unwrap().reason, reason);
        assert_eq!(world.audited(Event::Refuse).len(), 1);
        assert_eq!(world.audited(Event::RunStart).len(), 0);
    }
}

#[test]
fn runs_that_nobody_answers_are_bounded() {
    let mut world = World::with(|config| {
        with_backup(config);
        config.grants.rate.count = 1000;
    });
    let mut last = None;
    for _ in 0..65 {
        let packet = world.seal(laptop, &run("backup"));
        last = world.receive(HERE, &packet);
    }
    assert_eq!(last, Some(Reason::RunnerBusy));
    assert_eq!(world.asked.len(), 64);
}

#[test]
fn a_command_runs_only_for_a_packet_from_the_clients_sources() {
    let mut world = World::with(|config| {
        with_backup(config);
        let laptop = config.clients.iter_mut();
        for client in laptop.filter(|client| client.name.as_str() == "laptop") {
            client.sources = vec![vec!["198.51.100.0/24".parse().unwrap()].into()];
        }
    });
    assert_eq!(world.send(laptop, &run("backup")), Reason::SourceNotAllowed);
    assert_eq!(world.asked, []);
    let packet = world.seal(laptop, &run("backup"));
    assert_eq!(world.receive("198.51.100.7", &packet), None);
    world.started();
}
