//! Key pairs: what is refused, what both sides agree on, what is never shown.

use spa_keys::{
    ClientPublic, ClientSecret, HeadKeys, KeyError, KeyId, PacketKeys, PreSharedKey, ServerPublic,
    ServerSecret, SharedKey,
};
use x25519_dalek::x25519;

/// p = 2^255 − 19, little-endian, plus a small number.
fn p_plus(offset: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xed_u8.wrapping_add(offset);
    bytes[31] = 0x7f;
    bytes
}

fn bytes(hex: &str) -> [u8; 32] {
    assert_eq!(hex.len(), 64);
    std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
}

#[test]
fn public_keys_that_are_not_canonical_are_refused() {
    for offset in 0..=18 {
        let bytes = p_plus(offset);
        assert_eq!(ClientPublic::from_bytes(bytes), Err(KeyError::NotCanonical));
        assert_eq!(ServerPublic::from_bytes(bytes), Err(KeyError::NotCanonical));
    }
    let mut high = *ClientSecret::from_bytes([5; 32]).public().as_bytes();
    high[31] |= 0x80;
    assert_eq!(ClientPublic::from_bytes(high), Err(KeyError::NotCanonical));
    let mut largest = p_plus(0);
    largest[0] = 0xeb; // p − 2
    assert!(ClientPublic::from_bytes(largest).is_ok());
}

#[test]
fn exactly_the_points_that_x25519_turns_into_zeros_are_of_small_order() {
    let refused = |bytes| ClientPublic::from_bytes(bytes) == Err(KeyError::SmallOrder);
    let mut minus_one = p_plus(0);
    minus_one[0] = 0xec;
    let mut one = [0; 32];
    one[0] = 1;
    let order_eight = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ];
    let order_eight = order_eight.map(bytes);
    for point in [[0; 32], one, minus_one, order_eight[0], order_eight[1]] {
        assert!(refused(point));
        assert_eq!(x25519([0x42; 32], point), [0; 32]);
    }
    // Every small number and its negative: refused exactly where X25519 gives zeros.
    for number in 0..=200_u8 {
        let mut small = [0; 32];
        small[0] = number;
        let mut negative = p_plus(0);
        negative[0] = 0xed_u8.saturating_sub(number.max(1));
        for point in [small, negative] {
            assert_eq!(refused(point), x25519([0x42; 32], point) == [0; 32]);
        }
    }
}

#[test]
fn the_pair_of_rfc_7748_gives_its_public_keys_and_one_secret_on_both_sides() {
    // Section 6.1 of the RFC.
    let alice = bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let alice_public = bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    let bob_public = bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    let shared = bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!(x25519(alice, bob_public), shared);
    let server = ServerSecret::from_bytes(alice);
    let client = ClientSecret::from_bytes(bob);
    assert_eq!(server.public().as_bytes(), &alice_public);
    assert_eq!(client.public().as_bytes(), &bob_public);
    let at_server = server.pair_with(&client.public()).unwrap();
    assert_eq!(at_server, client.pair_with(&server.public()).unwrap());
}

#[test]
fn a_client_with_the_servers_own_key_is_refused() {
    let server = ServerSecret::from_bytes([1; 32]);
    let same = ClientPublic::from_bytes(*server.public().as_bytes()).unwrap();
    assert_eq!(server.pair_with(&same).unwrap_err(), KeyError::SameAsServer);
    assert_eq!(
        same.check_for(&server.public()),
        Err(KeyError::SameAsServer)
    );
    let client = ClientSecret::from_bytes([1; 32]);
    assert_eq!(
        client.pair_with(&server.public()).unwrap_err(),
        KeyError::SameAsServer
    );
}

#[test]
fn another_server_client_or_pre_shared_key_gives_other_keys() {
    let server = ServerSecret::from_bytes([1; 32]);
    let other_server = ServerSecret::from_bytes([2; 32]);
    let client = ClientSecret::from_bytes([3; 32]);
    let pair = server.pair_with(&client.public()).unwrap();
    let public = client.public();
    let psk = PreSharedKey::from_bytes([4; 32]);
    let zero_psk = PreSharedKey::from_bytes([0; 32]);
    let shared = SharedKey::from_bytes([5; 32]);
    let codes = [
        PacketKeys::from_pair(&server.public(), &pair, &public, None),
        PacketKeys::from_pair(&other_server.public(), &pair, &public, None),
        PacketKeys::from_pair(&server.public(), &pair, &public, Some(&psk)),
        PacketKeys::from_pair(&server.public(), &pair, &public, Some(&zero_psk)),
        PacketKeys::from_shared(&server.public(), &shared),
        PacketKeys::from_shared(&other_server.public(), &shared),
    ]
    .map(|keys| keys.authenticate(b"packet"));
    for (i, code) in codes.iter().enumerate() {
        assert!(!codes[..i].contains(code), "{i} is the same as another");
    }
    let ids = [
        KeyId::for_client(&server.public(), &public),
        KeyId::for_client(&other_server.public(), &public),
        shared.key_id(&server.public()),
        shared.key_id(&other_server.public()),
    ];
    for (i, id) in ids.iter().enumerate() {
        assert!(!ids[..i].contains(id), "{i} is the same as another");
    }
}

#[test]
fn what_is_encrypted_comes_back_only_with_the_same_nonce_head_and_key() {
    let server = ServerSecret::from_bytes([1; 32]).public();
    let keys = PacketKeys::from_shared(&server, &SharedKey::from_bytes([5; 32]));
    let other = PacketKeys::from_shared(&server, &SharedKey::from_bytes([6; 32]));
    let mut sealed = b"request".to_vec();
    keys.encrypt(&[1; 24], b"head", &mut sealed).unwrap();
    assert_eq!(sealed.len(), 7 + 16);
    assert_eq!(
        keys.decrypt(&[1; 24], b"head", &sealed).unwrap().as_slice(),
        b"request"
    );
    assert!(keys.decrypt(&[2; 24], b"head", &sealed).is_none());
    assert!(keys.decrypt(&[1; 24], b"hEad", &sealed).is_none());
    assert!(other.decrypt(&[1; 24], b"head", &sealed).is_none());
    assert!(keys.decrypt(&[1; 24], b"head", &sealed[..15]).is_none());
}

#[test]
fn no_secret_is_shown_by_debug() {
    let server = ServerSecret::from_bytes([0x41; 32]);
    let client = ClientSecret::from_bytes([0x42; 32]);
    let pair = server.pair_with(&client.public()).unwrap();
    let shared = SharedKey::from_bytes([0x41; 32]);
    let keys = PacketKeys::from_shared(&server.public(), &shared);
    let shown = format!(
        "{server:?} {client:?} {pair:?} {shared:?} {:?} {keys:?} {:?}",
        PreSharedKey::from_bytes([0x41; 32]),
        HeadKeys::new(&server.public()),
    );
    assert_eq!(
        shown,
        "ServerSecret([secret]) ClientSecret([secret]) PairSecret([secret]) \
         SharedKey([secret]) PreSharedKey([secret]) PacketKeys([secret]) HeadKeys([secret])"
    );
}

#[test]
fn a_hundred_thousand_clients_packet_keys_fit_in_twelve_megabytes() {
    assert!(
        size_of::<PacketKeys>() <= 112,
        "{}",
        size_of::<PacketKeys>()
    );
}

#[test]
fn generated_keys_differ() {
    assert_ne!(
        ServerSecret::generate().unwrap(),
        ServerSecret::generate().unwrap()
    );
    assert_ne!(
        SharedKey::generate().unwrap(),
        SharedKey::generate().unwrap()
    );
}
