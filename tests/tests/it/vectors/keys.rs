//! Text forms and derived keys.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use spa_keys::{
    ClientPublic, ClientSecret, HeadKeys, KeyError, Kind, PreSharedKey, ServerPublic, ServerSecret,
    SharedKey,
};

use crate::vectors::{Outcome, Parties, array, cases};

#[derive(Deserialize)]
pub(crate) struct TextCase {
    pub(crate) expected_prefix: String,
    pub(crate) text: String,
    pub(crate) key: Option<String>,
    pub(crate) outcome: Outcome,
}

/// Reads a text as a key of this kind; gives it as text again.
fn read(kind: Kind, text: &str) -> Result<String, KeyError> {
    Ok(match kind {
        Kind::ServerPublic => text.parse::<ServerPublic>()?.to_string(),
        Kind::ClientPublic => text.parse::<ClientPublic>()?.to_string(),
        Kind::ServerSecret => ServerSecret::from_text(text)?.to_text().to_string(),
        Kind::ClientSecret => ClientSecret::from_text(text)?.to_text().to_string(),
        Kind::Shared => SharedKey::from_text(text)?.to_text().to_string(),
        Kind::PreShared => PreSharedKey::from_text(text)?.to_text().to_string(),
    })
}

/// The text of a key of these bytes.
fn write(kind: Kind, key: [u8; 32]) -> String {
    match kind {
        Kind::ServerPublic => ServerPublic::from_bytes(key).unwrap().to_string(),
        Kind::ClientPublic => ClientPublic::from_bytes(key).unwrap().to_string(),
        Kind::ServerSecret => ServerSecret::from_bytes(key).to_text().to_string(),
        Kind::ClientSecret => ClientSecret::from_bytes(key).to_text().to_string(),
        Kind::Shared => SharedKey::from_bytes(key).to_text().to_string(),
        Kind::PreShared => PreSharedKey::from_bytes(key).to_text().to_string(),
    }
}

#[test]
fn every_key_text_is_read_as_its_vector_says() {
    let mut kinds = BTreeSet::new();
    for (name, case) in cases::<TextCase>("key_text") {
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.prefix() == case.expected_prefix);
        let kind = kind.unwrap();
        match read(kind, &case.text) {
            Ok(text) => {
                assert_eq!(case.outcome, Outcome::ACCEPTED, "{name}");
                assert_eq!(text, write(kind, array(&case.key.unwrap())), "{name}");
                kinds.insert(kind.prefix());
            }
            Err(fault) => {
                assert_eq!(
                    case.outcome,
                    Outcome::refused("text", fault.reason()),
                    "{name}"
                );
            }
        }
    }
    assert_eq!(
        kinds.len(),
        Kind::ALL.len(),
        "a kind of key has no good vector"
    );
}

#[derive(Deserialize)]
struct DerivationCase {
    #[serde(flatten)]
    parties: Parties,
    nonce: Option<String>,
    derived: Option<BTreeMap<String, String>>,
    outcome: Outcome,
}

#[test]
fn every_derived_key_is_as_its_vector_says() {
    for (name, case) in cases::<DerivationCase>("keys") {
        let (id, keys) = match case.parties.keys() {
            Err(fault) => {
                assert_eq!(
                    case.outcome,
                    Outcome::refused("pair", fault.reason()),
                    "{name}"
                );
                continue;
            }
            Ok(derived) => derived,
        };
        assert_eq!(case.outcome, Outcome::ACCEPTED, "{name}");
        let derived = case.derived.unwrap();
        let nonce: [u8; 24] = array(&case.nonce.unwrap());
        let head = HeadKeys::new(&case.parties.server().public());
        assert_eq!(id.to_bytes(), array(&derived["key_id"]), "{name}");
        assert_eq!(head.mask(&nonce), array(&derived["mask"]), "{name}");
        assert_eq!(
            head.tag(&[0; 40]),
            array(&derived["tag_of_40_zero_bytes"]),
            "{name}"
        );
        assert_eq!(
            keys.authenticate(&nonce),
            array(&derived["hmac_of_nonce"]),
            "{name}"
        );
    }
}
