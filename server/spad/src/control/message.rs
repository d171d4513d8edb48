//! What the command line may ask of the running daemon, and the answers.
//!
//! Pure data. Both ends are the same binary, but a request is still read as
//! if a stranger had written it: bounded length, unknown fields refused.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The longest request line, in bytes, newline included: a thousand networks fit. A longer one
/// is refused as a whole at either end, never cut.
pub const MAX_REQUEST: usize = 64 << 10;

/// One question to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Counters and state of the daemon.
    Status,
    /// Who has what open.
    Grants,
    /// Take the configuration files as they are now.
    Reload,
    /// End the trial of newly hidden services.
    Confirm,
    /// Stop serving this client now, whatever state the files are in.
    Disable {
        /// The client's name.
        client: String,
    },
    /// Let these addresses and networks reach this service.
    Grant {
        /// The service's name, or one port as `tcp/22`.
        service: String,
        /// Addresses and networks.
        from: Vec<String>,
        /// For so many seconds.
        ttl_s: u64,
    },
    /// Close what this client has open; it may knock again.
    Revoke {
        /// The client's name.
        client: String,
        /// End established connections too.
        cut: bool,
    },
    /// Close what is open of this service for these, whoever holds it.
    RevokeFrom {
        /// The service's name, or one port as `tcp/22`.
        service: String,
        /// Addresses and networks.
        from: Vec<String>,
        /// End established connections too.
        cut: bool,
    },
    /// Lower this client's floor and forget its recorded packets.
    ResetClient {
        /// The client's name.
        client: String,
    },
    /// Lower every floor and set the horizon anew.
    ResetReplay,
}

impl Request {
    /// Whether only root may ask this, members of `spad-admin` may not:
    /// these lower the protection against replayed packets.
    #[must_use]
    pub const fn is_for_root_only(&self) -> bool {
        matches!(self, Self::ResetClient { .. } | Self::ResetReplay)
    }
}

/// The daemon's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Grants`].
    Grants {
        /// One row a holder.
        grants: Vec<Grant>,
    },
    /// It was done.
    Done {
        /// What happened, in a sentence; warnings follow on lines of their own.
        message: String,
    },
    /// To [`Request::Disable`]: there is no such client, so nothing was to be done.
    Unknown {
        /// That, in a sentence.
        message: String,
    },
    /// It was not done, and nothing was changed.
    Failed {
        /// What is wrong and how to mend it.
        message: String,
    },
}

/// What `spad status` shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Process number of the engine.
    pub pid: u32,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// The ports at which packets are looked for, or `any`.
    pub port: String,
    /// What may carry packets: `udp, icmp, tcp:443`.
    pub carriers: String,
    /// Services hidden, by name; not those of which every port is in `shown`.
    pub hidden: Vec<String>,
    /// Ports that the configuration hides and that everybody can see all the same, because
    /// their trial ended unreached, as `tcp/22`.
    pub shown: Vec<String>,
    /// Hidden services that are still on trial, as `tcp/22`.
    pub on_trial: Vec<String>,
    /// What strangers get at hidden ports, and by whose rules.
    #[serde(default)]
    pub strangers_get: String,
    /// Clients, disabled ones included.
    pub clients: usize,
    /// Grants that are open.
    pub open_grants: usize,
    /// Grants that ended because a newer one of their client took their place: windows, from
    /// any source port.
    #[serde(default)]
    pub windows_gave_way: usize,
    /// The same of those for one connection.
    #[serde(default)]
    pub connections_gave_way: usize,
    /// Doors of `[[knock]]` that open once by each of their sequences, and how many are left.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sequences_left: BTreeMap<String, usize>,
    /// Recorded packets in the replay cache.
    pub replay_entries: usize,
    /// Threads that look at packets.
    pub capture_threads: usize,
    /// Packets that passed the kernel's filter.
    pub captured: u64,
    /// Packets that the capture had no room for.
    pub capture_dropped: u64,
    /// Audit lines that could not be written.
    pub audit_dropped: u64,
    /// Verdicts by reason; each packet is in exactly one.
    pub verdicts: BTreeMap<String, u64>,
    /// What an administrator should look at, each with its mend.
    pub warnings: Vec<String>,
}

/// One holder of one open element.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The client's name; none for an administrator, or an adopted element of an unknown holder.
    pub client: Option<String>,
    /// The door of `[[knock]]` by which it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// An administrator granted it by hand.
    #[serde(default)]
    pub by_hand: bool,
    /// The address that may connect; of a network, the first.
    pub address: IpAddr,
    /// The network's length, where a network may connect.
    pub prefix: Option<u8>,
    /// What it may connect to, as `tcp/22`.
    pub service: String,
    /// The only source port, where the grant is for one.
    pub source_port: Option<u16>,
    /// Seconds until it closes, rounded up.
    pub remaining_s: u64,
}
