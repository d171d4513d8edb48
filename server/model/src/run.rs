//! What is run for a client, a door or a grant, and how that ended. Pure.
//!
//! A request names a declared command or hook and tells the facts of its environment; it never
//! says what is executed, nor as whom.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::{CommandName, Service, Timestamp};

use crate::element::Peer;
use crate::names::{ClientName, DoorName, ServiceName};
use crate::verdict::Reason;

/// What is kept of a program's output, in bytes; the rest is counted.
pub const MAX_OUTPUT: usize = 64 * 1024;
/// Which run of a command or hook; the engine counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// Run a command for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunCommand {
    /// Which run.
    pub id: RunId,
    /// What.
    pub command: CommandName,
    /// For whom.
    pub requester: Requester,
    /// Where the packet, or the last knock, came from.
    pub source: IpAddr,
}

/// Who asks for a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requester {
    /// A client, by one of its keys.
    Client(ClientName, KeyId),
    /// Whoever knocked at this door.
    Door(DoorName),
}

impl Requester {
    /// Whether this is the same client, by whatever key, or the same door.
    #[must_use]
    pub fn same_requester(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Client(one, _), Self::Client(other, _)) => one == other,
            (Self::Door(one), Self::Door(other)) => one == other,
            (Self::Client(..), Self::Door(_)) | (Self::Door(_), Self::Client(..)) => false,
        }
    }
}

/// What a hook is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookEvent {
    /// A grant began.
    Open,
    /// A grant that a hook was told of got another end.
    Renew,
    /// A grant that a hook was told of is over.
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

/// Run a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHook {
    /// Which run.
    pub id: RunId,
    /// What happened.
    pub event: HookEvent,
    /// Whose grant; none where the client is gone from the configuration.
    pub client: Option<ClientName>,
    /// The door of `[[knock]]` by which it came, where it did.
    pub door: Option<DoorName>,
    /// By which of its keys; none where an administrator granted it by hand.
    pub key: Option<KeyId>,
    /// Who is let in.
    pub peer: Peer,
    /// To what, by name; none where it is declared no longer.
    pub service: Option<ServiceName>,
    /// To what.
    pub port: Service,
    /// From which source port alone.
    pub source_port: Option<NonZeroU16>,
    /// For one connection only.
    pub once: bool,
    /// For how long; zero for a close.
    pub ttl: Duration,
    /// When.
    pub at: Timestamp,
}

/// What the engine asks the runner to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunRequest {
    /// A command, for a client or a door.
    Command(RunCommand),
    /// A hook of a grant.
    Hook(RunHook),
}

/// Why something was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunRefusal {
    /// The runner's configuration declares no such command or hook.
    Unknown,
    /// By the runner's reading the client, or the door, may not have it run.
    NotAllowed,
    /// It runs for this client, or this door, already.
    Running,
    /// As much runs already as may at once.
    Busy,
    /// The user or the program is missing, or the system refused.
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

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// By itself, with this code.
    Exited(u8),
    /// By this signal.
    Signalled(u8),
    /// It took longer than it may, and was ended.
    TimedOut,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunExit {
    /// Which run.
    pub id: RunId,
    /// How.
    pub kind: ExitKind,
    /// How long it took.
    pub duration: Duration,
    /// What it wrote, at most [`MAX_OUTPUT`].
    pub output: Vec<u8>,
    /// How much more it wrote, in bytes.
    pub truncated: u64,
}
