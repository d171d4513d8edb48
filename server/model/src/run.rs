//! Programs run for a client, a door or a grant, and how they exit. Pure.
//!
//! A request names a declared command or hook and gives the facts for its environment. It
//! never contains the program to execute or its user.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::{CommandName, Service, Timestamp};

use crate::element::Peer;
use crate::names::{ClientName, DoorName, ServiceName};
use crate::verdict::Reason;

/// Maximum saved output of a program, in bytes; the rest is only counted.
pub const MAX_OUTPUT: usize = 64 * 1024;
/// The id of a run; the engine numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// A request to run a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunCommand {
    /// The run's id.
    pub id: RunId,
    /// The command's name.
    pub command: CommandName,
    /// The client or door that requests it.
    pub requester: Requester,
    /// The source address of the packet or of the last knock.
    pub source: IpAddr,
}

/// The client or door that requests a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requester {
    /// A client, by one of its keys.
    Client(ClientName, KeyId),
    /// A door of `[[knock]]`.
    Door(DoorName),
}

impl Requester {
    /// Whether this is the same client, by any key, or the same door.
    #[must_use]
    pub fn same_requester(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Client(one, _), Self::Client(other, _)) => one == other,
            (Self::Door(one), Self::Door(other)) => one == other,
            (Self::Client(..), Self::Door(_)) | (Self::Door(_), Self::Client(..)) => false,
        }
    }
}

/// An event that a hook receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookEvent {
    /// A grant opened.
    Open,
    /// The end of an open grant changed.
    Renew,
    /// A grant closed.
    Close,
}

impl HookEvent {
    /// `open`, `renew` or `close`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Renew => "renew",
            Self::Close => "close",
        }
    }
}

/// A request to run a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHook {
    /// The run's id.
    pub id: RunId,
    /// The event.
    pub event: HookEvent,
    /// The client; `None` if the configuration no longer contains it.
    pub client: Option<ClientName>,
    /// The door of `[[knock]]` that opened the grant, if any.
    pub door: Option<DoorName>,
    /// The client's key; `None` for an administrator's grant.
    pub key: Option<KeyId>,
    /// The peer that the grant lets in.
    pub peer: Peer,
    /// The service's name; `None` if the configuration no longer declares it.
    pub service: Option<ServiceName>,
    /// The granted port.
    pub port: Service,
    /// The only source port that the grant lets in, if restricted.
    pub source_port: Option<NonZeroU16>,
    /// Whether the grant is for one connection.
    pub once: bool,
    /// The remaining time; zero for a close.
    pub ttl: Duration,
    /// When the event happened.
    pub at: Timestamp,
}

/// A request of the engine to the runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunRequest {
    /// A command, for a client or a door.
    Command(RunCommand),
    /// A hook for a grant.
    Hook(RunHook),
}

impl RunRequest {
    /// Returns the number of the run that is asked for.
    #[must_use]
    pub const fn id(&self) -> RunId {
        match self {
            Self::Command(command) => command.id,
            Self::Hook(hook) => hook.id,
        }
    }
}

/// Why the runner refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunRefusal {
    /// The runner's configuration declares no such command or hook.
    Unknown,
    /// The runner's own configuration does not permit this client or door to run it.
    NotAllowed,
    /// It is already running for this client or door.
    Running,
    /// The maximum number of programs is running.
    Busy,
    /// The user or the program is missing, or a system call failed.
    Failed,
}

impl From<RunRefusal> for Reason {
    fn from(refusal: RunRefusal) -> Self {
        match refusal {
            RunRefusal::Unknown => Self::CommandUnknown,
            RunRefusal::NotAllowed => Self::CommandNotAllowed,
            RunRefusal::Running => Self::CommandRunning,
            RunRefusal::Busy => Self::RunnerBusy,
            RunRefusal::Failed => Self::RunnerFailed,
        }
    }
}

/// How a program exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// It exited with this code.
    Exited(u8),
    /// This signal ended it.
    Signalled(u8),
    /// It exceeded its time limit and was killed.
    TimedOut,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunExit {
    /// The run's id.
    pub id: RunId,
    /// How the program exited.
    pub kind: ExitKind,
    /// How long it ran.
    pub duration: Duration,
    /// Its output, at most [`MAX_OUTPUT`] bytes.
    pub output: Vec<u8>,
    /// Number of output bytes beyond that.
    pub truncated: u64,
}
