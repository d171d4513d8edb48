//! What the firewall answers, and how hidden ports stand. Pure.

use std::time::Duration;

use spa_proto::Service;

use crate::element::ChangeId;
use crate::network::Network;

/// Connections that are to end: from these addresses to this port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionFilter {
    /// Who.
    pub network: Network,
    /// To what.
    pub service: Service,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeResult {
    /// Which change.
    pub id: ChangeId,
    /// Done in the kernel, or nothing of it was done.
    pub result: Result<(), FirewallError>,
}

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirewallError {
    /// The kernel's set of grants is full; nothing is evicted.
    SetFull,
    /// The table is gone and could not be put back.
    TableMissing,
    /// The configuration declares no such service, or no networks of this length.
    NotDeclared,
    /// Longer than any time that the configuration allows.
    TooLong,
    /// Shorter than the kernel's millisecond.
    TooShort,
    /// More steps than a change may have, none at all, or one element twice.
    Malformed,
    /// The kernel said this `errno`.
    Kernel(i32),
    /// The external firewall's program did not do it.
    Command,
    /// The external firewall cannot let in this and nothing more.
    Unsupported,
}

impl FirewallError {
    /// One word for audit lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SetFull => "set_full",
            Self::TableMissing => "table_missing",
            Self::NotDeclared => "not_declared",
            Self::TooLong => "too_long",
            Self::TooShort => "too_short",
            Self::Malformed => "malformed",
            Self::Kernel(_) => "kernel",
            Self::Command => "command",
            Self::Unsupported => "unsupported",
        }
    }
}

impl std::fmt::Display for FirewallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SetFull => f.write_str("the kernel's set of grants is full"),
            Self::TableMissing => {
                f.write_str("the table inet spad is gone and could not be put back")
            }
            Self::NotDeclared => f.write_str(
                "the configuration declares no such service, or no networks of this length",
            ),
            Self::TooLong => f.write_str("longer than the configuration allows"),
            Self::TooShort => f.write_str("shorter than a millisecond"),
            Self::Malformed => {
                f.write_str("a change without steps, with too many, or with one element twice")
            }
            Self::Command => f.write_str("the program of [firewall] failed"),
            Self::Unsupported => f.write_str(
                "the programs of [firewall] cannot open for one connection or source port alone",
            ),
            Self::Kernel(code) => {
                write!(
                    f,
                    "the kernel said: {}",
                    std::io::Error::from_raw_os_error(*code)
                )
            }
        }
    }
}

/// A trial of a newly hidden port, as it began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialEvent {
    /// The hidden port.
    pub service: Service,
    /// What happened.
    pub change: TrialChange,
}

/// What happened to a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialChange {
    /// Hidden from now on, and shown again after this time unless it is reached.
    Began(Duration),
    /// A granted connection was established: hidden for good.
    Reached,
    /// The administrator confirmed it: hidden for good.
    Confirmed,
    /// Nobody reached it in time: everybody can see it again.
    TimedOut,
}

/// How a port that the configuration hides stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialRow {
    /// The port.
    pub service: Service,
    /// How it stands.
    pub state: PortState,
}

/// How a port that the configuration hides stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Hidden for good.
    Hidden,
    /// Hidden, and shown again after this time unless it is reached.
    OnTrial(Duration),
    /// Its trial ended unconfirmed: everybody can see it.
    Exposed,
}
