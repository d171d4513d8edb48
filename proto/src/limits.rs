//! Sizes of the packet and of the request. Each cites its section of
//! docs/protocol.md.

/// The shortest packet, in bytes. §5.1.
pub const MIN_PACKET: usize = 160;
/// The longest packet, in bytes. §5.1.
pub const MAX_PACKET: usize = 512;
/// The nonce. §5.1.
pub const NONCE_LEN: usize = 24;
/// Key id and timestamp under the mask. §5.1.
pub const MASKED_LEN: usize = 16;
/// What the head's tag covers: nonce and masked part. §5.1.
pub const TAGGED_LEN: usize = NONCE_LEN + MASKED_LEN;
/// The head with its tag. §5.1.
pub const HEAD_LEN: usize = TAGGED_LEN + 8;
/// The tag of ChaCha20-Poly1305. §5.1.
pub const CIPHER_TAG_LEN: usize = 16;
/// HMAC-SHA256. §5.1.
pub const HMAC_LEN: usize = 32;
/// What a packet has besides its plaintext. §5.1.
pub const OVERHEAD: usize = HEAD_LEN + CIPHER_TAG_LEN + HMAC_LEN;

/// The layout of the request. §6.1.
pub const VERSION: u8 = 1;
/// At most one IPv4 and one IPv6 address. §6.4.
pub const MAX_ADDRESSES: usize = 2;
/// The most services a request names. §6.5.
pub const MAX_SERVICES: usize = 16;
/// The longest name of a command, in bytes. §6.6.
pub const MAX_COMMAND: usize = 64;
/// The public key of one who joins. §6.7.
pub const JOIN_KEY_LEN: usize = 32;
