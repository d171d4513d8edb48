//! Packets that are not authentic, each kind by the number of clients.

use std::time::Duration;

use criterion::Criterion;
use spad_model::Reason;

use crate::cpu_time::CpuTime;
use crate::fixture::{EngineFixture, Frame, SENDERS, Sender};

const CLIENT: &str = "192.0.2.1:40000";
const ATTACKER: &str = "198.51.100.7:4000";

pub(crate) fn measure(criterion: &mut Criterion<CpuTime>, clients: usize) {
    let mut fixture = EngineFixture::with_clients(clients);
    let (now, old) = (
        fixture.now.wall,
        fixture.now.wall.saturating_sub(Duration::from_secs(1000)),
    );
    let kinds: [(&str, Reason, Vec<Vec<u8>>); 5] = [
        ("random bytes", Reason::HeadTag, many(|_| fixture.noise())),
        (
            "unknown key",
            Reason::UnknownKey,
            many(|_| fixture.sealed(Sender::Unknown, now)),
        ),
        (
            "stale",
            Reason::StaleUnnamed,
            many(|number| fixture.sealed(Sender::Known(number), old)),
        ),
        (
            "replay",
            Reason::Replay,
            many(|number| fixture.sealed(Sender::Known(number), now)),
        ),
        (
            "changed body",
            Reason::Hmac,
            many(|number| {
                let mut packet = fixture.sealed(Sender::Known(number), now);
                packet[100] ^= 1;
                packet
            }),
        ),
    ];
    for (name, reason, packets) in kinds {
        // Once as captured from its sender, with whatever that has done.
        for packet in &packets {
            fixture.process(&Frame::new(CLIENT, packet));
            fixture.execute();
        }
        let frames: Vec<_> = packets
            .iter()
            .map(|packet| Frame::new(ATTACKER, packet))
            .collect();
        let id = format!("{name}, {clients} clients");
        criterion.bench_function(&id, |bencher| {
            let mut next = frames.iter().cycle();
            let before = fixture.engine.counters().clone();
            bencher.iter(|| next.next().map(|frame| fixture.process(frame)));
            let judged = fixture.engine.counters().total() - before.total();
            let so = fixture.engine.counters().get(reason) - before.get(reason);
            assert_eq!(judged, so, "{name}: all are {reason:?}");
            assert!(fixture.effects.is_empty(), "{name}");
        });
    }
}

fn many(packet: impl FnMut(usize) -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..SENDERS).map(packet).collect()
}
