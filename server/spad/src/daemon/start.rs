//! [IO] The order of a start.
//!
//! 1. This process hides the services, by `spad.toml` alone ([`writer::hide`]). Nothing that could
//!    hang or fail comes before.
//! 2. If no other daemon runs, the firewall writer reads the configuration and loads the table.
//! 3. Everything that needs a privilege follows: configuration, state with its lock, keys, packet
//!    sockets, control socket.
//! 4. The privileges are dropped for good. Only then does the daemon read a stranger's first byte.

use std::sync::Arc;

use spad_capture::Ingress;
use spad_config::{Config, StartConfig, load_or_last_good};
use spad_engine::Engine;
use spad_engine::audit::event::Event;
use spad_firewall::writer::EarlyHiding;
use spad_firewall::{StartingWriter, writer};
use spad_model::Paths;
use spad_replay::{OpenedState, StateDir, UsedSequences};
use spad_sys::{clock, fd_limit};
use tracing::{error, warn};

use super::directories::{make_run_directory, state_owner_warning};
use super::engine_loop::{EngineLoop, LoopExit};
use super::executor::Executor;
use super::notifier::Notifier;
use super::privileged::{check_privileges, start_privileged};
use super::self_check::SelfCheck;
use super::start_error::StartError;
use crate::control::server::check_free;

/// Starts everything, drops the privileges, and serves until a signal stops it.
///
/// # Errors
/// Why it did not start, or why it stopped without a signal.
pub fn run(paths: &Paths) -> Result<(), StartError> {
    spad_sys::malloc::limit_malloc_cache();
    super::log::start();
    let descriptors = fd_limit::raise();
    // Nothing that is logged, hangs or fails comes before this.
    let hidden = writer::hide(paths);
    check_not_running(paths, hidden)?;
    let spawned = check_privileges().and_then(|()| {
        let binary = std::env::current_exe().map_err(|source| StartError::Syscall {
            step: "find its own executable",
            source,
        })?;
        let mut writer = StartingWriter::spawn(&binary, paths)?;
        writer.send_begin()?;
        Ok((writer, binary))
    });
    let usable = load_or_last_good(paths, clock::now().wall);
    // The table is loaded before any error in the configuration or below ends the start.
    let ready = spawned
        .and_then(|(writer, binary)| Ok((writer.wait_ready()?, binary)))
        .inspect_err(|_| hide_without_writer(paths));
    // Too few descriptors are the cause of whatever else failed, and would fail later.
    descriptors?;
    let (writer, binary) = ready?;
    let notifier = Notifier::connect();
    let usable = usable.map_err(StartError::Configuration)?;
    let from_last_good = usable.file_errors.is_some();
    let config = Arc::new(report_config(paths, usable));
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
        Ok(privileged) => privileged,
        Err(error) => {
            // No packet was accepted, so the next start may trust the state as this one did.
            let _else_it_does_not = opened.state.clean_stop();
            return Err(error);
        }
    };
    let OpenedState {
        state,
        cache,
        horizon,
        holders,
        pending_hooks,
    } = opened;
    // The engine keeps it until the next reload. A second reference would keep a large one longer.
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
    engine.reload.started_from_last_good = from_last_good;
    engine.self_check = SelfCheck::new(paths.control_socket());
    engine.adopt(holders, pending_hooks)?;
    // From here on no packet is lost, because the kernel queues them.
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

/// Logs what is wrong with the configuration of the start, and returns it.
fn report_config(paths: &Paths, usable: StartConfig) -> Config {
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
    usable.loaded.config
}

/// Checks that no other daemon runs. The lock does not show one that has another state.
///
/// The table of a running daemon stays as it was. If only the state is locked, the services are
/// hidden all the same.
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

/// Hides by an emergency table of this process, because the firewall writer did not start or gave
/// up.
fn hide_without_writer(paths: &Paths) {
    match writer::hide_only(paths) {
        Ok(Some(hides)) => warn!("{hides}"),
        Ok(None) => {}
        Err(error) => error!("nothing could be hidden: {error}"),
    }
}
