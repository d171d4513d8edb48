//! The main story, and each way in which it must not go.

use std::net::SocketAddr;

use spa_proto::{Addresses, Open, Request};
use spad_engine::audit::event::Event;
use spad_model::{Carrier, Datagram, FirewallError, FrameFault, Reason};
use spad_replay::JournalRecord;

use crate::engine::world::*;

#[test]
fn a_packet_opens_what_it_asks_for_and_time_closes_it() {
    let mut harness = EngineHarness::new();
    assert_eq!(
        harness.send(laptop, &open_for(&["tcp/22"], 0)),
        Reason::Opened
    );
    assert_eq!(harness.kernel.open(), [element(HERE, "tcp/22")]);
    let line = harness.audited(Event::Grant)[0];
    assert_eq!(line.client.as_ref().unwrap().as_str(), "laptop");
    assert_eq!(line.service.as_ref().unwrap().as_str(), "ssh");
    assert_eq!(
        (line.ttl, line.granted_to),
        (Some(seconds(30)), Some(ip(HERE).into()))
    );
    let rows = harness.engine.grants(harness.now);
    assert_eq!((rows.len(), rows[0].remaining), (1, seconds(30)));

    harness.advance(seconds(29));
    assert!(harness.is_open(HERE, "tcp/22"));
    harness.advance(seconds(1));
    assert!(!harness.is_open(HERE, "tcp/22"));
    assert_eq!(harness.audited(Event::Expire).len(), 1);
    assert!(harness.engine.grants(harness.now).is_empty());
    assert_eq!(
        harness.kernel.transactions, 1,
        "the kernel closes by itself"
    );
    assert!(matches!(
        harness.journal.last(),
        Some(JournalRecord::HolderRemoved(_))
    ));
}

#[test]
fn the_nonce_is_in_the_journal_before_the_firewall_changes() {
    let mut harness = EngineHarness::new();
    harness.hold_answers = true;
    let packet = harness.seal(laptop, &open_for(&["tcp/22"], 0));
    assert_eq!(harness.receive(HERE, &packet), None);
    assert!(matches!(harness.journal[..], [JournalRecord::Nonce { .. }]));
    assert!(
        harness.engine.grants(harness.now).is_empty(),
        "not granted before the kernel says so"
    );
    assert!(harness.audit.is_empty());
    harness.answer_all();
    assert!(matches!(harness.journal[..], [_, JournalRecord::Holder(_)]));
    assert_eq!(harness.engine.holders().len(), 1);
}

#[test]
fn a_shared_key_opens_like_a_key_pair() {
    let mut harness = EngineHarness::new();
    assert_eq!(
        harness.send(phone, &open_for(&["udp/9999"], 0)),
        Reason::Opened
    );
    assert_eq!(harness.kernel.open(), [element(HERE, "udp/9999")]);
}

#[test]
fn who_names_nothing_gets_all_that_is_allowed_and_nothing_else() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[], 0));
    let open: Vec<String> = harness
        .kernel
        .open()
        .iter()
        .map(|e| e.service.to_string())
        .collect();
    assert_eq!(open, ["tcp/22", "tcp/8080", "udp/9999"]);
}

#[test]
fn stated_addresses_alone_receive_the_grant() {
    let mut harness = EngineHarness::new();
    let stated = Addresses::new(
        Some("203.0.113.9".parse().unwrap()),
        Some("2001:db8::9".parse().unwrap()),
    );
    let requested = Open {
        addresses: stated.unwrap(),
        ..open(&["tcp/22"])
    };
    assert_eq!(
        harness.send(laptop, &Request::Open(requested)),
        Reason::Opened
    );
    assert_eq!(
        harness.kernel.open(),
        [
            element("203.0.113.9", "tcp/22"),
            element("2001:db8::9", "tcp/22")
        ]
    );
}

#[test]
fn once_and_source_port_reach_the_kernel_as_they_were_asked() {
    let mut harness = EngineHarness::new();
    harness.send(
        laptop,
        &Request::Open(Open {
            once: true,
            ..open(&["tcp/22"])
        }),
    );
    harness.send(
        laptop,
        &Request::Open(Open {
            source_port: 5000.try_into().ok(),
            ..open(&["tcp/22"])
        }),
    );
    let open = harness.kernel.open();
    assert_eq!(open.len(), 2);
    assert!(open.iter().any(|e| e.once && e.source_port.is_none()));
    assert!(open.iter().any(|e| !e.once && e.source_port.is_some()));
}

#[test]
fn the_same_packet_never_opens_twice_from_anywhere() {
    let mut harness = EngineHarness::new();
    let packet = harness.seal(laptop, &open_for(&["tcp/22"], 1));
    assert_eq!(harness.receive(HERE, &packet), Some(Reason::Opened));
    assert_eq!(
        harness.receive(HERE, &packet),
        Some(Reason::Duplicate),
        "the network doubled it"
    );
    assert_eq!(harness.receive(THERE, &packet), Some(Reason::Replay));
    harness.advance(seconds(2));
    assert_eq!(harness.receive(HERE, &packet), Some(Reason::Replay));
    assert_eq!(harness.receive(THERE, &packet), Some(Reason::Replay));
    assert!(harness.kernel.open().is_empty());
}

#[test]
fn a_captured_head_with_another_body_is_refused_and_leaves_the_packet_alone() {
    let mut harness = EngineHarness::new();
    let mut packet = harness.seal(laptop, &open_for(&["tcp/22"], 0));
    *packet.last_mut().unwrap() ^= 1;
    assert_eq!(harness.receive(THERE, &packet), Some(Reason::Hmac));
    assert!(
        harness.journal.is_empty(),
        "nothing is remembered of what is not authentic"
    );
    *packet.last_mut().unwrap() ^= 1;
    assert_eq!(
        harness.receive(HERE, &packet),
        Some(Reason::Opened),
        "its owner is not locked out"
    );
}

#[test]
fn every_flipped_bit_is_refused_and_has_no_effect() {
    let mut harness = EngineHarness::new();
    let mut packet = harness.seal(laptop, &open_for(&["tcp/22"], 0));
    for bit in 0..packet.len() * 8 {
        packet[bit / 8] ^= 1 << (bit % 8);
        let reason = harness.receive(HERE, &packet).unwrap();
        assert!(
            [Reason::HeadTag, Reason::Hmac].contains(&reason),
            "{reason:?} at bit {bit}"
        );
        packet[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(
        harness.journal.is_empty()
            && harness.audit.is_empty()
            && harness.kernel.elements.is_empty()
    );
    assert_eq!(harness.receive(HERE, &packet), Some(Reason::Opened));
}

#[test]
fn a_stranger_is_only_counted_and_summed_up_once_a_minute() {
    let mut harness = EngineHarness::new();
    let stranger = TestClient::pair([9; 32]);
    let elsewhere = TestClient::pair_at([8; 32], [2; 32]);
    for (peer, expected) in [
        (&stranger, Reason::UnknownKey),
        (&elsewhere, Reason::HeadTag),
    ] {
        for _ in 0..5 {
            let randomness = harness.randomness();
            let request = open_for(&["tcp/22"], 0);
            let packet = spa_proto::seal(
                &peer.head,
                peer.id,
                &peer.keys,
                &request,
                harness.now.wall,
                &randomness,
            )
            .unwrap();
            assert_eq!(harness.receive(THERE, &packet), Some(expected));
        }
    }
    assert_eq!(harness.receive(THERE, &[0; 159]), Some(Reason::Length));
    assert_eq!(harness.receive(THERE, &[0; 513]), Some(Reason::Length));
    assert!(harness.audit.is_empty());
    harness.advance(seconds(600));
    let noise = harness.audited(Event::Noise);
    assert_eq!(noise.len(), 1, "only when there was any");
    assert_eq!(
        noise[0].counts,
        [("length", 2), ("head_tag", 5), ("unknown_key", 5)]
    );
}

#[test]
fn frames_that_hold_no_datagram_are_counted_by_their_fault() {
    let mut harness = EngineHarness::new();
    harness.engine.count_frame_fault(FrameFault::Fragment);
    harness.engine.count_frame_fault(FrameFault::Fragment);
    assert_eq!(harness.engine.counters().get(Reason::Frame), 2);
    assert_eq!(
        harness.engine.counters().frames().collect::<Vec<_>>(),
        [(FrameFault::Fragment, 2)]
    );
}

#[test]
fn a_forged_packet_leaves_effects_untouched() {
    let mut harness = EngineHarness::new();
    let source: SocketAddr = "192.0.2.1:1".parse().unwrap();
    let mut effects = Vec::new();
    harness.engine.on_datagram(
        &Datagram::new(Carrier::Udp, source, source, 1, &[7; 200]).unwrap(),
        harness.now,
        &mut effects,
    );
    assert_eq!(effects.capacity(), 0);
}

#[test]
fn two_server_keys_are_served_at_once() {
    let config = std::sync::Arc::new(config());
    let servers =
        [SERVER, [8; 32]].map(|key| std::sync::Arc::new(spa_keys::ServerSecret::from_bytes(key)));
    let secrets = spad_engine::clients::ClientSecrets {
        shared: [(
            "phone".parse().unwrap(),
            spa_keys::SharedKey::from_bytes([4; 32]),
        )]
        .into_iter()
        .collect(),
        ..Default::default()
    };
    let clients =
        spad_engine::clients::Clients::build(config, servers.to_vec(), secrets, [0; 8]).unwrap();
    let mut harness = EngineHarness::new();
    let mut effects = Vec::new();
    let _ = harness.engine.reload(clients, harness.now, &mut effects);
    assert_eq!(
        harness.send(laptop, &open_for(&["tcp/22"], 0)),
        Reason::Opened
    );
    harness.laptop = TestClient::pair_at([8; 32], [2; 32]);
    assert_eq!(
        harness.send(laptop, &close(&[])),
        Reason::Closed,
        "one client, whichever key it used"
    );
    assert!(harness.kernel.open().is_empty());
}

#[test]
fn what_the_kernel_refuses_is_not_granted() {
    for (refusal, reason) in [
        (FirewallError::SetFull, Reason::FirewallSetFull),
        (FirewallError::TableMissing, Reason::FirewallTableMissing),
        (FirewallError::NotDeclared, Reason::FirewallNotDeclared),
        (FirewallError::TooLong, Reason::FirewallLimit),
        (FirewallError::Kernel(22), Reason::FirewallKernel),
    ] {
        let mut harness = EngineHarness::new();
        harness.kernel.refuse = Some(refusal);
        assert_eq!(harness.send(laptop, &open_for(&["tcp/22"], 0)), reason);
        assert!(harness.engine.grants(harness.now).is_empty());
        assert!(harness.engine.holders().is_empty());
        assert!(harness.audited(Event::Grant).is_empty());
        assert_eq!(harness.audited(Event::Refuse)[0].reason, Some(reason));
    }
}

#[test]
fn a_packet_whose_record_cannot_be_written_is_refused_for_that() {
    let mut harness = EngineHarness::new();
    harness.hold_answers = true;
    let packet = harness.seal(laptop, &open_for(&["tcp/22"], 0));
    harness.receive(HERE, &packet);
    let change = harness.pending_changes.pop().unwrap();
    let mut effects = Vec::new();
    let verdict = harness
        .engine
        .abort_change(
            change.id,
            Reason::StateUnwritable,
            harness.now,
            &mut effects,
        )
        .unwrap();
    assert_eq!(verdict.reason, Reason::StateUnwritable);
    harness.verdicts.push(verdict);
    assert!(harness.engine.grants(harness.now).is_empty());
    harness.hold_answers = false;
    assert_eq!(harness.receive(THERE, &packet), Some(Reason::Replay));
}

#[test]
fn a_close_with_one_key_of_a_client_withdraws_what_its_other_key_opened() {
    let mut harness = EngineHarness::with(|config| {
        let desk = config.clients.remove(0);
        config.clients[0].keys.extend(desk.keys);
    });
    let request = open_for(&["tcp/22"], 0);
    let keys: [fn(&EngineHarness) -> &TestClient; 2] = [laptop, desk];
    for (one, other) in [(keys[0], keys[1]), (keys[1], keys[0])] {
        assert_eq!(harness.send(one, &request), Reason::Opened);
        assert_eq!(harness.send(phone, &close(&["tcp/22"])), Reason::Closed);
        assert!(harness.is_open(HERE, "tcp/22"), "another client's");
        assert_eq!(harness.send(other, &close(&["tcp/22"])), Reason::Closed);
        assert!(!harness.is_open(HERE, "tcp/22"));
        harness.advance(seconds(1));
    }
}
