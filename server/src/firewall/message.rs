//! The messages between the engine and the firewall writer: a closed set.
//!
//! One message is one datagram of a `SOCK_SEQPACKET` pair, of a fixed layout
//! that `codec` writes and reads. Neither side believes the other: whatever
//! does not have the layout is an error, and the writer checks every limit
//! again against its own reading of the configuration.

use std::time::Duration;

use spa_proto::Service;

use super::element::{Change, ChangeId, KernelElement};
use crate::config::Network;

/// The longest message either way, in bytes.
pub const MAX_MESSAGE: usize = 65_536;

/// The most elements that one [`FromWriter::Listed`] carries.
pub const MAX_LISTED: usize = 1024;

/// The most that one [`ToWriter::Cut`] carries.
pub const MAX_FILTERS: usize = 1024;

/// The longest text of an error, in bytes; longer ones are cut.
pub const MAX_TEXT: usize = 8192;

/// What the engine asks of the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToWriter {
    /// No other daemon is at work: load the table. The first message; answered by
    /// [`FromWriter::Ready`], or by `Failed`.
    Begin,
    /// Change grants; answered by [`FromWriter::Answer`].
    Change(Change),
    /// Tell what the kernel holds; answered by one or more [`FromWriter::Listed`].
    List,
    /// Read the configuration again and load the table that it asks for;
    /// answered by [`FromWriter::Reloaded`].
    Reload,
    /// The administrator reached what is on trial: hide it for good; answered
    /// by [`FromWriter::Confirmed`].
    Confirm,
    /// End established connections, at most [`MAX_FILTERS`] kinds of them; answered by
    /// [`FromWriter::Cut`].
    Cut(Vec<ConnectionFilter>),
    /// Tell how each hidden port stands; answered by [`FromWriter::Trials`].
    Trials,
    /// Say that you live; answered by [`FromWriter::Pong`].
    Ping,
    /// End. The table stays.
    Stop,
}

/// What the writer tells the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromWriter {
    /// The table stands; changes are taken. The first message, or `Failed` is.
    Ready,
    /// The writer cannot go on, for this reason. The last message.
    Failed(String),
    /// What became of a change.
    Answer(ChangeResult),
    /// Elements that the kernel holds; `last` in the last message of the answer.
    Listed {
        /// At most [`MAX_LISTED`].
        elements: Vec<KernelElement>,
        /// No more follow.
        last: bool,
    },
    /// What became of a reload; the error leaves everything as it was.
    Reloaded(Result<(), String>),
    /// Somebody removed or changed the table, or it could not be loaded before; it stands now.
    Restored {
        /// How many grants went back in.
        grants: u32,
    },
    /// The table could not be loaded or put back, for this reason; the text tells what hides
    /// meanwhile. It is tried again with growing pauses.
    NotRestored(String),
    /// A trial began, or ended.
    Trial(TrialEvent),
    /// How each hidden port stands.
    Trials(Vec<TrialRow>),
    /// A sign of life: the answer to `Ping`, and the end of `Busy`.
    Pong,
    /// Something is under way that takes so long at most, and nothing is answered meanwhile.
    Busy(Duration),
    /// What strangers get at hidden ports, in words; lines behind the first say what cannot be
    /// told for sure.
    StrangerReply(String),
    /// How many connections `Cut` ended, or why some may live on.
    Cut(Result<u32, String>),
    /// How many trials `Confirm` ended, or why it could not be written down.
    Confirmed(Result<u32, String>),
}

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
