//! The keys that the targets share, and a replay cache of one packet's life.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use spa_keys::{ClientSecret, HeadKeys, KeyId, PacketKeys, ServerSecret};
use spa_proto::{Record, Timestamp};

/// One server and one of its clients.
pub struct Fixture {
    pub head: HeadKeys,
    pub id: KeyId,
    pub keys: PacketKeys,
}

/// Always the same keys, so that a corpus means the same in every run.
pub static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let server = ServerSecret::from_bytes([1; 32]).public();
    let client = ClientSecret::from_bytes([2; 32]);
    let pair = client.pair_with(&server).expect("two different keys");
    Fixture {
        head: HeadKeys::new(&server),
        id: KeyId::for_client(&server, &client.public()),
        keys: PacketKeys::from_pair(&server, &pair, &client.public(), None),
    }
});

/// Remembers nonces; no floors.
#[derive(Default)]
pub struct Seen(BTreeSet<(KeyId, [u8; 24])>);

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
