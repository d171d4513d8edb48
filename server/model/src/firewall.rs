//! The firewall's answers and the states of hidden ports. Pure.

use std::time::Duration;

use spa_proto::Service;

use crate::element::ChangeId;
use crate::network::Network;

/// The connections to end: from these addresses to this port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionFilter {
    /// The source network.
    pub network: Network,
    /// The destination port.
    pub service: Service,
}

/// The outcome of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeResult {
    /// The change's id.
    pub id: ChangeId,
    /// Success, or the error if nothing of the change was applied.
    pub result: Result<(), FirewallError>,
}

/// Why a change failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirewallError {
    /// The kernel's set of grants is full; nothing is evicted.
    SetFull,
    /// The table is missing and could not be restored.
    TableMissing,
    /// The configuration declares no such service or no networks of this prefix length.
    NotDeclared,
    /// The time exceeds every time that the configuration allows.
    TooLong,
    /// The time is below the kernel's millisecond.
    TooShort,
    /// A change without steps, with too many, or with the same element twice.
    Malformed,
    /// The kernel returned this `errno`.
    Kernel(i32),
    /// The external firewall's program failed.
    Command,
    /// The external firewall cannot express this grant without allowing more.
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

/// The start or the end of the trial of a newly hidden port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialEvent {
    /// The hidden port.
    pub service: Service,
    /// The event.
    pub change: TrialChange,
}

/// An event of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialChange {
    /// Hidden now, and exposed again after this time unless a granted connection is made.
    Began(Duration),
    /// A granted connection was established: the port stays hidden.
    Reached,
    /// An administrator confirmed it: the port stays hidden.
    Confirmed,
    /// No granted connection was made in time: the port is reachable by everyone.
    TimedOut,
}

/// The state of a port that the configuration hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialRow {
    /// The port.
    pub service: Service,
    /// The port's state.
    pub state: PortState,
}

/// The state of a hidden port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Hidden permanently.
    Hidden,
    /// Hidden, and exposed again after this time unless a granted connection is made.
    OnTrial(Duration),
    /// Reachable by everyone, because its trial ended unconfirmed.
    Exposed,
}
