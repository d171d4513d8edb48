//! Errors of the state, and events worth reporting.

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use spa_proto::Timestamp;
use spad_model::clock::format_utc;

use super::state_mode::StateMode;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has it.
    #[error("{path} is in use by another spad{}; one state directory serves one spad\n  help: stop that one; another needs directories of its own and, since the firewall's table is one, a network namespace of its own", Pid(*.pid))]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// The process id of the lock's owner, if known.
        pid: Option<u32>,
    },
    /// The state was never initialised.
    #[error(
        "{path} holds no journal and no horizon\n  help: `spad init` makes them; then restart spad"
    )]
    NotInitialised {
        /// The state directory.
        path: PathBuf,
    },
    /// A state exists already.
    #[error("{path} holds a journal already; `spad key adopt` takes over what is there")]
    AlreadyInitialised {
        /// The state directory.
        path: PathBuf,
    },
    /// The key was created, or last used, on another machine.
    #[error(
        "the server key beside {path} belongs to another machine, which may still use it\n  help: if it does not, stop spad, run `spad key adopt`, and start spad again"
    )]
    OtherMachine {
        /// The file with the machine's id.
        path: PathBuf,
    },
    /// A file of the state could not be read or written.
    #[error(
        "{path}: {source}\n  help: check the disk, and what limits the unit has (`systemctl show spad`)"
    )]
    Io {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The journal or the horizon could not be written, and the packet must not act.
    #[error("cannot write the state: {0}\n  help: check the disk")]
    WriteFailed(io::Error),
    /// The state cannot be used until a restart.
    #[error("{0}; until then no packet is accepted")]
    Closed(String),
}

impl StateError {
    /// The disk's error.
    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::WriteFailed(source) | Self::Io { source, .. } => source,
            other => io::Error::other(other.to_string()),
        }
    }
}

struct Pid(Option<u32>);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |pid| write!(f, " (process {pid})"))
    }
}

/// Why a journal is not trusted, if a crash of the machine alone does not explain it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DistrustReason {
    /// A file of the state cannot be read.
    #[error("a file of the state cannot be read ({0})")]
    Unreadable(String),
    /// This number of its records is damaged or missing.
    #[error("records that are damaged or missing: {0}")]
    Damaged(u32),
    /// It is intact, but not the last one written.
    #[error("it is not the one that was written last, or a part of it is lost")]
    Mismatch,
    /// It has an earlier version's format.
    #[error("an earlier version of spad wrote it")]
    EarlierFormat,
}

/// An event for the administrator. Displays as a line, with help if there is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateEvent {
    /// Used packets may be missing from the journal: nothing up to `floor` is accepted.
    UncleanStart {
        /// The floor of all clients.
        floor: Timestamp,
        /// The reason, if a crash alone does not explain it.
        reason: Option<DistrustReason>,
    },
    /// It is unknown how far packets were accepted, so none is accepted.
    HorizonUnknown {
        /// The unreadable file and the error; `None` if the horizon's slots are bad.
        because: Option<String>,
    },
    /// The horizon lies more than ten minutes ahead of the clock.
    HorizonAhead {
        /// The distance.
        ahead: Duration,
    },
    /// The mode of the state changed.
    ModeChanged(StateMode),
    /// The journal could not be compacted; it is retried.
    CompactionFailed {
        /// The disk's error.
        error: String,
    },
    /// A compaction succeeded again.
    Compacted,
    /// The next start will not find the proof that the journal is complete in this boot.
    RunDirLost {
        /// The problem.
        error: String,
    },
    /// The proof will be found again.
    RunDirRestored,
}

impl StateEvent {
    /// Whether the event is the end of a problem.
    #[must_use]
    pub fn is_recovery(&self) -> bool {
        matches!(
            self,
            Self::ModeChanged(StateMode::OnDisk) | Self::Compacted | Self::RunDirRestored
        )
    }

    /// Whether no packet is accepted from here on.
    #[must_use]
    pub fn stops_packets(&self) -> bool {
        matches!(
            self,
            Self::HorizonUnknown { .. }
                | Self::ModeChanged(StateMode::Refusing { .. } | StateMode::Closed { .. })
        )
    }
}

impl fmt::Display for StateEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UncleanStart {
                floor,
                reason: because,
            } => {
                match because {
                    None => write!(f, "the last stop was not clean")?,
                    Some(because) => write!(f, "the journal cannot be trusted: {because}")?,
                }
                let floor = format_utc(*floor);
                write!(
                    f,
                    "; packets sent before {floor} are refused, later ones pass"
                )
            }
            Self::HorizonUnknown {
                because: Some(unreadable),
            } => write!(
                f,
                "how far packets were accepted cannot be read, so none is accepted ({unreadable})\n  help: fix that, and restart spad"
            ),
            Self::HorizonUnknown { because: None } => write!(
                f,
                "both slots of the horizon file are bad: no packet is accepted until `spad replay reset`"
            ),
            Self::HorizonAhead { ahead: by } => write!(
                f,
                "packets up to {} s ahead of the clock were once accepted; if the clock was wrong then and is right now, `spad replay reset` forgets it",
                by.as_secs()
            ),
            Self::ModeChanged(StateMode::InMemory { error }) => write!(
                f,
                "cannot write the state ({error}): used packets are remembered in memory\n  help: check the disk, or the next start refuses packets for a while"
            ),
            Self::ModeChanged(StateMode::Refusing { error }) => write!(
                f,
                "cannot write the state ({error}): no packet is accepted until it is written again (on_state_error = \"refuse\")\n  help: check the disk; restart spad if it was read-only or missing when spad started"
            ),
            Self::ModeChanged(StateMode::Closed { problem }) => write!(
                f,
                "the state cannot be used, so no packet is accepted: {problem}"
            ),
            Self::ModeChanged(StateMode::OnDisk) => {
                write!(f, "the state is written to the disk again")
            }
            Self::CompactionFailed { error } => {
                write!(f, "cannot compact the journal ({error}); trying again")
            }
            Self::Compacted => write!(f, "the journal is compacted again"),
            Self::RunDirLost { error } => write!(
                f,
                "{error}: the next start will be as after a crash of the machine\n  help: make room in the run directory; where its files were deleted, restart spad"
            ),
            Self::RunDirRestored => write!(
                f,
                "the files of the run directory are found and written again"
            ),
        }
    }
}
