//! Authentic packets up to the change of the firewall that they ask for, by the
//! number of clients; without and with their record in the journal.

use std::time::Duration;

use criterion::Criterion;
use criterion::measurement::Measurement;
use spad_engine::{Disposition, Effect};
use spad_model::{OnStateError, Paths};
use spad_replay::StateDir;

use crate::cpu_time::CpuTime;
use crate::fixture::{EngineFixture, Frame, Sender};

/// Packets sealed ahead, and then judged while the clock runs.
const BATCH: u64 = 256;

pub(crate) fn measure(criterion: &mut Criterion<CpuTime>, clients: usize) {
    let mut fixture = EngineFixture::with_clients(clients);
    one_kind(criterion, "authentic", clients, &mut fixture, |_, _| {});

    let place = tempfile::tempdir().unwrap();
    let paths = Paths {
        config: place.path().join("config"),
        state: place.path().join("state"),
        run: place.path().join("run"),
    };
    for folder in [&paths.config, &paths.state, &paths.run] {
        std::fs::create_dir(folder).unwrap();
    }
    let skew = Duration::from_secs(60);
    StateDir::create(&paths, fixture.now, skew).unwrap();
    let opened = StateDir::open(&paths, fixture.now, skew, OnStateError::Refuse).unwrap();
    let mut state = opened.state;
    let name = "authentic, in the journal";
    one_kind(criterion, name, clients, &mut fixture, |fixture, before| {
        for effect in &fixture.effects[before..] {
            if let Effect::Record(record) = effect {
                state.append(record).unwrap();
            }
        }
        state.compact_if_needed(|| fixture.engine.journal_records());
    });
}

fn one_kind(
    criterion: &mut Criterion<CpuTime>,
    name: &str,
    clients: usize,
    fixture: &mut EngineFixture,
    mut then: impl FnMut(&mut EngineFixture, usize),
) {
    let id = format!("{name}, {clients} clients");
    criterion.bench_function(&id, |bencher| {
        bencher.iter_custom(|count| {
            let mut spent = CpuTime.zero();
            let mut left = count;
            while left > 0 {
                let some = left.min(BATCH);
                left -= some;
                let frames: Vec<_> = (0..some).map(|number| next(fixture, number)).collect();
                let start = CpuTime.start();
                for frame in &frames {
                    let before = fixture.effects.len();
                    let judged = fixture.process(frame);
                    assert!(matches!(judged, Disposition::AwaitingFirewall(_)));
                    then(fixture, before);
                }
                spent = CpuTime.add(&spent, &CpuTime.end(start));
                fixture.execute();
            }
            spent
        });
    });
}

/// The next packet; time goes on by a microsecond.
fn next(fixture: &mut EngineFixture, number: u64) -> Frame {
    fixture.now.wall = fixture.now.wall.saturating_add(Duration::from_micros(1));
    fixture.now.boot = fixture.now.boot.saturating_add(Duration::from_micros(1));
    let sender = usize::try_from(number).unwrap() % fixture.senders();
    let at = fixture.now.wall;
    // Each from an address of its own, or they would all hold the same grant.
    let source = format!("192.0.2.{sender}:40000");
    Frame::new(&source, &fixture.sealed(Sender::Known(sender), at))
}
