//! [IO] The order of a start.
//!
//! What is to be hidden comes first, in this process, by `spad.toml` alone ([`writer::hide`]):
//! nothing else can hang or fail before. Then, where no other daemon is at work, the firewall
//! writer loads the table, by a configuration that it reads itself, before the rest may fail.
//! Then comes all that needs a privilege, in this order: configuration, state (with its
//! lock), keys, packet sockets, control socket. Then the privileges go, for good, and only
//! then is the first byte of a stranger read.

use std::fs::{DirBuilder, Permissions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spa_findings::Findings;
use spa_keys::file::AllowedOwner;
use tracing::{error, info, warn};

use crate::audit::AuditLog;
use crate::control::server::{ListenError, bind, check_free};
use crate::runner::link::{RunnerClient, RunnerClientError};
use spad_capture::{
    Capture, CaptureError, CaptureOptions, Ingress, InterfaceSetting, RING_FRAMES,
    missing_interfaces,
};
use spad_config::{Config, load_or_last_good};
use spad_engine::Engine;
use spad_engine::audit::event::Event;
use spad_engine::clients::Clients;
use spad_firewall::writer;
use spad_firewall::writer::early_hiding::EarlyHiding;
use spad_firewall::{StartingWriter, WriterClient, WriterClientError};
use spad_model::Paths;
use spad_replay::{OpenedState, StateDir, StateError, UsedSequences};
use spad_sandbox::{AllowedPaths, Identity, LandlockCoverage, SandboxError};
use spad_sys::clock;
use spad_sys::fd_limit;
use spad_sys::fd_limit::FdLimitError;

use super::conntrack::ConntrackMonitor;
use super::engine_loop::{EngineLoop, LoopExit};
use super::executor::Executor;
use super::load_config::{LoadKeysError, load_keys};
use super::notifier::Notifier;
use super::self_check::SelfCheck;

/// Why the daemon did not start. Its text tells the mend.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A capability is missing.
    #[error("spad run needs {missing}\n  help: start it as root, or with `systemctl start spad`")]
    Privilege {
        /// The capabilities, by name.
        missing: String,
    },
    /// Too few files may be open at once.
    #[error(transparent)]
    Descriptors(#[from] FdLimitError),
    /// The configuration has errors, and there is no last good one.
    #[error("the configuration has errors\n{0}")]
    Configuration(Findings),
    /// Journal, horizon or lock.
    #[error(transparent)]
    State(#[from] StateError),
    /// Keys.
    #[error(transparent)]
    Keys(#[from] LoadKeysError),
    /// The firewall writer.
    #[error(transparent)]
    Firewall(#[from] WriterClientError),
    /// The command runner.
    #[error(transparent)]
    Runner(#[from] RunnerClientError),
    /// The packet sockets.
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
    /// The run directory.
    #[error(
        "cannot use the run directory {path}: {reason}\n  help: make it root's own: chown root {path} && chmod 755 {path}; under systemd remove it, and RuntimeDirectory= makes it"
    )]
    RunDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Anything else the system refuses.
    #[error(
        "cannot {step}: {source}\n  help: see what limits the unit has (`systemctl show spad`), and what the kernel said (`dmesg`)"
    )]
    Syscall {
        /// What was tried.
        step: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// The capabilities of a start, by name.
const REQUIRED_CAPABILITIES: [(caps::Capability, &str); 4] = [
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
    let effective = caps::read(None, caps::CapSet::Effective).unwrap_or_default();
    let missing: Vec<_> = REQUIRED_CAPABILITIES
        .iter()
        .filter(|(capability, _)| !effective.contains(capability))
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
    spad_sys::malloc::limit_malloc_cache();
    super::log::start();
    let descriptors = fd_limit::raise();
    // Before anything is said, and before anything that may hang or fail.
    let hidden = writer::hide(paths);
    check_not_running(paths, hidden)?;
    let loaded = check_privileges().and_then(|()| {
        let binary = std::env::current_exe().map_err(|source| StartError::Syscall {
            step: "find its own executable",
            source,
        })?;
        let writer = StartingWriter::spawn(&binary, paths)?;
        writer.send_begin()?;
        Ok((writer, binary))
    });
    let usable = load_or_last_good(paths, clock::now().wall);
    // Whatever is wrong with the configuration or with anything below: the table stands first.
    let loaded = loaded.and_then(|(writer, binary)| Ok((writer.wait_ready()?, binary)));
    let loaded = loaded.inspect_err(|_| hide_without_writer(paths));
    // Whatever else failed, this is why; and what it would serve packets with would fail later.
    descriptors?;
    let (writer, binary) = loaded?;
    let notifier = Notifier::connect();
    let usable = usable.map_err(StartError::Configuration)?;
    if let Some(findings) = &usable.file_errors {
        error!(
            "the configuration has errors; the last good one is used until they are mended (spad check, spad reload)\n{findings}"
        );
    }
    let mut warnings = usable.loaded.warnings;
    warnings.extend(super::forwarding(&usable.loaded.config, &paths.config));
    for finding in warnings.to_string().lines() {
        warn!("{finding}");
    }
    let config = Arc::new(usable.loaded.config);
    let identity = spad_sandbox::engine_identity()?;
    if identity.stand_in {
        warn!(
            "there is no user `spad`: running as `nobody`, which other programs may share; help: adduser --system --group --no-create-home spad"
        );
    }
    let readers = super::readers::readers();
    make_run_directory(&paths.run)?;
    if let Some(warning) = state_owner_warning(&paths.state, identity.uid) {
        warn!("{warning}");
    }
    let opened = StateDir::open(
        paths,
        clock::now(),
        config.packets.max_skew,
        config.packets.on_state_error,
    )?;
    let (used, used_sequences) = UsedSequences::open(&paths.state, opened.state.used_mark());
    let privileged = match start_privileged(paths, &config, &identity, writer, &binary) {
        Ok(begun) => begun,
        Err(error) => {
            // Nothing was accepted: the next start may trust what stands there as this one did.
            let _else_it_does_not = opened.state.clean_stop();
            return Err(error);
        }
    };
    let OpenedState {
        state,
        cache,
        horizon,
        holders,
        pending_hooks: owed,
    } = opened;
    // The engine holds it, until a reload gives it another: a large one is not kept beside that.
    drop(config);
    spad_sys::malloc::malloc_trim();
    let mut engine = Engine::new(privileged.clients, cache, horizon);
    if let Some(used) = used_sequences {
        engine.load_used_sequences(used);
    }
    let for_one_use = engine.remaining_sequences().next().is_some();
    if let Some(problem) = used.problem().filter(|_| for_one_use) {
        error!("no sequence for one use opens its door: {problem}");
    }
    let mut executor = Executor::new(
        engine,
        state,
        used,
        privileged.writer,
        privileged.runner,
        privileged.audit,
    );
    for finding in executor.sequence_findings().to_string().lines() {
        warn!("{finding}");
    }
    if let Some(warning) = executor.engine.refuses_until(clock::now()) {
        warn!("{warning}");
    }
    executor.audit_event(Event::Start);
    let failed = |step| move |source| StartError::Syscall { step, source };
    let (tasks, task_queue) =
        super::tasks::task_channel().map_err(failed("make an event descriptor"))?;
    let ingress = Ingress::new(
        privileged.captures,
        executor.engine.clients().head_keys().clone(),
    )
    .map_err(failed("make an event descriptor"))?;
    let mut engine = EngineLoop::new(ingress, executor, task_queue, notifier, clock::now())
        .map_err(failed("make a timer"))?;
    engine.conntrack = privileged.conntrack;
    engine.reload.started_from_last_good = usable.file_errors.is_some();
    engine.self_check = SelfCheck::new(paths.control_socket());
    engine.adopt(holders, owed)?;
    // Nothing is lost any more: from here on the kernel keeps packets until they are
    // looked at. Without systemd there is nobody to notify.
    engine.notifier.ready();
    if !spad_sandbox::deny_syscalls()? {
        warn!("the system calls of this processor are not known: none are forbidden");
    }
    match super::supervisor::run(paths, &readers, privileged.control, tasks, engine)
        .map_err(failed("serve"))?
    {
        LoopExit::Requested => Ok(()),
        LoopExit::Failed(why) => Err(StartError::Ended(why)),
    }
}

/// With another state it would not be seen by the lock. The table of a daemon that is at work
/// stays as it was; what else holds the state keeps nothing from being hidden.
fn check_not_running(paths: &Paths, hidden: EarlyHiding) -> Result<(), StartError> {
    let unlocked = StateDir::check_unlocked(paths).map_err(StartError::State);
    let unserved = check_free(&paths.control_socket()).map_err(StartError::Control);
    match (&unlocked, &unserved) {
        (_, Err(_)) => hidden.undo(),
        (Err(_), _) => hide_without_writer(paths),
        (Ok(()), Ok(())) => {}
    }
    unlocked.and(unserved)
}

/// Hides by an emergency table of this process's own where the firewall writer could not be
/// started, or gave up.
fn hide_without_writer(paths: &Paths) {
    match writer::hide_only(paths) {
        Ok(Some(hides)) => warn!("{hides}"),
        Ok(None) => {}
        Err(error) => error!("nothing could be hidden: {error}"),
    }
}

/// What was begun while there were privileges.
struct Privileged {
    clients: Clients,
    writer: WriterClient,
    runner: Option<RunnerClient>,
    captures: Vec<Capture>,
    control: UnixListener,
    audit: AuditLog,
    conntrack: ConntrackMonitor,
}

/// Begins all that needs a privilege, and gives the privileges away.
fn start_privileged(
    paths: &Paths,
    config: &Arc<Config>,
    identity: &Identity,
    writer: WriterClient,
    binary: &Path,
) -> Result<Privileged, StartError> {
    let clients = load_keys(
        paths,
        Arc::clone(config),
        AllowedOwner::CurrentUserOr(identity.uid),
    )?;
    let runner = match config.needs_runner() {
        true => Some(RunnerClient::start(binary, paths)?),
        false => None,
    };
    let options = CaptureOptions {
        carriers: config.listen.carriers.clone(),
        interfaces: config.listen.interfaces.clone(),
        ring_frames: RING_FRAMES,
    };
    let captures = match config.listen.threads {
        1 => vec![Capture::open(&options)?],
        threads => Capture::open_fanout_group(&options, threads)?,
    };
    if let Some(capture) = captures.first() {
        let listened = config.listen.interfaces.iter().flatten();
        let listened = listened.map(String::as_str);
        let allowed = config.allowed_interfaces();
        let absent = [
            missing_interfaces(listened, InterfaceSetting::Listen, capture.as_fd()),
            missing_interfaces(allowed, InterfaceSetting::AlwaysAllow, capture.as_fd()),
        ];
        for warning in absent.into_iter().flatten() {
            warn!(
                "{warning}\n  help: correct it in spad.toml if it is misspelt (ip link lists them)"
            );
        }
    }
    let group = spad_sys::users::group("spad-admin")
        .ok()
        .flatten()
        .map(|group| group.gid);
    let control = bind(&paths.control_socket(), group)?;
    make_audit_directory(&config.log.audit, identity)?;
    let conntrack = ConntrackMonitor::open();
    let coverage = spad_sandbox::enter(identity, &allowed_paths(paths, config))?;
    report_confinement(&coverage);
    let audit = AuditLog::open(&config.log.audit).map_err(|source| StartError::Audit {
        path: config.log.audit.clone(),
        source,
    })?;
    Ok(Privileged {
        clients,
        writer,
        runner,
        captures,
        control,
        audit,
        conntrack,
    })
}

/// An older Landlock is no fault: what it leaves out the forbidden calls and the file modes
/// refuse. None at all is one that can be mended.
fn report_confinement(coverage: &LandlockCoverage) {
    match coverage {
        LandlockCoverage::Full => {}
        LandlockCoverage::Partial(missing) => info!(
            "the engine sees its own directories only; this kernel's Landlock does not restrict {missing}"
        ),
        LandlockCoverage::None(why) => warn!(
            "this kernel does not confine the engine to its own directories ({why}): it can read what every user can; the rest of its confinement is in force\n  help: see that `landlock` is in /sys/kernel/security/lsm: add it to lsm= on the kernel's command line, or use a kernel that has it"
        ),
    }
}

fn allowed_paths(paths: &Paths, config: &Config) -> AllowedPaths {
    // An editor puts another file in a file's place, so the directory is what is seen.
    let one_time = config.knock.iter();
    let one_time = one_time.filter_map(|door| door.pattern.sequences.one_time()?.file.parent());
    // The state for the keys at a reload: what it writes there it has open already.
    // And the rules of time zones, for `[policy] time_zone`.
    let always = [&*paths.config, &*paths.state]
        .into_iter()
        .chain([Path::new("/usr/share/zoneinfo"), Path::new("/etc/zoneinfo")]);
    AllowedPaths {
        read: always.chain(one_time).map(Path::to_owned).collect(),
        write: config
            .log
            .audit
            .parent()
            .into_iter()
            .map(Path::to_owned)
            .collect(),
    }
}

/// The engine must not be able to put other files in the place of those that root
/// and the firewall writer read; `spad init` makes it so.
fn state_owner_warning(state: &Path, engine: u32) -> Option<String> {
    let owner = std::fs::metadata(state).ok()?.uid();
    (owner == engine).then(|| {
        let state = state.display();
        format!(
            "{state} belongs to the engine's user, which could replace the firewall writer's files in it; help: chown root {state}, and chmod 750 {state} with the engine's group"
        )
    })
}

/// The audit file's directory, the engine's own, where it is missing.
fn make_audit_directory(audit: &Path, identity: &Identity) -> Result<(), StartError> {
    let Some(directory) = audit.parent() else {
        return Ok(());
    };
    let created = match DirBuilder::new().mode(0o750).create(directory) {
        Ok(()) => lchown(directory, Some(identity.uid), Some(identity.gid)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    created.map_err(|source| StartError::Audit {
        path: audit.to_owned(),
        source,
    })
}

/// Root's own, so that nobody else can stand in the control socket's place.
fn make_run_directory(run: &Path) -> Result<(), StartError> {
    let failed = |reason: std::io::Error| StartError::RunDirectory {
        path: run.to_owned(),
        reason: reason.to_string(),
    };
    if run.symlink_metadata().is_err() {
        DirBuilder::new()
            .recursive(true)
            .create(run)
            .map_err(failed)?;
        // Whatever the umask: members of spad-admin must come through.
        std::fs::set_permissions(run, Permissions::from_mode(0o755)).map_err(failed)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_may_change_nothing_in_the_state_directory_but_what_it_has_open() {
        let config = spad_config::check(&files(), clock::now().wall);
        let config = config.unwrap().config;
        let paths = Paths {
            config: "/etc/spad".into(),
            state: "/var/lib/spad".into(),
            run: "/run/spad".into(),
        };
        let visible = allowed_paths(&paths, &config);
        assert!(visible.read.contains(&paths.state));
        assert_eq!(visible.write, [PathBuf::from("/var/log/spad")]);
    }

    fn files() -> spad_config::Files {
        let mut files = spad_config::Files::empty(Path::new("/etc/spad"));
        let text = "hide = []\n[services]\nssh = \"tcp/22\"\n[listen]\nport = 62201\n";
        files.server = Some(spa_findings::Source::new(
            Path::new("/etc/spad/spad.toml"),
            text.to_owned(),
        ));
        files
    }

    #[test]
    fn in_the_run_directory_nobody_else_can_stand_in_the_control_sockets_place() {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path().join("run");
        make_run_directory(&run).unwrap();
        make_run_directory(&run).unwrap();
        for mode in [0o775, 0o757] {
            std::fs::set_permissions(&run, Permissions::from_mode(mode)).unwrap();
            assert!(make_run_directory(&run).is_err(), "{mode:o}");
        }
        std::fs::set_permissions(&run, Permissions::from_mode(0o755)).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&run, &link).unwrap();
        assert!(make_run_directory(&link).is_err(), "a link");
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        assert!(make_run_directory(&file).is_err(), "a file");
        // Needs root.
        lchown(&run, Some(4242), None).unwrap();
        assert!(make_run_directory(&run).is_err(), "another's");
    }

    #[test]
    fn a_state_directory_of_the_engine_is_complained_of() {
        let directory = tempfile::tempdir().unwrap();
        let owner = std::fs::metadata(directory.path()).unwrap().uid();
        let said = state_owner_warning(directory.path(), owner).unwrap();
        assert!(said.contains("help: chown root"), "{said}");
        assert_eq!(state_owner_warning(directory.path(), owner + 1), None);
    }
}
