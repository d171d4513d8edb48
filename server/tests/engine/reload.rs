//! Removing, disabling and narrowing act at once.

use spad::audit::Event;
use spad::verdict::Reason;

use crate::world::*;

const WEB: &str = "tcp/8080";

#[test]
fn removing_the_last_client_works_at_once() {
    let mut world = World::with(|config| {
        config
            .clients
            .retain(|client| client.name.as_str() == "laptop")
    });
    world.send(laptop, &open_for(&[WEB], 100));
    world.reload(|config| config.clients.clear());
    assert!(world.kernel.open().is_empty());
    let line = world.audited(Event::Revoke)[0];
    assert_eq!(line.client.as_ref().unwrap().as_str(), "laptop");
    assert_eq!(
        world.send(laptop, &open_for(&[WEB], 100)),
        Reason::UnknownKey
    );
}

#[test]
fn disabling_works_at_once_and_for_that_client_alone() {
    let mut world = World::new();
    world.send(laptop, &open_for(&[WEB], 100));
    world.send(desk, &open_for(&[WEB], 50));
    let mut effects = Vec::new();
    assert!(
        world
            .engine
            .disable(&"laptop".parse().unwrap(), world.now, &mut effects)
    );
    world.obey(effects);
    assert!(world.is_open(HERE, WEB), "the desk's");
    assert_eq!(world.send(laptop, &open_for(&[WEB], 100)), Reason::Disabled);
    world.pass(seconds(51));
    assert!(!world.is_open(HERE, WEB));
    assert!(
        !world
            .engine
            .disable(&"nobody".parse().unwrap(), world.now, &mut Vec::new())
    );
}

#[test]
fn a_service_taken_from_a_client_is_closed_and_the_others_stay() {
    let mut world = World::new();
    world.send(laptop, &open_for(&["tcp/22", WEB], 100));
    world.reload(|config| {
        let laptop = &mut config.clients[1];
        let allow = laptop.allow.iter();
        laptop.allow = allow
            .filter(|name| name.as_str() != "web")
            .cloned()
            .collect();
    });
    assert_eq!(world.kernel.open(), [element(HERE, "tcp/22")]);
}

#[test]
fn a_client_disabled_while_the_kernel_had_not_answered_gets_nothing() {
    let mut world = World::new();
    world.hold = true;
    let packet = world.seal(laptop, &open_for(&[WEB], 100));
    world.receive(HERE, &packet);
    world.reload(|config| config.clients[1].enabled = false);
    world.answer_all();
    assert!(world.kernel.open().is_empty() && world.engine.holders().is_empty());
    assert_eq!(
        world
            .verdicts
            .last()
            .unwrap()
            .client
            .as_ref()
            .unwrap()
            .as_str(),
        "laptop"
    );
}

#[test]
fn a_used_packet_stays_used_when_its_client_is_removed_and_added_again() {
    let mut world = World::new();
    let packet = world.seal(laptop, &open_for(&[WEB], 100));
    world.receive(HERE, &packet);
    let removed = config().clients[1].clone();
    world.reload(|config| drop(config.clients.remove(1)));
    world.reload(|config| config.clients.insert(1, removed));
    assert_eq!(world.receive(THERE, &packet), Some(Reason::Replay));
}

#[test]
fn two_clients_with_one_key_are_refused_by_name() {
    let mut config = config();
    config.clients[0].keys = config.clients[1].keys.clone();
    config.clients.pop();
    let server = std::sync::Arc::new(spa_keys::ServerSecret::from_bytes(SERVER));
    let secrets = spad::clients::ClientSecrets::default();
    let error =
        spad::clients::Clients::build(config.into(), vec![server], secrets, [0; 8]).unwrap_err();
    assert!(error.to_string().contains("desk and laptop"), "{error}");
}
