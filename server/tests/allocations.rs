//! What a forged packet, and what a client, costs in memory.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "the whole crate is tests; clippy.toml exempts only #[test] functions themselves"
)]

#[path = "engine/world.rs"]
#[expect(dead_code, reason = "the stories in tests/engine use the rest")]
mod world;

use std::net::SocketAddr;
use std::sync::Arc;

use allocation_counter::measure;
use spa_keys::{ClientSecret, ServerSecret};
use spad::capture::Datagram;
use spad::clients::{ClientSecrets, Clients};
use spad::config::ClientKey;
use spad::verdict::{Class, Reason, Verdict};

use world::*;

/// Judged again and again, the packet allocates nothing and has no effect.
#[track_caller]
fn costs_nothing(world: &mut World, packet: &[u8], expected: Reason) {
    assert_eq!(expected.class(), Class::Counted);
    let source: SocketAddr = "198.51.100.7:4000".parse().unwrap();
    let datagram = Datagram::assume(source, source, 1, packet);
    let before = world.engine.counters().get(expected);
    let mut effects = Vec::new();
    let now = world.now;
    let cost = measure(|| {
        for _ in 0..100 {
            let _ = world.engine.packet(&datagram, now, &mut effects);
        }
    });
    assert_eq!(cost.count_total, 0, "{expected:?}");
    assert_eq!(world.engine.counters().get(expected) - before, 100);
    assert!(effects.is_empty());
    world.packets += 100;
    let verdict = Verdict {
        reason: expected,
        client: None,
        elements: Vec::new(),
    };
    world.verdicts.extend(vec![verdict; 100]);
}

#[test]
fn a_forged_packet_allocates_nothing() {
    let mut world = World::new();
    let request = open_for(&["tcp/22"], 0);
    costs_nothing(&mut world, &[0x55; 300], Reason::HeadTag);
    costs_nothing(&mut world, &[0x55; 100], Reason::Length);

    let stranger = Peer::pair([9; 32]);
    let randomness = world.randomness();
    let now = world.now.wall;
    let unknown = spa_proto::seal(
        &stranger.head,
        stranger.id,
        &stranger.keys,
        &request,
        now,
        &randomness,
    );
    costs_nothing(&mut world, &unknown.unwrap(), Reason::UnknownKey);

    // A head that is right, even the first one of its client, before its keys were computed.
    let mut forged = world.seal(laptop, &request);
    *forged.last_mut().unwrap() ^= 1;
    costs_nothing(&mut world, &forged, Reason::Hmac);

    let used = world.seal(laptop, &request);
    world.receive(HERE, &used);
    costs_nothing(&mut world, &used, Reason::Replay);

    let stale = world.seal_at(laptop, &request, now.saturating_sub(seconds(1000)));
    assert_eq!(world.receive(HERE, &stale), Some(Reason::Stale));
    costs_nothing(&mut world, &stale, Reason::StaleUnnamed);
}

#[test]
fn a_hundred_thousand_clients_fit_in_a_hundred_mebibytes() {
    // Ten thousand, for time's sake; what a client costs does not depend on the others.
    const CLIENTS: u64 = 10_000;
    let mut kept = None;
    let cost = measure(|| {
        let mut config = config();
        config.clients = (0..CLIENTS)
            .map(|number| {
                let mut secret = [7; 32];
                secret[..8].copy_from_slice(&number.to_be_bytes());
                let key = ClientKey::Public(ClientSecret::from_bytes(secret).public());
                client(&format!("client-{number:09}"), key, &["ssh", "web"])
            })
            .collect();
        config.clients.shrink_to_fit();
        let server = Arc::new(ServerSecret::from_bytes(SERVER));
        let mut clients = Clients::build(
            Arc::new(config),
            vec![server],
            ClientSecrets::default(),
            [1; 8],
        )
        .unwrap();
        while clients.warm(1000) {}
        kept = Some(clients);
    });
    let each = u64::try_from(cost.bytes_current).unwrap() / CLIENTS;
    println!("{each} bytes a client, its keys and its configuration included");
    assert!(each * 100_000 < 100 * 1024 * 1024, "{each} bytes a client");
    assert_eq!(kept.unwrap().len() as u64, CLIENTS);
}
