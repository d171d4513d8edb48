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
use spa_keys::file::Owner;
use tracing::{error, info, warn};

use crate::audit::{AuditLog, Event};
use crate::capture::{
    Capture, CaptureError, CaptureOptions, Ingress, InterfaceSetting, RING_FRAMES,
    missing_interfaces,
};
use crate::clients::Clients;
use crate::config::{Config, load_or_last_good};
use crate::control::server::{ListenError, bind, nobody_serves};
use crate::engine::Engine;
use crate::fd_limit::{self, FdLimitError};
use crate::firewall::{StartingWriter, WriterClient, WriterClientError};
use crate::paths::Paths;
use crate::replay::{OpenedState, StateDir, StateError, UsedSequences};
use crate::runner::link::{Runner, RunnerLinkError};
use crate::sandbox::{self, Confinement, Identity, SandboxError, Visible};
use crate::writer::{self, EarlyHiding};
use crate::{clock, sys};

use super::configuration::{PrepareError, prepare};
use super::door::Door;
use super::engine_loop::{Ended, EngineLoop};
use super::look::Look;
use super::notifier::Notifier;
use super::tracking::Tracking;

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
    Keys(#[from] PrepareError),
    /// The firewall writer.
    #[error(transparent)]
    Firewall(#[from] WriterClientError),
    /// The command runner.
    #[error(transparent)]
    Runner(#[from] RunnerLinkError),
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
    sys::malloc::limit_malloc_cache();
    super::log::start();
    let descriptors = fd_limit::raise();
    // Before anything is said, and before anything that may hang or fail.
    let hidden = writer::hide(paths);
    nobody_is_at_work(paths, hidden)?;
    let loaded = check_privileges().and_then(|()| {
        let binary = std::env::current_exe().map_err(|source| StartError::System {
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
    if let Some(findings) = &usable.instead_of {
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
    let identity = sandbox::engine_identity()?;
    if identity.stand_in {
        warn!(
            "there is no user `spad`: running as `nobody`, which other programs may share; help: adduser --system --group --no-create-home spad"
        );
    }
    let readers = super::readers::readers();
    make_run_directory(&paths.run)?;
    if let Some(warning) = state_of_the_engine(&paths.state, identity.uid) {
        warn!("{warning}");
    }
    let opened = StateDir::open(
        paths,
        clock::now(),
        config.packets.max_skew,
        config.packets.on_state_error,
    )?;
    let (used, used_sequences) = UsedSequences::open(&paths.state, opened.state.used_mark());
    let begun = match begin(paths, &config, &identity, writer, &binary) {
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
    sys::malloc::malloc_trim();
    let mut engine = Engine::new(begun.clients, cache, horizon);
    if let Some(used) = used_sequences {
        engine.load_used_sequences(used);
    }
    let for_one_use = engine.remaining_sequences().next().is_some();
    if let Some(problem) = used.problem().filter(|_| for_one_use) {
        error!("no sequence for one use opens its door: {problem}");
    }
    let mut door = Door::new(engine, state, used, begun.writer, begun.runner, begun.audit);
    for finding in door.sequences_to_tell().to_string().lines() {
        warn!("{finding}");
    }
    if let Some(warning) = door.engine.refuses_until(clock::now()) {
        warn!("{warning}");
    }
    door.tell(Event::Start);
    let failed = |step| move |source| StartError::System { step, source };
    let (orders, inbox) = super::order::queue().map_err(failed("make an event descriptor"))?;
    let intake = Ingress::new(begun.captures, door.engine.clients().head_keys().clone())
        .map_err(failed("make an event descriptor"))?;
    let mut engine = EngineLoop::new(intake, door, inbox, notifier, clock::now())
        .map_err(failed("make a timer"))?;
    engine.tracking = begun.tracking;
    engine.replies.last_good = usable.instead_of.is_some();
    engine.look = Look::at(paths.control_socket());
    engine.adopt(holders, owed)?;
    // Nothing is lost any more: from here on the kernel keeps packets until they are
    // looked at. Without systemd there is nobody to notify.
    engine.notifier.ready();
    if !sandbox::forbid_calls()? {
        warn!("the system calls of this processor are not known: none are forbidden");
    }
    match super::supervisor::run(paths, &readers, begun.control, orders, engine)
        .map_err(failed("serve"))?
    {
        Ended::Told => Ok(()),
        Ended::Failed(why) => Err(StartError::Ended(why)),
    }
}

/// With another state it would not be seen by the lock. The table of a daemon that is at work
/// stays as it was; what else holds the state keeps nothing from being hidden.
fn nobody_is_at_work(paths: &Paths, hidden: EarlyHiding) -> Result<(), StartError> {
    let held = StateDir::check_unlocked(paths).map_err(StartError::State);
    let served = nobody_serves(&paths.control_socket()).map_err(StartError::Control);
    match (&held, &served) {
        (_, Err(_)) => hidden.undo(),
        (Err(_), _) => hide_without_writer(paths),
        (Ok(()), Ok(())) => {}
    }
    held.and(served)
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
struct Begun {
    clients: Clients,
    writer: WriterClient,
    runner: Option<Runner>,
    captures: Vec<Capture>,
    control: UnixListener,
    audit: AuditLog,
    tracking: Tracking,
}

/// Begins all that needs a privilege, and gives the privileges away.
fn begin(
    paths: &Paths,
    config: &Arc<Config>,
    identity: &Identity,
    writer: WriterClient,
    binary: &Path,
) -> Result<Begun, StartError> {
    let clients = prepare(
        paths,
        Arc::clone(config),
        Owner::Also(identity.uid),
        String::new(),
        clock::now().boot,
    )?
    .clients;
    let runner = match config.needs_runner() {
        true => Some(Runner::start(binary, paths)?),
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
    let group = sys::users::group("spad-admin")
        .ok()
        .flatten()
        .map(|group| group.gid);
    let control = bind(&paths.control_socket(), group)?;
    make_audit_directory(&config.log.audit, identity)?;
    let tracking = Tracking::open();
    let confinement = sandbox::enter(identity, &visible(paths, config))?;
    report_confinement(&confinement);
    let audit = AuditLog::open(&config.log.audit).map_err(|source| StartError::Audit {
        path: config.log.audit.clone(),
        source,
    })?;
    Ok(Begun {
        clients,
        writer,
        runner,
        captures,
        control,
        audit,
        tracking,
    })
}

/// An older Landlock is no fault: what it leaves out the forbidden calls and the file modes
/// refuse. None at all is one that can be mended.
fn report_confinement(confinement: &Confinement) {
    match confinement {
        Confinement::Full => {}
        Confinement::Partial(missing) => info!(
            "the engine sees its own directories only; this kernel's Landlock does not restrict {missing}"
        ),
        Confinement::None(why) => warn!(
            "this kernel does not confine the engine to its own directories ({why}): it can read what every user can; the rest of its confinement is in force\n  help: see that `landlock` is in /sys/kernel/security/lsm: add it to lsm= on the kernel's command line, or use a kernel that has it"
        ),
    }
}

fn visible(paths: &Paths, config: &Config) -> Visible {
    // An editor puts another file in a file's place, so the directory is what is seen.
    let one_time = config.knock.iter();
    let one_time = one_time.filter_map(|door| door.door.sequences.one_time()?.file.parent());
    // The state for the keys at a reload: what it writes there it has open already.
    // And the rules of time zones, for `[policy] time_zone`.
    let always = [&*paths.config, &*paths.state]
        .into_iter()
        .chain([Path::new("/usr/share/zoneinfo"), Path::new("/etc/zoneinfo")]);
    Visible {
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
fn state_of_the_engine(state: &Path, engine: u32) -> Option<String> {
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
        let config = crate::config::check(&files(), clock::now().wall);
        let config = config.unwrap().config;
        let paths = Paths {
            config: "/etc/spad".into(),
            state: "/var/lib/spad".into(),
            run: "/run/spad".into(),
        };
        let visible = visible(&paths, &config);
        assert!(visible.read.contains(&paths.state));
        assert_eq!(visible.write, [PathBuf::from("/var/log/spad")]);
    }

    fn files() -> crate::config::Files {
        let mut files = crate::config::Files::none(Path::new("/etc/spad"));
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
        let said = state_of_the_engine(directory.path(), owner).unwrap();
        assert!(said.contains("help: chown root"), "{said}");
        assert_eq!(state_of_the_engine(directory.path(), owner + 1), None);
    }
}
