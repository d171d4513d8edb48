//! [IO] Does what `reload.rs` decides.

use spad_engine::audit::event::Event as AuditEvent;
use spad_firewall::ToWriter;
use spad_model::ClientName;
use spad_sys::clock;
use tracing::{error, info, warn};

use super::engine_loop::EngineLoop;
use super::load_config::LoadedConfig;
use super::reload::{Action, Candidate, Event};
use crate::runner::message::ToRunner;

/// The runner must be started with privileges that nobody has any more.
pub(super) const NEEDS_RESTART: &str =
    "the first command or hook of a configuration needs a restart: systemctl restart spad";

impl EngineLoop {
    /// Does what follows from an event of a reload.
    pub(super) fn on_reload_event(&mut self, event: Event<Box<LoadedConfig>>) {
        for action in self.reload.on(event) {
            self.execute_reload(action);
        }
    }

    fn execute_reload(&mut self, action: Action<Box<LoadedConfig>>) {
        match action {
            Action::AskRunnerToLoad => self.executor.send_to_runner(ToRunner::LoadConfig),
            Action::AskWriterToLoad => {
                self.executor.send(ToWriter::Reload);
                // The writer reads the files on a thread, so its loop still answers.
                self.executor.send(ToWriter::Ping);
            }
            Action::Commit {
                candidate,
                disabled,
                trial_notes,
            } => self.commit(candidate, &disabled, &trial_notes),
            Action::Refuse { by, why, reply } => {
                self.executor.audit_event(AuditEvent::ReloadFailed);
                error!("the new configuration was refused by {by}: {why}");
                reply.fail(format!("the running configuration stays\n{why}"));
            }
            Action::Answer(reply, response) => reply.send(response),
            Action::AuditFailed => self.executor.audit_event(AuditEvent::ReloadFailed),
        }
    }

    /// Uses a configuration that the firewall writer uses already.
    fn commit(
        &mut self,
        candidate: Candidate<Box<LoadedConfig>>,
        disabled: &[ClientName],
        trial_notes: &[String],
    ) {
        let LoadedConfig { clients, warnings } = *candidate.config;
        let restart_warnings: Vec<_> = self.fixed.restart_warnings(clients.config()).collect();
        let now = clock::now();
        let old_clients = self.executor.run_engine(now, |engine, effects| {
            let old = engine.reload(clients, now, effects);
            for client in disabled {
                engine.disable(client, now, effects);
            }
            old
        });
        // Freeing very many clients takes long. Without a thread for it, this one does it.
        let forget = std::thread::Builder::new().name("forget".to_owned());
        let _thread = forget.spawn(move || {
            drop(old_clients);
            spad_sys::malloc::malloc_trim();
        });
        let clients = self.executor.engine.clients();
        self.ingress.set_head_keys(clients.head_keys());
        self.executor
            .state
            .set_policy(clients.config().packets.on_state_error);
        self.executor.log_state_events();
        self.precomputing_keys = true;
        self.executor.audit_event(AuditEvent::Reload);
        self.executor.audit.reopen();
        self.executor.send(ToWriter::Trials);
        info!("the new configuration is in use");
        let sequences = self.executor.sequence_findings();
        let mut message = format!("the new configuration is in use\n{warnings}{sequences}");
        for note in trial_notes {
            message.push_str(&format!("{note}\n"));
        }
        for warning in self.apply_in_runner().into_iter().chain(restart_warnings) {
            message.push_str(&format!("warning: {warning}\n"));
        }
        candidate.reply.done(message);
    }

    /// Puts the configuration in force in the runner. Returns what a first command needs.
    fn apply_in_runner(&mut self) -> Option<&'static str> {
        self.executor.send_to_runner(ToRunner::ApplyConfig);
        let needed = self.executor.engine.clients().config().needs_runner();
        (needed && self.executor.runner.is_none()).then(|| {
            warn!("{NEEDS_RESTART}");
            NEEDS_RESTART
        })
    }
}
