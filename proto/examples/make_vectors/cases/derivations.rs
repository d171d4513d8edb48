//! Keys and what is derived from them, computed from docs/protocol.md §4 a
//! second time and held against the library.

use hkdf::Hkdf;
use sha2::Sha256;
use spa_keys::HeadKeys;
use x25519_dalek::x25519;

use super::craft::{Sealer, bytes, client, client_pair, nonce, server, server_pair};
use super::written::{DerivationCase, Derived, Outcome, hex};

fn hkdf<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    Hkdf::<Sha256>::new(Some(salt), secret)
        .expand(info, &mut out)
        .unwrap();
    out
}

fn derive(sealer: Sealer, nonce: &[u8; 24]) -> Derived {
    let server = server().public();
    let pair_secret = x25519(bytes("client"), *server.as_bytes());
    let name: [u8; 32] = hkdf(b"", &bytes("shared"), b"spa1 shared key name");
    let public = *client().public().as_bytes();
    let (id_from, secret) = match sealer {
        Sealer::Pair => (public, [pair_secret, public].concat()),
        Sealer::PairAndPreShared => (public, [pair_secret, public, bytes("pre-shared")].concat()),
        Sealer::Shared => (name, bytes("shared").to_vec()),
    };
    let key_id: [u8; 8] = hkdf(server.as_bytes(), &id_from, b"spa1 key id");
    assert_eq!(key_id, sealer.id().to_bytes());
    let head: [u8; 32] = hkdf(b"spa1", server.as_bytes(), b"spa1 head");
    let (prk, _) = Hkdf::<Sha256>::extract(Some(server.as_bytes()), &secret);
    let encryption = [b"spa1 encryption", nonce.as_slice()].concat();
    let shared = matches!(sealer, Sealer::Shared);
    Derived {
        pair_secret: (!shared).then(|| hex(&pair_secret)),
        shared_key_name: shared.then(|| hex(&name)),
        key_id: hex(&key_id),
        mask_key: hex(&head[..16]),
        tag_key: hex(&head[16..]),
        prk: hex(&prk),
        encryption_key: hex(&hkdf::<32>(server.as_bytes(), &secret, &encryption)),
        authentication_key: hex(&hkdf::<32>(
            server.as_bytes(),
            &secret,
            b"spa1 authentication",
        )),
        mask: hex(&HeadKeys::new(&server).mask(nonce)),
        tag_of_40_zero_bytes: hex(&HeadKeys::new(&server).tag(&[0; 40])),
        hmac_of_nonce: hex(&sealer.keys().authenticate(nonce)),
    }
}

pub(crate) fn all() -> Vec<(String, DerivationCase)> {
    let case = |name: &str, about: &str, sealer: Sealer| {
        let shared = matches!(sealer, Sealer::Shared);
        let pre_shared = matches!(sealer, Sealer::PairAndPreShared);
        let nonce = nonce(name);
        let case = DerivationCase {
            about: about.to_owned(),
            server: server_pair(),
            client: (!shared).then(client_pair),
            pre_shared_key: pre_shared.then(|| hex(&bytes("pre-shared"))),
            shared_key: shared.then(|| hex(&bytes("shared"))),
            nonce: Some(hex(&nonce)),
            derived: Some(derive(sealer, &nonce)),
            outcome: Outcome::ACCEPTED,
        };
        (name.to_owned(), case)
    };
    let same = DerivationCase {
        about: "A client whose public key is the server's own.".to_owned(),
        server: server_pair(),
        client: Some(server_pair()),
        outcome: Outcome::refused("pair", "same_as_server"),
        ..DerivationCase::default()
    };
    vec![
        ("refuse_same_as_server".to_owned(), same),
        case("pair", "A client with a key pair.", Sealer::Pair),
        case(
            "pair_with_pre_shared_key",
            "A client with a key pair and a pre-shared key.",
            Sealer::PairAndPreShared,
        ),
        case("shared_key", "A client with a shared key.", Sealer::Shared),
    ]
}
