//! Bytes as a schedule of packets, time and trouble: genuine packets, flipped
//! ones, replayed ones, a clock that steps, a kernel that refuses or is late, a
//! machine that sleeps, clients that are disabled. Each packet has one verdict,
//! none acts twice, and nothing is open beyond the longest time there is.

use std::collections::BTreeSet;

use spa_proto::limits::{MAX_PACKET, MIN_PACKET};
use spa_proto::{Open, Request, Timestamp};
use spad_model::Class;
use spad_model::FirewallError;

use crate::server_world::{
    EngineHarness, HERE, THERE, TestClient, close, desk, laptop, open, phone, seconds,
};

/// Longer than `[grants] max_ttl`, and the second that a mend may take.
const MAX_OPEN_SECONDS: u64 = 302;

/// Packets and time of one run, bounded so that a run stays short.
const MAX_STEPS: usize = 64;

pub fn run(data: &[u8]) {
    let mut harness = EngineHarness::new();
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut acted: BTreeSet<Vec<u8>> = BTreeSet::new();
    for step in data.chunks_exact(4).take(MAX_STEPS) {
        let &[what, a, b, c] = step else { return };
        let Some(packet) = packet(&mut harness, what, [a, b, c], &sent) else {
            inject_fault(&mut harness, what, [a, b, c]);
            continue;
        };
        let from = if c & 1 == 0 { HERE } else { THERE };
        let verdict = harness.receive(from, &packet);
        let acts = |class| matches!(class, Class::Opened | Class::Closed | Class::Started);
        if verdict.is_none_or(|reason| acts(reason.class())) {
            assert!(acted.insert(packet.clone()), "a packet acted twice");
        }
        sent.push(packet);
    }
    harness.hold_answers = false;
    harness.kernel.refuse = None;
    harness.answer_all();
    harness.check_counts();
    assert_eq!(harness.engine.pending(), 0, "a packet without a verdict");
    harness.advance(seconds(MAX_OPEN_SECONDS));
    assert!(
        harness.kernel.open().is_empty(),
        "open beyond the longest time"
    );
    assert!(harness.engine.grants(harness.now).is_empty());
    assert!(harness.engine.holders().is_empty());
}

fn peer(which: u8) -> fn(&EngineHarness) -> &TestClient {
    match which % 3 {
        0 => laptop,
        1 => desk,
        _ => phone,
    }
}

fn packet(
    harness: &mut EngineHarness,
    what: u8,
    [a, b, c]: [u8; 3],
    sent: &[Vec<u8>],
) -> Option<Vec<u8>> {
    match what % 16 {
        0..=3 => {
            let services: &[&str] = match b % 4 {
                0 => &["tcp/8080"],
                1 => &["tcp/8080", "udp/9999"],
                2 => &[],
                _ => &["tcp/8443"],
            };
            let request = Request::Open(Open {
                duration: u32::from(a) * 2,
                once: b & 0x80 != 0,
                source_port: u16::from(c >> 6).try_into().ok().filter(|_| b & 0x80 == 0),
                ..open(services)
            });
            // From 127 s behind to 128 s ahead, or right.
            let behind = if what & 0x80 == 0 {
                0
            } else {
                i64::from(c) - 128
            };
            let at = harness
                .now
                .wall
                .as_micros()
                .saturating_add_signed(behind * 1_000_000);
            Some(harness.seal_at(peer(what >> 4), &request, Timestamp::from_micros(at)))
        }
        4 => Some(harness.seal(
            peer(a),
            &close(if b & 1 == 0 { &[] } else { &["tcp/8080"] }),
        )),
        5 | 6 => sent.get(usize::from(a) % sent.len().max(1)).cloned(),
        7 => {
            let mut packet = sent.get(usize::from(a) % sent.len().max(1)).cloned()?;
            let bit = (usize::from(b) << 8 | usize::from(c)) % (packet.len() * 8);
            *packet.get_mut(bit / 8)? ^= 1 << (bit % 8);
            Some(packet)
        }
        // The stage `frame` lets no other length pass; the target `frame` tries those.
        8 => Some(vec![a; (usize::from(b) * 2 + MIN_PACKET).min(MAX_PACKET)]),
        _ => None,
    }
}

fn inject_fault(harness: &mut EngineHarness, what: u8, [a, b, c]: [u8; 3]) {
    match what % 16 {
        9 | 10 => harness.advance(seconds(u64::from(a))),
        11 => harness.suspend(seconds(u64::from(a) * 8)),
        12 => {
            let shift = i64::from(i32::from_be_bytes([0, a, b, c])) - 0x0080_0000;
            let to = harness
                .now
                .wall
                .as_micros()
                .saturating_add_signed(shift * 1_000_000);
            harness.set_clock(to);
        }
        13 => harness.kernel.refuse = (a & 1 == 1).then_some(FirewallError::SetFull),
        14 => {
            harness.hold_answers = a & 1 == 1;
            harness.answer_all();
        }
        15 if a & 1 == 0 => {
            harness.reload(|config| config.packets.max_skew = seconds(u64::from(b) + 1))
        }
        15 => {
            let mut effects = Vec::new();
            if let Ok(name) = "desk".parse() {
                harness.engine.disable(&name, harness.now, &mut effects);
            }
            harness.execute(effects);
        }
        _ => {}
    }
}
