//! What a refused packet, and what a client, costs in memory.

#[path = "../../../capture/src/craft.rs"]
#[expect(dead_code, reason = "the tests of the capture use the rest")]
mod craft;
#[path = "../it/engine/world.rs"]
#[expect(dead_code, reason = "the stories in tests/it/engine use the rest")]
mod world;

use std::net::SocketAddr;
use std::sync::Arc;

use allocation_counter::measure;
use spa_keys::{ClientSecret, ServerSecret};
use spad_capture::{classify, frame};
use spad_config::{ClientConfig, ClientKey, Door};
use spad_engine::clients::{ClientSecrets, Clients};
use spad_model::knock::{KnockFilter, KnockPattern};
use spad_model::{CarrierSet, Class, Reason, Received, Verdict};
use world::*;

/// Read and judged again and again, the packet allocates nothing and has no effect.
#[track_caller]
fn assert_no_allocation(harness: &mut EngineHarness, from: &str, packet: &[u8], expected: Reason) {
    assert_eq!(expected.class(), Class::Counted);
    let source = SocketAddr::new(ip(from), 4000);
    let (ethertype, bytes) =
        craft::packet(source, "203.0.113.1:62201".parse().unwrap(), &[], packet);
    let before = harness.engine.counters().get(expected);
    let mut effects = Vec::new();
    let now = harness.now;
    let cost = measure(|| {
        for _ in 0..100 {
            match frame::parse(ethertype, 1, &bytes) {
                Ok(datagram) => {
                    let _ = harness.engine.on_datagram(&datagram, now, &mut effects);
                }
                Err(fault) => harness.engine.count_frame_fault(fault),
            }
        }
    });
    assert_eq!(cost.count_total, 0, "{expected:?}");
    assert_eq!(harness.engine.counters().get(expected) - before, 100);
    assert!(effects.is_empty());
    harness.packets += 100;
    let verdict = Verdict {
        reason: expected,
        client: None,
        elements: Vec::new(),
    };
    harness.verdicts.extend(vec![verdict; 100]);
}

fn numbered_client(number: u64) -> ClientConfig {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&number.to_be_bytes());
    let key = ClientKey::Public(ClientSecret::from_bytes(secret).public());
    client(&format!("client-{number:09}"), key, &["ssh", "web"])
}

/// The laptop and so many others.
fn harness_with(others: u64) -> EngineHarness {
    EngineHarness::with(|config| {
        config
            .clients
            .retain(|client| client.name.as_str() == "laptop");
        config.clients.extend((0..others).map(numbered_client));
    })
}

fn a_refused_packet_allocates_nothing(others: u64) {
    let mut harness = harness_with(others);
    let request = open_for(&["tcp/22"], 0);
    assert_no_allocation(&mut harness, THERE, &[0x55; 300], Reason::HeadTag);
    assert_no_allocation(&mut harness, THERE, &[0x55; 100], Reason::Frame);

    let stranger = TestClient::pair([9; 32]);
    let randomness = harness.randomness();
    let now = harness.now.wall;
    let unknown = spa_proto::seal(
        &stranger.head,
        stranger.id,
        &stranger.keys,
        &request,
        now,
        &randomness,
    );
    assert_no_allocation(&mut harness, THERE, &unknown.unwrap(), Reason::UnknownKey);

    // A head that is right, even the first one of its client, before its keys were computed.
    let mut forged = harness.seal(laptop, &request);
    forged[100] ^= 1;
    assert_no_allocation(&mut harness, THERE, &forged, Reason::Hmac);

    // Captured while they were fresh: as they were, and with another body.
    let mut used = harness.seal(laptop, &request);
    harness.receive(HERE, &used);
    assert_no_allocation(&mut harness, HERE, &used, Reason::Duplicate);
    assert_no_allocation(&mut harness, THERE, &used, Reason::Replay);
    used[100] ^= 1;
    assert_no_allocation(&mut harness, THERE, &used, Reason::Replay);

    let stale = harness.seal_at(laptop, &request, now.saturating_sub(seconds(1000)));
    assert_eq!(harness.receive(HERE, &stale), Some(Reason::Stale));
    assert_no_allocation(&mut harness, THERE, &stale, Reason::StaleUnnamed);

    let (replay, _) = harness.engine.replay_state_mut();
    replay.raise_floors(now);
    let below = harness.seal_at(laptop, &request, now);
    assert_no_allocation(&mut harness, THERE, &below, Reason::BelowFloorUnnamed);
}

#[test]
fn a_refused_packet_allocates_nothing_with_one_client() {
    a_refused_packet_allocates_nothing(0);
}

#[test]
fn a_refused_packet_allocates_nothing_with_a_thousand_clients() {
    a_refused_packet_allocates_nothing(999);
}

#[test]
fn a_hundred_thousand_clients_fit_in_a_hundred_mebibytes() {
    // Ten thousand, for time's sake; what a client costs does not depend on the others.
    const CLIENTS: u64 = 10_000;
    let mut resident = None;
    let cost = measure(|| {
        let mut config = config();
        config.clients = (0..CLIENTS).map(numbered_client).collect();
        config.clients.shrink_to_fit();
        let server = Arc::new(ServerSecret::from_bytes(SERVER));
        let mut clients = Clients::build(
            Arc::new(config),
            vec![server],
            ClientSecrets::default(),
            [1; 8],
        )
        .unwrap();
        while clients.precompute_keys(1000) {}
        resident = Some(clients);
    });
    let each = u64::try_from(cost.bytes_current).unwrap() / CLIENTS;
    println!("{each} bytes a client, its keys and its configuration included");
    assert!(each * 100_000 < 100 * 1024 * 1024, "{each} bytes a client");
    assert_eq!(resident.unwrap().len() as u64, CLIENTS);
}

#[test]
fn knocks_that_open_nothing_allocate_no_more_than_once_an_attempt() {
    let mut harness = EngineHarness::with(|config| {
        config.knock = vec![Door {
            name: "side".parse().unwrap(),
            pattern: KnockPattern::new("7000:udp,8000:udp".parse().unwrap()),
            open: vec!["ssh".parse().unwrap()],
            ttl: None,
            run: None,
        }];
    });
    let config = harness.engine.clients().config();
    let knocks = KnockFilter::new(&[&config.knock[0].pattern]);
    let carriers = CarrierSet {
        knocks,
        ..CarrierSet::default()
    };
    let frames = [7000, 9999, 7000].map(|port| {
        let from = SocketAddr::new(ip(THERE), 4000 + port % 7);
        let to = SocketAddr::new(ip("203.0.113.1"), port);
        craft::packet(from, to, &[], b"x")
    });
    let mut effects = Vec::new();
    let now = harness.now;
    let mut hear = || {
        for (ethertype, bytes) in &frames {
            let Ok(Received::Knock(hit)) = classify(&carriers, *ethertype, 1, bytes) else {
                panic!("a knock");
            };
            harness.engine.on_knock(&hit, now, &mut effects);
        }
    };
    hear();
    let wrong = measure(|| (0..100).for_each(|_| hear()));
    // A node of the order of attempts, where one ends and another begins.
    assert!(wrong.count_total <= 200, "{wrong:?}");
    assert_eq!(wrong.bytes_current, 0, "{wrong:?}");
    assert!(effects.is_empty());
}
