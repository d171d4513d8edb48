//! Authentic packets up to the change of the firewall that they ask for, by the
//! number of clients; without and with their record in the journal.

use std::time::Duration;

use criterion::Criterion;
use criterion::measurement::Measurement;
use spad::config::OnStateError;
use spad::engine::{Effect, Judged};
use spad::paths::Paths;
use spad::replay::State;

use crate::cpu_time::CpuTime;
use crate::door::{Door, Frame, Sender};

/// Packets sealed ahead, and then judged while the clock runs.
const BATCH: u64 = 256;

pub(crate) fn measure(criterion: &mut Criterion<CpuTime>, clients: usize) {
    let mut door = Door::with_clients(clients);
    one_kind(criterion, "authentic", clients, &mut door, |_, _| {});

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
    State::create(&paths, door.now, skew).unwrap();
    let opened = State::open(&paths, door.now, skew, OnStateError::Refuse).unwrap();
    let mut state = opened.state;
    let name = "authentic, in the journal";
    one_kind(criterion, name, clients, &mut door, |door, before| {
        for effect in &door.effects[before..] {
            if let Effect::Record(record) = effect {
                state.append(record).unwrap();
            }
        }
        state.compact_if_needed(|| door.engine.records());
    });
}

fn one_kind(
    criterion: &mut Criterion<CpuTime>,
    name: &str,
    clients: usize,
    door: &mut Door,
    mut then: impl FnMut(&mut Door, usize),
) {
    let id = format!("{name}, {clients} clients");
    criterion.bench_function(&id, |bencher| {
        bencher.iter_custom(|count| {
            let mut spent = CpuTime.zero();
            let mut left = count;
            while left > 0 {
                let some = left.min(BATCH);
                left -= some;
                let frames: Vec<_> = (0..some).map(|number| next(door, number)).collect();
                let start = CpuTime.start();
                for frame in &frames {
                    let before = door.effects.len();
                    let judged = door.judge(frame);
                    assert!(matches!(judged, Judged::Pending(_)));
                    then(door, before);
                }
                spent = CpuTime.add(&spent, &CpuTime.end(start));
                door.obey();
            }
            spent
        });
    });
}

/// The next packet; time goes on by a microsecond.
fn next(door: &mut Door, number: u64) -> Frame {
    door.now.wall = door.now.wall.saturating_add(Duration::from_micros(1));
    door.now.boot = door.now.boot.saturating_add(Duration::from_micros(1));
    let sender = usize::try_from(number).unwrap() % door.senders();
    let at = door.now.wall;
    // Each from an address of its own, or they would all hold the same grant.
    let source = format!("192.0.2.{sender}:40000");
    Frame::new(&source, &door.sealed(Sender::Known(sender), at))
}
