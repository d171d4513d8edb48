//! A packet's way from seal to open, and every way off it.

use std::collections::BTreeSet;

use spa_keys::{ClientSecret, HeadKeys, KeyId, PacketKeys, ServerSecret, SharedKey};
use spa_proto::{
    IdentifyError, NotAuthentic, Open, Randomness, Record, Request, Timestamp, identify, seal,
};

#[derive(Default)]
struct Seen(BTreeSet<(KeyId, [u8; 24])>);

impl Record for Seen {
    type Refusal = ();
    fn record(&mut self, id: KeyId, nonce: &[u8; 24], _: Timestamp) -> Result<(), ()> {
        if self.0.insert((id, *nonce)) {
            Ok(())
        } else {
            Err(())
        }
    }
}

fn keys() -> (HeadKeys, KeyId, PacketKeys) {
    let server = ServerSecret::from_bytes([1; 32]);
    let client = ClientSecret::from_bytes([2; 32]);
    let at_client = client.pair_with(&server.public()).unwrap();
    let at_server = server.pair_with(&client.public()).unwrap();
    assert_eq!(at_client, at_server);
    (
        HeadKeys::new(&server.public()),
        KeyId::for_client(&server.public(), &client.public()),
        PacketKeys::from_pair(&server.public(), &at_client, &client.public(), None),
    )
}

fn packet() -> Vec<u8> {
    let (head, id, keys) = keys();
    let randomness = Randomness {
        nonce: [7; 24],
        length: 3,
    };
    let request = Request::Open(Open::default());
    seal(
        &head,
        id,
        &keys,
        &request,
        Timestamp::from_micros(5),
        &randomness,
    )
    .unwrap()
}

#[test]
fn a_sealed_packet_is_identified_authenticated_recorded_and_opened_once() {
    let (head, id, keys) = keys();
    let packet = packet();
    assert_eq!(packet.len(), 163);
    let identified = identify(&head, &packet).unwrap();
    assert_eq!(identified.key_id(), id);
    assert_eq!(identified.timestamp(), Timestamp::from_micros(5));
    assert_eq!(identified.nonce(), &[7; 24]);
    let mut seen = Seen::default();
    let recorded = identified
        .authenticate(&keys)
        .unwrap()
        .record(&mut seen)
        .unwrap();
    let opened = recorded.open(&keys).unwrap();
    assert_eq!(opened.request(), &Request::Open(Open::default()));

    let again = identify(&head, &packet)
        .unwrap()
        .authenticate(&keys)
        .unwrap();
    assert!(again.record(&mut seen).is_err());
}

#[test]
fn every_single_flipped_bit_of_a_packet_is_refused() {
    let (head, _, keys) = keys();
    let packet = packet();
    for byte in 0..packet.len() {
        for bit in 0..8 {
            let mut flipped = packet.clone();
            flipped[byte] ^= 1 << bit;
            match identify(&head, &flipped) {
                Err(fault) => {
                    assert_eq!(fault, IdentifyError::HeadTag);
                    assert!(byte < 48, "byte {byte} is not of the head");
                }
                Ok(identified) => {
                    assert!(byte >= 48, "byte {byte} of the head was flipped");
                    assert_eq!(identified.authenticate(&keys).unwrap_err(), NotAuthentic);
                }
            }
        }
    }
}

#[test]
fn a_packet_for_another_server_or_of_another_client_is_refused() {
    let (head, _, _) = keys();
    let packet = packet();
    let other = ServerSecret::from_bytes([9; 32]).public();
    assert_eq!(
        identify(&HeadKeys::new(&other), &packet).unwrap_err(),
        IdentifyError::HeadTag
    );
    let server = ServerSecret::from_bytes([1; 32]).public();
    let stranger = PacketKeys::from_shared(&server, &SharedKey::from_bytes([3; 32]));
    let identified = identify(&head, &packet).unwrap();
    assert_eq!(
        identified.authenticate(&stranger).unwrap_err(),
        NotAuthentic
    );
}
