//! Keys, request, time and randomness → datagram. Pure.

use spa_keys::{
    ClientSecret, HeadKeys, KeyError, KeyId, PacketKeys, PreSharedKey, ServerPublic, SharedKey,
};
use spa_proto::{Addresses, Open, Randomness, Request, SealError, Services, Timestamp, seal};

/// The keys for one host: everything that packets to it have in common.
pub struct Knocker {
    head: HeadKeys,
    id: KeyId,
    keys: PacketKeys,
}

impl Knocker {
    /// For a server that knows this machine's public key.
    ///
    /// # Errors
    /// A pair that gives no secret, such as the server's own key.
    pub fn with_identity(
        server: &ServerPublic,
        identity: &ClientSecret,
        pre_shared: Option<&PreSharedKey>,
    ) -> Result<Self, KeyError> {
        let public = identity.public();
        let pair = identity.pair_with(server)?;
        Ok(Self {
            head: HeadKeys::of(server),
            id: KeyId::of_client(server, &public),
            keys: PacketKeys::of_pair(server, &pair, &public, pre_shared),
        })
    }

    /// For a server that holds the same shared key.
    #[must_use]
    pub fn with_shared(server: &ServerPublic, shared: &SharedKey) -> Self {
        Self {
            head: HeadKeys::of(server),
            id: KeyId::of_shared(server, shared),
            keys: PacketKeys::of_shared(server, shared),
        }
    }

    /// The datagram, 160 to 512 bytes. Never with the same randomness twice.
    ///
    /// # Errors
    /// A request that cannot be written down.
    pub fn datagram(
        &self,
        request: &Request,
        now: Timestamp,
        randomness: &Randomness,
    ) -> Result<Vec<u8>, SealError> {
        seal(&self.head, self.id, &self.keys, request, now, randomness)
    }
}

/// The request to open services. `ttl` in seconds, 0: as the policy says.
#[must_use]
pub const fn open(services: Services, ttl: u32, addresses: Addresses) -> Request {
    Request::Open(Open {
        once: false,
        duration: ttl,
        source_port: None,
        addresses,
        services,
    })
}

/// [IO] Fresh randomness for one packet.
///
/// # Errors
/// The operating system has none to give.
pub fn randomness() -> Result<Randomness, KeyError> {
    Ok(Randomness {
        nonce: spa_keys::random_bytes()?,
        length: spa_keys::random_bytes::<1>()?[0],
    })
}
