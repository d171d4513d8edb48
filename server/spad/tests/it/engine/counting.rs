//! Any mixture of packets: each ends in exactly one reason, and none opens twice.

use std::collections::BTreeSet;

use proptest::prelude::*;
use spad_model::{Class, Reason};

use crate::engine::world::*;

#[derive(Clone, Debug)]
enum Act {
    Noise(Vec<u8>),
    Genuine { who: u8, seconds: u32, offset: i64 },
    Close(u8),
    Replay(u16),
    Flip { which: u16, bit: u16 },
    Pass(u16),
    Step(i64),
    Refuse(bool),
    Hold(bool),
    Disable,
    Reload,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 150..530).prop_map(Act::Noise),
        (any::<u8>(), 0..400_u32, -90..90_i64).prop_map(|(who, seconds, offset)| Act::Genuine {
            who,
            seconds,
            offset
        }),
        (any::<u8>(), 0..400_u32).prop_map(|(who, seconds)| Act::Genuine {
            who,
            seconds,
            offset: 0
        }),
        any::<u8>().prop_map(Act::Close),
        any::<u16>().prop_map(Act::Replay),
        (any::<u16>(), any::<u16>()).prop_map(|(which, bit)| Act::Flip { which, bit }),
        (0..200_u16).prop_map(Act::Pass),
        (-500..500_i64).prop_map(Act::Step),
        any::<bool>().prop_map(Act::Refuse),
        any::<bool>().prop_map(Act::Hold),
        Just(Act::Disable),
        Just(Act::Reload),
    ]
}

fn peer(who: u8) -> fn(&EngineHarness) -> &TestClient {
    match who % 3 {
        0 => laptop,
        1 => desk,
        _ => phone,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_packet_has_one_verdict_and_none_acts_twice(acts in proptest::collection::vec(act(), 1..60)) {
        let mut world = EngineHarness::new();
        let mut sent: Vec<Vec<u8>> = Vec::new();
        let mut used = BTreeSet::new();
        for act in acts {
            let mut packet = None;
            match act {
                Act::Noise(bytes) => packet = Some(bytes),
                Act::Genuine { who, seconds, offset } => {
                    let at = world.now.wall.as_micros().saturating_add_signed(offset * 1_000_000);
                    let request = open_for(&["tcp/8080"], seconds);
                    packet = Some(world.seal_at(peer(who), &request, spa_proto::Timestamp::from_micros(at)));
                }
                Act::Close(who) => packet = Some(world.seal(peer(who), &close(&[]))),
                Act::Replay(which) => packet = sent.get(usize::from(which) % sent.len().max(1)).cloned(),
                Act::Flip { which, bit } => {
                    packet = sent.get(usize::from(which) % sent.len().max(1)).cloned();
                    if let Some(packet) = &mut packet {
                        let bit = usize::from(bit) % (packet.len() * 8);
                        packet[bit / 8] ^= 1 << (bit % 8);
                    }
                }
                Act::Pass(span) => world.advance(seconds(span.into())),
                Act::Step(step) => {
                    let to = world.now.wall.as_micros().saturating_add_signed(step * 1_000_000);
                    world.set_clock(to);
                }
                Act::Refuse(refuse) => {
                    world.kernel.refuse = refuse.then_some(spad_model::FirewallError::SetFull);
                }
                Act::Hold(hold) => {
                    world.hold_answers = hold;
                    world.answer_all();
                }
                Act::Disable => {
                    let mut effects = Vec::new();
                    world.engine.disable(&"desk".parse().unwrap(), world.now, &mut effects);
                    world.execute(effects);
                }
                Act::Reload => world.reload(|_| {}),
            }
            if let Some(packet) = packet {
                let verdict = world.receive(HERE, &packet);
                let acted = verdict.is_none_or(|reason| matches!(reason.class(), Class::Opened | Class::Closed | Class::Started));
                if acted {
                    prop_assert!(used.insert(packet.clone()), "acted twice");
                }
                sent.push(packet);
            }
        }
        world.hold_answers = false;
        world.kernel.refuse = None;
        world.answer_all();
        world.check_counts();
        prop_assert_eq!(world.engine.pending(), 0);
        // Nothing outlives the longest time there is; whatever went wrong is mended.
        world.advance(seconds(310));
        prop_assert!(world.kernel.open().is_empty());
        prop_assert!(world.engine.grants(world.now).is_empty());
        prop_assert!(world.engine.counters().get(Reason::Opened) <= world.packets);
    }
}
