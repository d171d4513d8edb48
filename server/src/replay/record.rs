//! One record of the journal: 64 bytes with a check value; pure.
//!
//! Takes records or bytes, gives bytes or records; never touches a file.
//! docs/protocol.md §8.
//!
//! ```text
//! byte 0        kind
//! bytes 1-3     zero
//! bytes 4-7     generation of the journal, big-endian
//! bytes 8-59    fields, big-endian; what the kind does not use is zero
//! bytes 60-63   CRC-32 of bytes 0-59, big-endian
//! ```
//! 64 zero bytes are a slot that was never written.

use std::net::IpAddr;
use std::num::NonZeroU16;

use spa_keys::KeyId;
use spa_proto::{Service, Timestamp};

use crate::clock::BootTime;
use crate::config::DoorId;

/// What the journal keeps for the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalRecord {
    /// This packet is used up.
    Nonce {
        /// Whose packet.
        id: KeyId,
        /// Its nonce.
        nonce: [u8; 24],
        /// Its time.
        timestamp: Timestamp,
    },
    /// No packet of this client up to this time is accepted any more.
    Floor {
        /// Whose floor.
        id: KeyId,
        /// The floor.
        timestamp: Timestamp,
    },
    /// No packet of anyone up to this time is accepted any more.
    BaseFloor {
        /// The floor.
        timestamp: Timestamp,
    },
    /// This client closed this service; no older packet opens it.
    LastClose {
        /// Whose grant.
        id: KeyId,
        /// Which service.
        service: Service,
        /// The closing packet's time.
        timestamp: Timestamp,
    },
    /// This client holds this grant.
    Holder(Holder),
    /// It holds it no longer.
    HolderGone(HolderKey),
    /// Hooks are told of this grant: the close hook is owed, whatever happens. Unlike a
    /// holder it counts in every later boot.
    HookOwed(HolderKey),
    /// The close hook was told.
    HookDone(HolderKey),
}

/// Who holds which grant until when; true only within one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who, and what.
    pub key: HolderKey,
    /// When the kernel closes it.
    pub ends: BootTime,
}

/// Who holds a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeldBy {
    /// A client, by one of its keys.
    Client(KeyId),
    /// The administrator, by hand.
    Administrator,
    /// Whoever knocked at this door.
    Door(DoorId),
}

impl HeldBy {
    /// The client's key, where it is a client.
    #[must_use]
    pub const fn client(self) -> Option<KeyId> {
        match self {
            Self::Client(id) => Some(id),
            Self::Administrator | Self::Door(_) => None,
        }
    }
}

/// One grant of one holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HolderKey {
    /// Who.
    pub by: HeldBy,
    /// From where it may connect; of a network, the first address.
    pub address: IpAddr,
    /// The network's length; none is the one address.
    pub prefix: Option<u8>,
    /// To what.
    pub service: Service,
    /// The only source port it may use; `None` is any.
    pub source_port: Option<NonZeroU16>,
    /// For one connection only.
    pub once: bool,
}

/// Everything a slot can say: records, and what the journal says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// First slot of a file: from here on this file counts.
    Header {
        /// The boot in which it was begun.
        boot_id: [u8; 16],
        /// Entries written before the header was.
        count: u32,
    },
    /// Some record could not be written: do not trust what is here to be all.
    Incomplete,
    /// The clean mark: the journal was whole and on the disk at this length.
    Clean {
        /// Entries in the journal.
        count: u32,
    },
    /// A slot of the horizon. No packet with a later timestamp was accepted.
    Horizon {
        /// The larger is the newer.
        sequence: u64,
        /// The horizon.
        timestamp: Timestamp,
        /// The journal is incomplete, or this horizon was once not written.
        incomplete: bool,
    },
    /// In the run directory: the disk could not be written in this boot.
    Memory {
        /// Which boot.
        boot_id: [u8; 16],
        /// The horizon that the disk does not hold.
        timestamp: Timestamp,
    },
    /// A record.
    Record(JournalRecord),
}
