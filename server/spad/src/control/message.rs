//! Requests of the command line to the running daemon, and the answers; pure data.
//!
//! Both ends are the same binary, but the daemon reads a request as if a stranger had written it:
//! its length is bounded, and unknown fields and invalid names are refused.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use spa_proto::Service;
use spad_model::{ClientName, DoorName};

/// The longest request line, in bytes, newline included. A thousand networks fit. Either end
/// refuses a longer one as a whole.
pub const MAX_REQUEST: usize = 64 << 10;

/// One request to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Return counters and state of the daemon.
    Status,
    /// List the open grants.
    Grants,
    /// Use the configuration files as they are now.
    Reload,
    /// End the trial of newly hidden services.
    Confirm,
    /// Stop serving this client now, even if the files cannot be changed.
    Disable {
        /// The client's name.
        #[serde(with = "text")]
        client: ClientName,
    },
    /// Let these addresses and networks reach this service.
    Grant {
        /// The service's name, or one port as `tcp/22`.
        service: String,
        /// Addresses and networks.
        from: Vec<String>,
        /// How long, in seconds.
        ttl_s: u64,
    },
    /// Close the grants of this client or door. New packets and knocks may open them again.
    Revoke {
        /// The name of the client or the door.
        #[serde(with = "text")]
        client: ClientName,
        /// End established connections too.
        cut: bool,
    },
    /// Close the grants of this service to these addresses, whichever client holds them.
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
        #[serde(with = "text")]
        client: ClientName,
    },
    /// Lower every floor and reset the horizon.
    ResetReplay,
}

impl Request {
    /// Whether members of `spad-admin` may not send this, because it lowers the protection
    /// against replayed packets. Only root may.
    #[must_use]
    pub const fn is_for_root_only(&self) -> bool {
        matches!(self, Self::ResetClient { .. } | Self::ResetReplay)
    }
}

/// Reports a name that neither a client nor a door has.
pub(crate) fn unknown_holder(name: &str) -> String {
    format!(
        "the running daemon does not know {name}, neither as a client nor as a door\n  help: spad client list; doors are the names of [[knock]] in spad.toml; what is open of a service for an address: spad revoke SERVICE --from ADDR"
    )
}

/// The daemon's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Grants`].
    Grants {
        /// One row for each holder.
        grants: Vec<Grant>,
    },
    /// The request was done.
    Done {
        /// What happened, in a sentence. Warnings follow on lines of their own.
        message: String,
    },
    /// To [`Request::Disable`]: there is no such client.
    Unknown {
        /// That, in a sentence.
        message: String,
    },
    /// The request was not done, and nothing was changed.
    Failed {
        /// What is wrong and how to fix it.
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
    /// What an administrator should look at, each with its remedy.
    pub warnings: Vec<String>,
}

/// One holder of one open element.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The client's name. None for an administrator and for an unknown holder.
    #[serde(default, with = "optional_text")]
    pub client: Option<ClientName>,
    /// The door of `[[knock]]` that granted it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "optional_text"
    )]
    pub door: Option<DoorName>,
    /// Whether an administrator granted it.
    #[serde(default)]
    pub by_hand: bool,
    /// The address that may connect, or the first address of the network.
    pub address: IpAddr,
    /// The network's prefix length. None for one address.
    pub prefix: Option<u8>,
    /// The port that it may connect to, as `tcp/22`.
    #[serde(with = "text")]
    pub service: Service,
    /// The only source port that may connect, if the grant is for one connection.
    pub source_port: Option<NonZeroU16>,
    /// Seconds until it closes, rounded up.
    pub remaining_s: u64,
}

/// Serialises a name or a service as its text.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Serialises an optional name as its text, or as null.
mod optional_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = value.as_ref().map(ToString::to_string);
        text.serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let value = text.map(|text| text.parse()).transpose();
        value.map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_text_on_the_socket_and_what_is_no_name_is_no_request() {
        let request = Request::Disable {
            client: "laptop".parse().unwrap(),
        };
        let line = serde_json::to_string(&request).unwrap();
        assert_eq!(line, r#"{"request":"disable","client":"laptop"}"#);
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
        let line = r#"{"request":"disable","client":"../laptop"}"#;
        assert!(serde_json::from_str::<Request>(line).is_err());
    }

    #[test]
    fn a_grant_is_on_the_socket_what_it_was_before_it_had_types() {
        let line = r#"{"client":"laptop","by_hand":false,"address":"192.0.2.7","prefix":null,"service":"tcp/22","source_port":40000,"remaining_s":12}"#;
        let grant: Grant = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&grant).unwrap(), line);
        let line = r#"{"client":null,"door":"side","by_hand":false,"address":"192.0.2.0","prefix":24,"service":"udp/51820","source_port":null,"remaining_s":7}"#;
        let grant: Grant = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&grant).unwrap(), line);
    }
}
