//! Errors of a start.

use std::path::PathBuf;

use spa_findings::Findings;
use spad_capture::CaptureError;
use spad_ipc::HelperError;
use spad_model::Help;
use spad_replay::StateError;
use spad_sandbox::SandboxError;
use spad_sys::fd_limit::FdLimitError;

use super::load_config::LoadKeysError;
use crate::control::server::ListenError;

/// Why the daemon did not start, or why it stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A capability is missing.
    #[error("spad run needs {missing}")]
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
    #[error("cannot open the audit file {path}: {source}")]
    Audit {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It started, and could not continue.
    #[error("{0}")]
    Ended(String),
    /// The run directory.
    #[error("cannot use the run directory {path}: {reason}")]
    RunDirectory {
        /// Its path.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// Another refusal by the system.
    #[error("cannot {step}: {source}")]
    Syscall {
        /// The failed step.
        step: &'static str,
        /// The cause.
        source: std::io::Error,
    },
}

impl Help for StartError {
    fn help(&self) -> Option<String> {
        let help = match self {
            Self::Control(error) => return error.help(),
            Self::Privilege { .. } => "start it as root, or with `systemctl start spad`",
            Self::Audit { .. } => {
                "make its directory writable for the user of spad, or set [log] audit"
            }
            Self::Ended(_) => {
                "see what it said before; open grants run out on time, hidden services stay hidden"
            }
            Self::RunDirectory { path, .. } => {
                let path = path.display();
                return Some(format!(
                    "make it root's own: chown root {path} && chmod 755 {path}; under systemd remove it, and RuntimeDirectory= makes it"
                ));
            }
            Self::Syscall { .. } => {
                "see what limits the unit has (`systemctl show spad`), and what the kernel said (`dmesg`)"
            }
            // Their texts have help where there is some.
            Self::Descriptors(_)
            | Self::Configuration(_)
            | Self::State(_)
            | Self::Keys(_)
            | Self::Helper(_)
            | Self::Capture(_)
            | Self::Sandbox(_) => return None,
        };
        Some(help.to_owned())
    }
}
