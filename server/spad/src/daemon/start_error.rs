//! Errors of a start.

use std::path::PathBuf;

use spa_findings::Findings;
use spad_capture::CaptureError;
use spad_ipc::HelperError;
use spad_replay::StateError;
use spad_sandbox::SandboxError;
use spad_sys::fd_limit::FdLimitError;

use crate::control::server::ListenError;

use super::load_config::LoadKeysError;

/// Why the daemon did not start, or why it stopped. Its text says how to fix it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A capability is missing.
    #[error("spad run needs {missing}\n  help: start it as root, or with `systemctl start spad`")]
    Privilege {
        /// The capabilities, by name.
        missing: String,
    },
    /// The limit of open files is too low.
    #[error(transparent)]
    Descriptors(#[from] FdLimitError),
    /// The configuration has errors, and no last good configuration was saved.
    #[error("the configuration has errors\n{0}")]
    Configuration(Findings),
    /// Journal, horizon or lock.
    #[error(transparent)]
    State(#[from] StateError),
    /// Keys.
    #[error(transparent)]
    Keys(#[from] LoadKeysError),
    /// The firewall writer or the command runner.
    #[error(transparent)]
    Helper(#[from] HelperError),
    /// The packet sockets.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ListenError),
    /// Dropping the privileges.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The audit file.
    #[error(
        "cannot open the audit file {path}: {source}\n  help: make its directory writable for the user of spad, or set [log] audit"
    )]
    Audit {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It started, and could not continue.
    #[error(
        "{0}\n  help: see what it said before; open grants run out on time, hidden services stay hidden"
    )]
    Ended(String),
    /// The run directory.
    #[error(
        "cannot use the run directory {path}: {reason}\n  help: make it root's own: chown root {path} && chmod 755 {path}; under systemd remove it, and RuntimeDirectory= makes it"
    )]
    RunDirectory {
        /// Its path.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// Another refusal by the system.
    #[error(
        "cannot {step}: {source}\n  help: see what limits the unit has (`systemctl show spad`), and what the kernel said (`dmesg`)"
    )]
    Syscall {
        /// The failed step.
        step: &'static str,
        /// The cause.
        source: std::io::Error,
    },
}
