//! The firewall writer: the one process that may change the firewall.
//!
//! Started by the engine as root, which has hidden what `spad.toml` hides by then ([`early_hiding`]),
//! it reads the configuration itself, so no message can widen
//! a limit, and waits until the engine says that the state is its own. Then it becomes
//! `spad-fw` with CAP_NET_ADMIN alone, loads the table `inet spad` or adopts the one that
//! stands, and takes the closed set of messages of `firewall::message`. It parses nothing
//! that came from the network, and never touches any table but its own; in the mode "set",
//! its own sets in the table that the configuration names. It ends when its socket does; the
//! table stays.

mod announcer;
mod command;
mod config_loader;
mod cut;
pub mod early_hiding;
mod element_key;
mod emergency;
mod existing_connections;
mod expected;
mod flush_watch;
mod grant_sets;
mod hidden_file;
mod limits;
mod listing;
mod load_lock;
mod managed_table;
mod netlink;
mod nft;
pub mod offline;
mod other_tables;
mod privileges;
mod restores;
mod set_mode;
pub mod trial_file;
mod writer_loop;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use announcer::Announcer;
pub use early_hiding::{EarlyHiding, hide};
use grant_sets::GrantSets;
use limits::Limits;
use managed_table::ManagedTable;
use netlink::{Events, Netlink, TableChanges};
pub use nft::NftError;
pub use offline::{Dialect, FirewallView, KernelState, hide_only, load, remove, show, snippet};
use other_tables::OtherTables;
pub use privileges::config_reader;
use restores::Restores;
use rustix::io::Errno;
use spa_findings::Findings;
use spad_config::{ConfigTexts, StartConfig};
use spad_ipc::{EndpointError, Incoming};
use spad_model::Paths;
use spad_sandbox::SandboxError;
use spad_sys::journald::Priority;
use spad_sys::{clock, journald, malloc, process, scheduling};
use trial_file::GuardDir;
use writer_loop::{RepairBackoff, WriterLoop};

use crate::table::{PrintError, SetLocation};
use crate::{FromWriter, ToWriter};

/// Why the writer cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The kernel would not let it.
    #[error("changing the firewall needs CAP_NET_ADMIN\n  help: start spad as root")]
    MissingCapability,
    /// Nobody to become.
    #[error(
        "there is neither a user `spad-fw` nor `nobody`\n  help: adduser --system --group --no-create-home spad-fw"
    )]
    MissingUser,
    /// Nobody of the name that the configuration gives.
    #[error(
        "there is no user `{0}`, as [firewall] user says\n  help: adduser --system --group --no-create-home {0}"
    )]
    UnknownUser(String),
    /// The kernel refused a step down.
    #[error("cannot {step}: {reason}\n  help: start spad as root, from systemd or a root shell")]
    Syscall {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// Its system calls could not be forbidden.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Its own directory cannot be used.
    #[error(
        "cannot use {directory}: {reason}\n  help: check the disk, and that the state directory is root's own; `spad init` makes what is missing"
    )]
    Directory {
        /// Which one.
        directory: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The configuration does not load, and there is no last good one.
    #[error("{0}")]
    Configuration(Findings),
    /// The table could not be loaded.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// A rule could not be printed.
    #[error(transparent)]
    Print(#[from] PrintError),
    /// The table could not be loaded, and something else hides meanwhile.
    #[error(
        "{reason}\n  note: {hides}\n  help: once `nft` works again: `systemctl restart spad-guard`, or `spad firewall load`; a running daemon tries by itself"
    )]
    NotLoaded {
        /// Why not.
        reason: String,
        /// What hides.
        hides: &'static str,
    },
    /// Something failed before `nft` was started, and something hides all the same.
    #[error("{reason}\n  note: {hides}")]
    Hidden {
        /// What.
        reason: String,
        /// What hides.
        hides: &'static str,
    },
    /// It cannot be told where the configuration is, once this process works elsewhere.
    #[error(
        "cannot tell where {configuration} is, for the working directory is gone: {reason}\n  help: start it from another directory, or give --config from the root on"
    )]
    WorkingDirectory {
        /// The path as it was given.
        configuration: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// Neither `nft` nor the kernel by itself took a table: what is to be hidden is not.
    #[error(
        "{reason}\n  note: nothing is hidden; for an emergency table the kernel said: {kernel}"
    )]
    NothingHidden {
        /// Why `nft` did not load it.
        reason: String,
        /// Why the kernel did not.
        kernel: String,
    },
    /// `nft` ended well, and the kernel does not hide what it should.
    #[error(
        "nft reported success, and the table inet spad is not there\n  help: run `nft --version` and `nft list table inet spad` as root; is it the program of nftables?"
    )]
    TableMissing,
    /// A set of our name in a table of the administrator's is made otherwise.
    #[error(
        "the set {set} of the table inet {table} is not made as ours is\n  help: take it out of your ruleset, and put in what `spad firewall snippet` prints"
    )]
    SetMismatch {
        /// The table.
        table: String,
        /// The set.
        set: String,
    },
    /// Rules of the administrator's refer to our sets.
    #[error(
        "the sets are empty now, and your rules in the table inet {table} refer to them still\n  help: take what `spad firewall snippet` prints out of your ruleset, load that, and say this again"
    )]
    SetInUse {
        /// The table.
        table: String,
    },
    /// The socket to the engine failed, or carried what is not a message.
    #[error(transparent)]
    Engine(#[from] EndpointError),
    /// The engine sent something else before it said to begin.
    #[error("the engine spoke out of turn")]
    UnexpectedMessage,
    /// The system refused to wait for the engine, or to change what it does about its end.
    #[error("the socket to the engine: {0}")]
    Socket(io::Error),
    /// Netlink failed.
    #[error("the kernel's firewall: {0}")]
    Kernel(io::Error),
}

/// The writer's end of the socket to the engine.
type Endpoint = spad_ipc::Endpoint<ToWriter, FromWriter>;

/// Runs the writer on its end of the engine's socket, until that ends.
///
/// # Errors
/// Why it had to end. Why it could not start is told to the engine instead.
pub fn run(socket: OwnedFd, paths: &Paths) -> Result<(), WriterError> {
    process::new_session();
    malloc::limit_malloc_cache();
    // What is read here is for nobody where the engine has ended; the socket tells that, too.
    let _ = process::set_parent_death_signal();
    let mut engine = Endpoint::new(socket);
    // Costs time where it fails, nothing else; the engine says so for both.
    let _ = scheduling::set_short_slice();
    // Beside the engine, which reads the same files: with many clients that takes longest.
    let mut config = read_config(paths);
    if !wait_for_begin(&mut engine)? {
        return Ok(());
    }
    // Later it ends by itself, and first closes what it must.
    process::clear_parent_death_signal().map_err(WriterError::Socket)?;
    // The engine has read its own by now: what is hidden must not go by an older one.
    if !matches!(&config, Ok((_, texts)) if texts.is_current(&paths.config)) {
        config = read_config(paths);
    }
    let started = match config.and_then(|found| become_unprivileged(paths, found)) {
        Ok(stepped) => match stepped.usable.loaded.config.external.clone() {
            Some(external) => return command::run(engine, stepped, external),
            None => start(engine, stepped),
        },
        Err(error) => Err((engine, error)),
    };
    match started {
        Ok(mut keeper) => keeper.run(),
        // The engine says it, and ends too.
        Err((engine, error)) => Ok(engine.send(&FromWriter::Failed(error.to_string()))?),
    }
}

/// Waits for the first message. False where no engine is left that still wants the writer to
/// begin: another daemon may hold the state by now.
fn wait_for_begin(engine: &mut Endpoint) -> Result<bool, WriterError> {
    loop {
        engine.wait()?;
        match engine.receive()? {
            Incoming::Message(ToWriter::Begin) => return Ok(!engine.peer_closed()),
            Incoming::Message(ToWriter::Stop) | Incoming::Closed => return Ok(false),
            Incoming::Message(_) => return Err(WriterError::UnexpectedMessage),
            Incoming::Nothing => {}
        }
    }
}

/// Loads the table, says that it stands.
fn start(
    engine: Endpoint,
    unprivileged: Unprivileged,
) -> Result<WriterLoop, (Endpoint, WriterError)> {
    let prepared = match prepare(unprivileged) {
        Ok(prepared) => prepared,
        Err(error) => return Err((engine, error)),
    };
    let Prepared {
        mut kernel,
        mut guard,
        events,
        usable,
        texts,
        configuration,
        problem: without_user,
    } = prepared;
    let now = clock::now().boot;
    match kernel.adopt(now) {
        // Where there was no table, there is nothing to take over.
        Ok(_) | Err(Errno::NOENT) => {}
        Err(error) => return Err((engine, WriterError::Kernel(error.into()))),
    }
    let limits = Limits::from_config(&usable.loaded.config);
    let (report, problem) = match guard.start(&mut kernel, now) {
        Ok(report) => report,
        Err(error) => return Err((engine, error)),
    };
    // It works as root for no longer than that.
    if let Some(error) = without_user {
        return Err((engine, error));
    }
    if usable.file_errors.is_none() {
        guard.save_last_good(&texts);
    }
    drop(texts);
    malloc::malloc_trim();
    match Announcer::new(&engine) {
        Ok(announcer) => guard.set_announcer(announcer),
        Err(error) => return Err((engine, error)),
    }
    let mut writer = WriterLoop {
        engine,
        kernel,
        guard,
        limits,
        events,
        configuration,
        backoff: problem.as_ref().map(|_| RepairBackoff::following(None)),
        changes: TableChanges::default(),
        postponed_since: None,
        config_loader: None,
        restores: Restores::default(),
        other_tables: OtherTables::default(),
    };
    writer.read_own_events();
    writer.other_tables.changed(now);
    let told = writer.send(&FromWriter::Ready);
    let told = told.and_then(|()| writer.report(report));
    let told = told.and_then(|()| match problem {
        Some(problem) => writer.report_not_loaded(&problem),
        None => writer.report_stranger_reply(),
    });
    match told {
        Ok(()) => Ok(writer),
        Err(error) => Err((writer.engine, error)),
    }
}

/// What is ready once the privileges are given away.
struct Prepared {
    kernel: GrantSets,
    guard: ManagedTable,
    events: Events,
    usable: StartConfig,
    texts: ConfigTexts,
    configuration: PathBuf,
    problem: Option<WriterError>,
}

/// What was read as root, by a process that is root no more.
struct Unprivileged {
    usable: StartConfig,
    texts: ConfigTexts,
    configuration: PathBuf,
    guard_dir: GuardDir,
    /// Why it is still root, with CAP_NET_ADMIN alone: enough to load the table, and to end.
    problem: Option<WriterError>,
}

/// Reads what only root may read. Nothing is changed by that: another daemon may be at work
/// with the same state.
fn read_config(paths: &Paths) -> Result<(StartConfig, ConfigTexts), WriterError> {
    privileges::require_net_admin()?;
    spad_config::for_firewall(paths, clock::now().wall).map_err(WriterError::Configuration)
}

/// Gives root's privileges away, in a directory of its own.
fn become_unprivileged(
    paths: &Paths,
    (usable, texts): (StartConfig, ConfigTexts),
) -> Result<Unprivileged, WriterError> {
    let configuration =
        std::path::absolute(&paths.config).map_err(|reason| WriterError::WorkingDirectory {
            configuration: paths.config.clone(),
            reason,
        })?;
    let external = usable.loaded.config.external.as_ref();
    let user = external.and_then(|external| external.user.as_deref());
    let net_admin = external.is_none_or(|external| external.keep_net_admin);
    let (identity, mut problem) = match privileges::identity(user) {
        Ok(identity) => (identity, None),
        // Another's programs must not be run by root.
        Err(error) if external.is_some() => return Err(error),
        Err(error) => (None, Some(error)),
    };
    if identity
        .as_ref()
        .is_some_and(|identity| identity.is_fallback)
    {
        warn("there is no user `spad-fw`, so the firewall writer runs as `nobody`");
    }
    let directory = paths.guard_state();
    let detected = GuardDir::detect(PathBuf::from("."), paths, &directory);
    let guard_dir = match privileges::enter_directory(&directory, identity.as_ref()) {
        Ok(()) => detected,
        // Programs of [firewall] are told there what is still to be closed.
        Err(error) if external.is_some() => return Err(error),
        Err(error) => {
            warn(&format!(
                "{error}\n  note: what is hidden stays hidden without it"
            ));
            GuardDir::Unusable
        }
    };
    if let Err(error) = privileges::drop_privileges(identity.as_ref(), net_admin) {
        if external.is_some() {
            return Err(error);
        }
        problem.get_or_insert(error);
    }
    Ok(Unprivileged {
        usable,
        texts,
        configuration,
        guard_dir,
        problem,
    })
}

/// Opens what a process that has stepped down needs for the kernel's firewall.
fn prepare(unprivileged: Unprivileged) -> Result<Prepared, WriterError> {
    let Unprivileged {
        usable,
        texts,
        configuration,
        guard_dir: memory,
        problem,
    } = unprivileged;
    let leftover = command::leftover_count();
    if leftover > 0 {
        warn(&format!(
            "the programs of an earlier [firewall] have {leftover} openings still to close: start spad once with them, or close them by hand and remove command.json from the directory of the firewall writer"
        ));
    }
    // A socket that root opened would fail after the step down, so these come here.
    let kernel = GrantSets::new(
        Netlink::open(SetLocation::from_config(&usable.loaded.config))
            .map_err(WriterError::Kernel)?,
    );
    let events = Events::open().map_err(WriterError::Kernel)?;
    // The engine says it where this processor's calls are not known.
    let _known = spad_sandbox::deny_writer_syscalls()?;
    let (guard, warnings) = ManagedTable::new(usable.loaded.config.clone(), memory);
    for warning in warnings {
        warn(&warning);
    }
    Ok(Prepared {
        kernel,
        guard,
        events,
        usable,
        texts,
        configuration,
        problem,
    })
}

/// What closed ports of this host answer, by the rules that stand now. For root: nobody else
/// may see them.
#[must_use]
pub fn closed_ports() -> crate::closed_ports::ClosedPorts {
    other_tables::read_closed_ports(nft::TIME_LIMIT)
}

/// Says something to whoever reads this process's standard error: the journal, or a terminal.
fn warn(text: &str) {
    use std::io::Write as _;
    // Nobody is left to tell where that fails.
    let text = format!("spad firewall-writer: {text}");
    let lines = journald::for_stderr(Priority::Warning, &text);
    let _ = writeln!(io::stderr().lock(), "{lines}");
}
