//! [IO] The order of a start.
//!
//! Everything that needs a privilege comes first and in this order:
//! configuration, state (with its lock), keys, firewall writer, packet socket,
//! control socket. Then the privileges go, for good, and only then is the first
//! byte of a stranger read.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spa_keys::file::Owner;
use tracing::{error, warn};

use crate::audit::{AuditLog, Event};
use crate::capture::{Capture, CaptureError, CaptureOptions, RING_FRAMES};
use crate::config::{Config, Findings, ListenPort, load_or_last_good};
use crate::control::server::{ListenError, bind};
use crate::engine::Engine;
use crate::firewall::Writer;
use crate::firewall::link::LinkError;
use crate::paths::Paths;
use crate::replay::{Opened, State, StateError};
use crate::sandbox::{self, Confinement, Identity, SandboxError, Visible};
use crate::{clock, sys};

use super::configuration::{PrepareError, prepare};
use super::door::Door;
use super::engine_loop::{Ended, EngineLoop};

/// Why the daemon did not start. Its text tells the mend.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A capability is missing.
    #[error("spad run needs {missing}\n  help: start it as root, or with `systemctl start spad`")]
    Privilege {
        /// The capabilities, by name.
        missing: String,
    },
    /// The configuration has errors, and there is no last good one.
    #[error("the configuration has errors\n{0}")]
    Configuration(Findings),
    /// Journal, horizon or lock.
    #[error(transparent)]
    State(#[from] StateError),
    /// Keys.
    #[error(transparent)]
    Keys(#[from] PrepareError),
    /// The firewall writer.
    #[error(transparent)]
    Firewall(#[from] LinkError),
    /// The packet socket.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ListenError),
    /// Giving privileges away.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The audit file.
    #[error(
        "cannot open the audit file {path}: {source}\n  help: make its directory writable for the user of spad, or set [log] audit"
    )]
    Audit {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It ran, and could not go on.
    #[error(
        "{0}\n  help: see what it said before; open grants run out on time, hidden services stay hidden"
    )]
    Ended(String),
    /// Anything else the system refuses.
    #[error("cannot {step}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// The capabilities of a start, by name.
const NEEDED: [(caps::Capability, &str); 4] = [
    (
        caps::Capability::CAP_NET_RAW,
        "CAP_NET_RAW (to see packets)",
    ),
    (
        caps::Capability::CAP_NET_ADMIN,
        "CAP_NET_ADMIN (to write nftables)",
    ),
    (
        caps::Capability::CAP_SETUID,
        "CAP_SETUID (to become the user spad)",
    ),
    (
        caps::Capability::CAP_SETGID,
        "CAP_SETGID (to become the user spad)",
    ),
];

fn check_privileges() -> Result<(), StartError> {
    let held = caps::read(None, caps::CapSet::Effective).unwrap_or_default();
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(capability, _)| !held.contains(capability))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(StartError::Privilege {
            missing: missing.join(", "),
        })
    }
}

/// Starts everything, gives the privileges away, and serves until it is told to stop.
///
/// # Errors
/// Why it did not start, or why it ended other than by being told to.
pub fn run(paths: &Paths) -> Result<(), StartError> {
    super::log::start();
    check_privileges()?;
    let usable = load_or_last_good(paths, clock::now().wall).map_err(StartError::Configuration)?;
    if let Some(findings) = &usable.instead_of {
        error!(
            "the configuration has errors; the last good one is used until they are mended (spad check, spad reload)\n{findings}"
        );
    }
    for finding in usable.loaded.warnings.to_string().lines() {
        warn!("{finding}");
    }
    let config = Arc::new(usable.loaded.config);
    let identity = sandbox::engine_identity()?;
    if identity.stand_in {
        warn!(
            "there is no user `spad`: running as `nobody`, which other programs may share; help: adduser --system --group --no-create-home spad"
        );
    }
    make_run_directory(&paths.run)?;
    let opened = State::open(
        paths,
        clock::now(),
        config.packets.max_skew,
        config.packets.on_state_error,
    )?;
    let clients = prepare(
        paths,
        Arc::clone(&config),
        Owner::Also(identity.uid),
        String::new(),
    )?
    .clients;
    let binary = std::env::current_exe().map_err(|source| StartError::System {
        step: "find its own executable",
        source,
    })?;
    let writer = Writer::start(&binary, paths)?;
    let capture = Capture::open(&CaptureOptions {
        port: match config.listen.port {
            ListenPort::One(port) => Some(port),
            ListenPort::Any => None,
        },
        interfaces: config.listen.interfaces.clone(),
        ring_frames: RING_FRAMES,
    })?;
    let group = sys::users::group("spad-admin")
        .ok()
        .flatten()
        .map(|group| group.gid);
    let control = bind(&paths.control_socket(), group)?;
    make_audit_directory(&config.log.audit, &identity)?;
    let confinement = sandbox::enter(&identity, &visible(paths, &config))?;
    if confinement != Confinement::Full {
        warn!(
            "this kernel confines the engine's view of the file system only in part; everything else holds"
        );
    }
    let audit = AuditLog::open(&config.log.audit).map_err(|source| StartError::Audit {
        path: config.log.audit.clone(),
        source,
    })?;
    let Opened {
        state,
        cache,
        horizon,
        holders,
    } = opened;
    let engine = Engine::new(clients, cache, horizon);
    let mut door = Door::new(engine, state, writer, audit);
    door.tell(Event::Start, None);
    let failed = |step| move |source| StartError::System { step, source };
    let (orders, inbox) = super::order::queue().map_err(failed("make an event descriptor"))?;
    let mut engine =
        EngineLoop::new(capture, door, inbox, clock::now()).map_err(failed("make a timer"))?;
    engine.adopt(holders)?;
    match super::supervisor::run(paths, control, orders, engine).map_err(failed("serve"))? {
        Ended::Told => Ok(()),
        Ended::Failed(why) => Err(StartError::Ended(why)),
    }
}

fn visible(paths: &Paths, config: &Config) -> Visible {
    Visible {
        read: vec![paths.config.clone()],
        write: [Some(paths.state.as_path()), config.log.audit.parent()]
            .into_iter()
            .flatten()
            .map(Path::to_owned)
            .collect(),
    }
}

/// The audit file's directory, the engine's own, where it is missing.
fn make_audit_directory(audit: &Path, identity: &Identity) -> Result<(), StartError> {
    let Some(directory) = audit.parent() else {
        return Ok(());
    };
    let made = match DirBuilder::new().mode(0o750).create(directory) {
        Ok(()) => lchown(directory, Some(identity.uid), Some(identity.gid)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    made.map_err(|source| StartError::Audit {
        path: audit.to_owned(),
        source,
    })
}

/// Root's own, so that nobody else can stand in the control socket's place.
fn make_run_directory(run: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::System {
        step: "make the run directory",
        source,
    };
    match DirBuilder::new().mode(0o755).recursive(true).create(run) {
        Ok(()) => {}
        Err(source) => return Err(failed(source)),
    }
    let found = std::fs::symlink_metadata(run).map_err(failed)?;
    if !found.is_dir()
        || found.uid() != rustix::process::geteuid().as_raw()
        || found.mode() & 0o022 != 0
    {
        return Err(failed(std::io::Error::other(
            "it must be a directory that only root can write to",
        )));
    }
    Ok(())
}
