//! What the journal keeps, as types; pure. Their bytes: [`super::encoding`].
//!
//! Takes records or bytes, gives bytes or records; never touches a file.
//! docs/protocol.md §8.

use std::net::IpAddr;
use std::num::NonZeroU16;

use spa_keys::KeyId;
use spa_proto::{Service, Timestamp};

use super::horizon_file::SlotId;
use super::proof::Proof;
use spad_model::BootTime;
use spad_model::DoorId;
use spad_model::Element;

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
    Holder(HolderRecord),
    /// It holds it no longer.
    HolderRemoved(HolderKey),
    /// Hooks are told of this grant: the close hook is owed, whatever happens. Unlike a
    /// holder it counts in every later boot.
    HookPending(HolderKey),
    /// The close hook was told.
    HookDone(HolderKey),
    /// So many one-time sequences are used, by a file of their own: it must not hold fewer.
    OneTime {
        /// Records of that file.
        count: u32,
        /// The sum over them.
        sum: u64,
    },
}

/// Who holds which grant until when; true only within one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderRecord {
    /// Who, and what.
    pub key: HolderKey,
    /// When the kernel closes it.
    pub ends: BootTime,
}

/// Who holds a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A client, by one of its keys.
    Client(KeyId),
    /// The administrator, by hand.
    Admin,
    /// Whoever knocked at this door.
    Door(DoorId),
}

impl Holder {
    /// The client's key, where it is a client.
    #[must_use]
    pub const fn client(self) -> Option<KeyId> {
        match self {
            Self::Client(id) => Some(id),
            Self::Admin | Self::Door(_) => None,
        }
    }
}

/// One grant of one holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HolderKey {
    /// Who.
    pub holder: Holder,
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

impl HolderKey {
    /// What is held.
    #[must_use]
    pub const fn element(&self) -> Element {
        Element {
            address: self.address,
            prefix: self.prefix,
            service: self.service,
            source_port: self.source_port,
            once: self.once,
        }
    }
}

/// Everything a slot can say: records, and what the journal says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalEntry {
    /// First slot of a file: from here on this file counts.
    Header {
        /// The boot in which it was begun.
        boot_id: [u8; 16],
        /// Records written before the header was.
        count: u32,
        /// The sum over them.
        sum: u64,
        /// Slots of the file; it may be longer by zeros.
        slots: u32,
    },
    /// Some record could not be written: do not trust what is here to be all.
    Incomplete,
    /// The clean mark: the journal was whole and on the disk at this length.
    Clean {
        /// Records in the journal.
        count: u32,
        /// The sum over them.
        sum: u64,
        /// Slots of its file; it may be longer by zeros.
        slots: u32,
        /// The largest generation that either of the journal's files may show.
        max_generation: u32,
        /// The horizon beside it.
        horizon: SlotId,
    },
    /// In the run directory: how far the journal goes in this boot.
    Proof {
        /// Which boot.
        boot_id: [u8; 16],
        /// What it says.
        proof: Proof,
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
    /// In the run directory: the horizon, whatever the disk holds.
    Memory {
        /// Which boot.
        boot_id: [u8; 16],
        /// The horizon.
        timestamp: Timestamp,
        /// The disk could not be written, so it may not hold it.
        disk_failed: bool,
    },
    /// A record.
    Record(JournalRecord),
}
