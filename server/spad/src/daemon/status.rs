//! The answer to `spad status`.

use std::sync::Arc;

use spad_capture::InterfaceSetting;
use spad_model::{Now, PortState};

use super::engine_loop::EngineLoop;
use super::reload_actions::NEEDS_RESTART;
use crate::control::message::Status;

impl EngineLoop {
    pub(super) fn status(&mut self, now: Now) -> Status {
        let captured = self.ingress.statistics();
        self.merge_prefilter_counters();
        let helpers = self.helpers_warnings(now.boot);
        let executor = &mut self.executor;
        let engine = &mut executor.engine;
        let config = Arc::clone(engine.clients().config());
        let mut warnings: Vec<String> = self.reload.warnings().map(str::to_owned).collect();
        if let Some(why) = &self.writer_state.table_error {
            warnings.push(format!(
                "the firewall's table cannot be loaded, and knocks open nothing: {why}"
            ));
        }
        warnings.extend(self.fixed.restart_warnings(&config).map(str::to_owned));
        if !config.knock.is_empty() {
            warnings.push(
                "[[knock]] opens doors by sequences of knocks, which are no secret from whoever sees them go by: give their users a key, `spad client add`".to_owned(),
            );
        }
        let for_one_use = engine.remaining_sequences().next().is_some();
        if let Some(problem) = executor.used.problem().filter(|_| for_one_use) {
            warnings.push(format!("no sequence for one use opens its door: {problem}"));
        }
        if config.needs_runner() && executor.runner.is_none() {
            warnings.push(NEEDS_RESTART.to_owned());
        }
        let listen_interfaces = self.fixed.listen.interfaces.iter().flatten();
        warnings.extend(self.ingress.missing_interfaces(
            listen_interfaces.map(String::as_str),
            InterfaceSetting::Listen,
        ));
        let allowed = config.allowed_interfaces();
        warnings.extend(
            self.ingress
                .missing_interfaces(allowed, InterfaceSetting::AlwaysAllow),
        );
        let exposed = self
            .writer_state
            .ports(|state| matches!(state, PortState::Exposed));
        if !exposed.is_empty() {
            warnings.push(format!(
                "everybody can see {}: nobody reached it while it was on trial; `spad confirm` hides it for good",
                exposed.join(", ")
            ));
        }
        warnings.extend(helpers);
        warnings.extend(executor.state.warnings());
        warnings.extend(engine.refuses_until(now));
        warnings.extend(self.self_check.warnings());
        let is_closed = executor.state.is_closed();
        warnings.extend(self.conntrack.warning());
        let mut strangers = self.writer_state.closed_port_report.lines();
        let strangers_get = strangers.next().unwrap_or_default().to_owned();
        warnings.extend(strangers.map(|line| format!("strangers at hidden ports: {line}")));
        let status = Status {
            strangers_get,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: now.boot.saturating_since(self.started.boot).as_secs(),
            port: self.fixed.listen.ports.to_string(),
            carriers: self.fixed.listen.carriers.to_string(),
            hidden: self.writer_state.hidden(&config),
            shown: exposed,
            on_trial: self
                .writer_state
                .ports(|state| matches!(state, PortState::OnTrial(_))),
            clients: config.clients.len(),
            open_grants: engine.open_grants(),
            windows_gave_way: engine.evictions().windows,
            connections_gave_way: engine.evictions().connections,
            sequences_left: engine
                .remaining_sequences()
                .map(|(door, left)| (door.to_string(), left))
                .collect(),
            capture_threads: self.ingress.threads(),
            captured: captured.seen,
            capture_dropped: captured.dropped,
            audit_dropped: executor.audit.dropped(),
            verdicts: engine
                .counters()
                .iter()
                .map(|(reason, count)| (reason.as_str().to_owned(), count))
                .collect(),
            replay_entries: 0,
            warnings,
        };
        let (cache, horizon) = engine.replay_state_mut();
        let mut status = Status {
            replay_entries: cache.len(),
            ..status
        };
        if !horizon.is_known() && !is_closed {
            status.warnings.push(
                "the horizon is not known: no packet is accepted until `spad replay reset`"
                    .to_owned(),
            );
        } else if let Some(by) = horizon.ahead_of(now.wall) {
            status.warnings.push(format!(
                "packets up to {} s ahead of the clock were once accepted; if the clock was wrong then and is right now: `spad replay reset`",
                by.as_secs()
            ));
        }
        status
    }
}
