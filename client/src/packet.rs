//! Keys, request, time and randomness → datagram. Pure.

use std::num::NonZeroU16;

use spa_keys::{
    ClientSecret, HeadKeys, KeyError, KeyId, PacketKeys, PreSharedKey, ServerPublic, SharedKey,
};
use spa_proto::{
    Addresses, CommandName, Open, Randomness, Request, SealError, Services, Timestamp, seal,
};

/// The keys for one host: everything that packets to it have in common.
pub struct PacketBuilder {
    head: HeadKeys,
    id: KeyId,
    keys: PacketKeys,
}

impl PacketBuilder {
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
            head: HeadKeys::new(server),
            id: KeyId::for_client(server, &public),
            keys: PacketKeys::from_pair(server, &pair, &public, pre_shared),
        })
    }

    /// For a server that holds the same shared key.
    #[must_use]
    pub fn with_shared(server: &ServerPublic, shared: &SharedKey) -> Self {
        Self {
            head: HeadKeys::new(server),
            id: KeyId::for_shared(server, shared),
            keys: PacketKeys::from_shared(server, shared),
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

/// What is asked of a server, but for the addresses: each packet states those anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Open these services; none: the policy's default ones.
    Open {
        /// Which.
        services: Services,
        /// For how many seconds; 0: as the policy says.
        ttl: u32,
        /// Which connections are let in.
        limit: ConnectionLimit,
    },
    /// Withdraw these services; none: all that this client has open.
    Close {
        /// Which.
        services: Services,
    },
    /// Run a command that the server's configuration declares.
    Run {
        /// Its name.
        command: CommandName,
    },
}

/// Which connections a grant lets in. docs/protocol.md has one connection and a
/// source port exclude each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// Any, until its time is over.
    #[default]
    All,
    /// The first one only.
    Once,
    /// Those from this source port.
    FromPort(NonZeroU16),
}

impl RequestKind {
    /// The request, with these addresses stated.
    #[must_use]
    pub fn with_addresses(&self, addresses: Addresses) -> Request {
        match self.clone() {
            Self::Open {
                services,
                ttl,
                limit: admits,
            } => Request::Open(Open {
                once: admits == ConnectionLimit::Once,
                duration: ttl,
                source_port: match admits {
                    ConnectionLimit::FromPort(port) => Some(port),
                    ConnectionLimit::All | ConnectionLimit::Once => None,
                },
                addresses,
                services,
            }),
            Self::Close { services } => Request::Close {
                addresses,
                services,
            },
            Self::Run { command } => Request::Run { command },
        }
    }

    /// The only source port that it asks for.
    #[must_use]
    pub const fn source_port(&self) -> Option<NonZeroU16> {
        match self {
            Self::Open {
                limit: ConnectionLimit::FromPort(port),
                ..
            } => Some(*port),
            _ => None,
        }
    }

    /// Whether each packet counts by itself, so that one more is one too many: a
    /// second connection, or the command a second time.
    #[must_use]
    pub const fn is_single_use(&self) -> bool {
        matches!(
            self,
            Self::Run { .. }
                | Self::Open {
                    limit: ConnectionLimit::Once,
                    ..
                }
        )
    }

    /// Whether its request has room for addresses.
    #[must_use]
    pub const fn states_addresses(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::Close { .. })
    }
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
