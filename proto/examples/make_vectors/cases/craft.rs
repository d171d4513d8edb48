//! The vectors' keys, and packets made of any parts, right or wrong.

use sha2::{Digest, Sha256};
use spa_keys::{
    ClientSecret, HeadKeys, KeyId, PacketKeys, PreSharedKey, ServerPublic, ServerSecret, SharedKey,
};

use super::written::{Outcome, PacketCase, Pair, hex};

/// 2027-01-15 08:00:00 UTC.
pub(crate) const NOW: u64 = 1_800_000_000_000_000;
pub(crate) const SKEW: u64 = 60_000_000;

/// Bytes that differ for each label and are the same in each run.
pub(crate) fn bytes(label: &str) -> [u8; 32] {
    Sha256::digest(format!("spa1 test vector: {label}")).into()
}

pub(crate) fn nonce(label: &str) -> [u8; 24] {
    *bytes(label).first_chunk().unwrap()
}

/// Who seals: a client with a key pair, perhaps with a pre-shared key, or with
/// a shared key.
#[derive(Clone, Copy)]
pub(crate) enum Sealer {
    Pair,
    PairAndPreShared,
    Shared,
}

pub(crate) fn server() -> ServerSecret {
    ServerSecret::from_bytes(bytes("server"))
}

pub(crate) fn client() -> ClientSecret {
    ClientSecret::from_bytes(bytes("client"))
}

pub(crate) fn server_pair() -> Pair {
    Pair {
        secret_key: hex(&bytes("server")),
        public_key: hex(server().public().as_bytes()),
    }
}

pub(crate) fn client_pair() -> Pair {
    Pair {
        secret_key: hex(&bytes("client")),
        public_key: hex(client().public().as_bytes()),
    }
}

impl Sealer {
    pub(crate) fn keys(self) -> PacketKeys {
        let (server, client) = (server().public(), client());
        let pair = client.pair_with(&server).unwrap();
        let pre_shared = PreSharedKey::from_bytes(bytes("pre-shared"));
        let public = client.public();
        match self {
            Self::Pair => PacketKeys::from_pair(&server, &pair, &public, None),
            Self::PairAndPreShared => {
                PacketKeys::from_pair(&server, &pair, &public, Some(&pre_shared))
            }
            Self::Shared => {
                PacketKeys::from_shared(&server, &SharedKey::from_bytes(bytes("shared")))
            }
        }
    }

    pub(crate) fn id(self) -> KeyId {
        let server = server().public();
        match self {
            Self::Shared => KeyId::for_shared(&server, &SharedKey::from_bytes(bytes("shared"))),
            _ => KeyId::for_client(&server, &client().public()),
        }
    }
}

/// Parts of a packet; what a vector does not say is right.
#[derive(Clone)]
pub(crate) struct PacketDraft {
    pub(crate) name: String,
    pub(crate) sealer: Sealer,
    pub(crate) server: ServerPublic,
    pub(crate) id: KeyId,
    pub(crate) timestamp: u64,
    pub(crate) plaintext: Vec<u8>,
    /// What the cipher authenticates, where it is not the head.
    pub(crate) associated: Option<Vec<u8>>,
    /// What happens to the sealed part before the HMAC.
    pub(crate) tamper: fn(&mut [u8]),
}

impl PacketDraft {
    pub(crate) fn new(name: &str, plaintext: Vec<u8>) -> Self {
        Self {
            name: name.to_owned(),
            sealer: Sealer::Pair,
            server: server().public(),
            id: Sealer::Pair.id(),
            timestamp: NOW,
            plaintext,
            associated: None,
            tamper: |_| {},
        }
    }

    /// The packet, by docs/protocol.md §5, from the parts.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let (head, keys) = (HeadKeys::new(&self.server), self.sealer.keys());
        let nonce = nonce(&self.name);
        let mut packet = nonce.to_vec();
        let plain = [self.id.to_bytes(), self.timestamp.to_be_bytes()].concat();
        packet.extend(
            plain
                .iter()
                .zip(head.mask(&nonce))
                .map(|(plain, mask)| plain ^ mask),
        );
        packet.extend(head.tag(packet.first_chunk().unwrap()));
        let mut sealed = self.plaintext.clone();
        let associated = self.associated.as_ref().unwrap_or(&packet);
        keys.encrypt(&nonce, associated, &mut sealed).unwrap();
        (self.tamper)(&mut sealed);
        packet.extend(sealed);
        packet.extend(keys.authenticate(&packet));
        packet
    }

    /// The case of this packet, unharmed.
    pub(crate) fn case(&self, about: &str, outcome: Outcome) -> PacketCase {
        let shared = matches!(self.sealer, Sealer::Shared);
        let pre_shared = matches!(self.sealer, Sealer::PairAndPreShared);
        PacketCase {
            name: self.name.clone(),
            about: about.to_owned(),
            server: server_pair(),
            client: (!shared).then(client_pair),
            pre_shared_key: pre_shared.then(|| hex(&bytes("pre-shared"))),
            shared_key: shared.then(|| hex(&bytes("shared"))),
            key_id: hex(&self.sealer.id().to_bytes()),
            nonce: Some(hex(&nonce(&self.name))),
            timestamp: Some(self.timestamp.to_string()),
            plaintext: Some(hex(&self.plaintext)),
            packet: hex(&self.packet()),
            now: NOW.to_string(),
            max_skew_seconds: 60,
            outcome,
            ..PacketCase::default()
        }
    }
}
