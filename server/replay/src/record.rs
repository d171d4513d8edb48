//! The journal's contents as types; pure. Their bytes: [`super::encoding`].
//!
//! Never touches a file.
//! docs/protocol.md §8.

use std::net::IpAddr;
use std::num::NonZeroU16;

use spa_keys::KeyId;
use spa_proto::{Service, Timestamp};
use spad_model::{BootTime, DoorId, Element};

use super::horizon_file::SlotId;
use super::proof::Proof;

/// A record that the journal stores for the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalRecord {
    /// This packet is used.
    Nonce {
        /// The client's key id.
        id: KeyId,
        /// The packet's nonce.
        nonce: [u8; 24],
        /// The packet's timestamp.
        timestamp: Timestamp,
    },
    /// No packet of this client up to this time is accepted.
    Floor {
        /// The client's key id.
        id: KeyId,
        /// The floor.
        timestamp: Timestamp,
    },
    /// No packet of any client up to this time is accepted.
    BaseFloor {
        /// The floor.
        timestamp: Timestamp,
    },
    /// This client closed this service; no older packet opens it.
    LastClose {
        /// The client's key id.
        id: KeyId,
        /// The closed service.
        service: Service,
        /// The closing packet's timestamp.
        timestamp: Timestamp,
    },
    /// This holder has this grant.
    Holder(HolderRecord),
    /// The holder no longer has the grant.
    HolderRemoved(HolderKey),
    /// Hooks were notified of this grant, so its close hook is pending. Unlike a holder it
    /// remains valid after a reboot.
    HookPending(HolderKey),
    /// The close hook ran.
    HookDone(HolderKey),
    /// The minimum extent of the file of used one-time sequences.
    OneTime {
        /// Number of records in that file.
        count: u32,
        /// The sum over the records.
        sum: u64,
    },
}

/// The holder and the end of a grant; valid only within one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderRecord {
    /// The holder and the grant.
    pub key: HolderKey,
    /// When the kernel removes it.
    pub ends: BootTime,
}

/// The holder of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A client, by one of its keys.
    Client(KeyId),
    /// An administrator.
    Admin,
    /// A door of `[[knock]]`.
    Door(DoorId),
}

impl Holder {
    /// The client's key id, if the holder is a client.
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
    /// The holder.
    pub holder: Holder,
    /// The source address, or the network's first address.
    pub address: IpAddr,
    /// The network's prefix length; `None` for one address.
    pub prefix: Option<u8>,
    /// The granted service.
    pub service: Service,
    /// The only source port it may use; `None` is any.
    pub source_port: Option<NonZeroU16>,
    /// Whether the grant is for one connection.
    pub once: bool,
}

impl HolderKey {
    /// The granted element.
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

/// Every kind of entry: records, and statements of the journal about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalEntry {
    /// The first slot of a file, which makes the file count.
    Header {
        /// The boot in which the file was begun.
        boot_id: [u8; 16],
        /// Number of records written before the header.
        count: u32,
        /// The sum over those records.
        sum: u64,
        /// Number of slots of the file, which may be longer by zeros.
        slots: u32,
    },
    /// A record could not be written, so the journal must not be trusted to be complete.
    Incomplete,
    /// The clean mark: the journal was complete and on the disk at this length.
    Clean {
        /// Number of records in the journal.
        count: u32,
        /// The sum over the records.
        sum: u64,
        /// Number of slots of its file, which may be longer by zeros.
        slots: u32,
        /// The largest generation that either of the journal's files may contain.
        max_generation: u32,
        /// The newest slot of the horizon.
        horizon: SlotId,
    },
    /// In the run directory: the journal's end in this boot.
    Proof {
        /// The boot's id.
        boot_id: [u8; 16],
        /// The proof.
        proof: Proof,
    },
    /// A slot of the horizon. No packet with a later timestamp was accepted.
    Horizon {
        /// The sequence number; the larger is newer.
        sequence: u64,
        /// The horizon.
        timestamp: Timestamp,
        /// The journal is incomplete, or a horizon was not written before.
        incomplete: bool,
    },
    /// In the run directory: the horizon, independent of the disk.
    Memory {
        /// The boot's id.
        boot_id: [u8; 16],
        /// The horizon.
        timestamp: Timestamp,
        /// Whether the disk could not be written, so that it may lack the horizon.
        disk_failed: bool,
    },
    /// A record.
    Record(JournalRecord),
}
