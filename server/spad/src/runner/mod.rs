//! The command runner: the one process that executes programs.
//!
//! Started by the engine as root, only where the configuration declares commands or
//! hooks. It becomes `spad-run` with CAP_SETUID, CAP_SETGID and CAP_KILL alone, and
//! takes the closed set of messages of [`message`]: names and facts. What is executed,
//! as whom, for how long and for which client it reads from the configuration itself.
//! It parses nothing that came from the network. It ends when its socket does, and
//! with it everything that it runs.

mod codec;
mod hook_json;
mod job;
pub mod link;
pub mod message;
mod privileges;
mod run_policy;
mod runner_loop;

use std::io;
use std::os::fd::OwnedFd;

use message::{FromRunner, ToRunner};
pub(crate) use privileges::config_reader;
use run_policy::RunPolicy;
use runner_loop::RunnerLoop;
use spa_findings::Findings;
use spad_ipc::EndpointError;
use spad_model::Paths;
use spad_sys::journald::Priority;
use spad_sys::{clock, journald};

/// Why the runner cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The kernel would not let it.
    #[error(
        "running commands as their users needs CAP_SETUID, CAP_SETGID and CAP_KILL\n  help: start spad as root, or add what is missing to CapabilityBoundingSet= of its unit"
    )]
    MissingCapability,
    /// Nobody to become.
    #[error(
        "there is neither a user `spad-run` nor `nobody`\n  help: adduser --system --group --no-create-home spad-run"
    )]
    MissingUser,
    /// The kernel refused a step down.
    #[error("cannot {step}: {reason}\n  help: start spad as root, from systemd or a root shell")]
    Syscall {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// The configuration does not load, and there is no last good one.
    #[error("{0}")]
    Configuration(Findings),
    /// The socket to the engine failed, or carried what is not a message.
    #[error(transparent)]
    Engine(#[from] EndpointError),
    /// The system refused to wait for the engine, or to say where the configuration is.
    #[error("the socket to the engine: {0}")]
    Socket(io::Error),
}

/// The runner's end of the socket to the engine.
type Endpoint = spad_ipc::Endpoint<ToRunner, FromRunner>;

/// Runs the runner on its end of the engine's socket, until that ends.
///
/// # Errors
/// Why it had to end. Why it could not start is told to the engine instead.
pub fn run(socket: OwnedFd, paths: &Paths) -> Result<(), RunnerError> {
    spad_sys::process::new_session();
    let engine = Endpoint::new(socket);
    match prepare(paths) {
        Ok((rights, configuration)) => {
            engine.send(&FromRunner::Ready)?;
            RunnerLoop::new(engine, rights, configuration).run()
        }
        // The engine says it, and ends too.
        Err(error) => Ok(engine.send(&FromRunner::Failed(error.to_string()))?),
    }
}

/// Reads what only root may read, and steps down.
fn prepare(paths: &Paths) -> Result<(RunPolicy, std::path::PathBuf), RunnerError> {
    let configuration = std::path::absolute(&paths.config).map_err(RunnerError::Socket)?;
    let start_config = spad_config::load_or_last_good(paths, clock::now().wall)
        .map_err(RunnerError::Configuration)?;
    let policy = RunPolicy::from_config(&start_config.loaded.config);
    drop(start_config);
    // Whatever is wrong with one command must not keep the door shut.
    for line in spad_config::check_programs(&configuration)
        .to_string()
        .lines()
    {
        warn(line);
    }
    privileges::drop_privileges()?;
    Ok((policy, configuration))
}

/// Says something to whoever reads this process's standard error: the journal, or a terminal.
fn warn(text: &str) {
    use std::io::Write as _;
    // Nobody is left to tell where that fails.
    let text = format!("spad command-runner: {text}");
    let lines = journald::for_stderr(Priority::Warning, &text);
    let _ = writeln!(io::stderr().lock(), "{lines}");
}
