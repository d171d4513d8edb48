//! Messages of the firewall writer, as the engine's thread handles them.

use spa_proto::Service;
use spad_config::Config;
use spad_engine::audit::event::Event;
use spad_firewall::{FromWriter, ToWriter};
use spad_model::{Now, PortState, TrialChange, TrialEvent, TrialRow};
use tracing::{error, info, warn};

use super::engine_loop::EngineLoop;
use super::pending_replies::Awaited;
use super::reload::Event as ReloadEvent;
use super::restored::RestoreReporter;
use crate::control::Response;

/// What the firewall writer reported last.
#[derive(Debug, Default)]
pub(super) struct WriterState {
    trials: Vec<TrialRow>,
    /// What strangers get at hidden ports: a line, then a line for each warning.
    pub(super) closed_port_report: String,
    restored: RestoreReporter,
    /// Why the firewall's table is not loaded.
    pub(super) table_error: Option<String>,
}

impl WriterState {
    /// The hidden ports whose trial is in such a state, as `tcp/22`.
    pub(super) fn ports(&self, wanted: impl Fn(&PortState) -> bool) -> Vec<String> {
        let rows = self.trials.iter().filter(|row| wanted(&row.state));
        rows.map(|row| row.service.to_string()).collect()
    }

    /// The services that are hidden now. A service is not if every port's trial ended unreached.
    pub(super) fn hidden(&self, config: &Config) -> Vec<String> {
        let is_exposed = |port: &Service| {
            let mut rows = self.trials.iter();
            rows.any(|row| row.service == *port && row.state == PortState::Exposed)
        };
        let hidden = config.hide.iter().filter(|name| {
            let service = config.services.get(*name);
            !service.is_some_and(|service| service.ports.iter().all(is_exposed))
        });
        hidden.map(ToString::to_string).collect()
    }
}

impl EngineLoop {
    /// Logs that the table was restored, and how often: at once, then once a minute at most.
    pub(super) fn report_restored(&mut self, now: Now) {
        match self.writer_state.restored.take_due(now.boot) {
            None => {}
            Some((1, grants)) => warn!(
                "the firewall table was changed externally and has been restored with {grants} grants"
            ),
            Some((times, grants)) => warn!(
                "the firewall table was changed externally {times} times and has been restored each time, more slowly each time, now with {grants} grants; an emergency table hides the services meanwhile"
            ),
        }
    }

    /// Logs how closed ports answer strangers, if that changed.
    fn on_closed_port_report(&mut self, text: String) {
        if self.writer_state.closed_port_report != text {
            let mut lines = text.lines();
            info!("strangers get {}", lines.next().unwrap_or_default());
            lines.for_each(|line| warn!("strangers at hidden ports: {line}"));
            self.writer_state.closed_port_report = text;
        }
    }

    /// Handles one message of the firewall writer.
    pub(super) fn on_writer_message(&mut self, message: FromWriter, now: Now) {
        match message {
            FromWriter::Answer(answer) => {
                self.executor.on_firewall_answer(answer, now);
                self.report_closed();
                self.report_granted();
            }
            FromWriter::Reloaded(result) => {
                self.on_reload_event(ReloadEvent::WriterLoaded(result));
            }
            FromWriter::Confirmed(result) => self.on_confirmed(result),
            FromWriter::Cut(result) => self.on_cut_done(result),
            FromWriter::Restored { grants } => {
                match self.writer_state.table_error.take() {
                    Some(_) => info!(
                        "the firewall's table is loaded again; grants that are open in it: {grants}"
                    ),
                    None => self.writer_state.restored.count(grants),
                }
                self.report_restored(now);
                self.executor
                    .audit_counts(Event::FirewallRestored, "grants", u64::from(grants));
            }
            FromWriter::NotRestored(why) => {
                error!(
                    "the firewall's table cannot be loaded, which is tried again with pauses of up to a minute: {why}"
                );
                self.writer_state.table_error = Some(why);
            }
            FromWriter::StrangerReply(text) => self.on_closed_port_report(text),
            FromWriter::Trial(event) => self.on_trial_event(event),
            FromWriter::Trials(rows) => self.writer_state.trials = rows,
            FromWriter::Failed(why) => error!("the firewall writer ends: {why}"),
            // Only the start asks for these.
            FromWriter::Listed { .. } | FromWriter::Ready => {}
            // Signs of life, as every message is.
            FromWriter::Pong | FromWriter::Busy(_) => {}
        }
    }

    fn on_confirmed(&mut self, result: Result<u32, String>) {
        let is_confirm = |awaited: &mut Awaited| matches!(awaited, Awaited::Confirm).then_some(());
        let Some(((), reply)) = self.replies.take_first(is_confirm) else {
            return;
        };
        let response = match result {
            Ok(0) => Response::Done {
                message: "nothing is on trial".to_owned(),
            },
            Ok(count) => Response::Done {
                message: format!(
                    "hidden for good: {count} port{}",
                    if count == 1 { "" } else { "s" }
                ),
            },
            Err(why) => Response::Failed { message: why },
        };
        self.executor.send(ToWriter::Trials);
        reply.send(response);
    }

    fn on_trial_event(&mut self, event: TrialEvent) {
        let service = event.service;
        match event.change {
            TrialChange::Began(span) => {
                let news = format!(
                    "{service} is hidden on trial for {} s; connect through a grant or run `spad confirm`, or it becomes reachable by everyone",
                    span.as_secs()
                );
                warn!("{news}");
                self.on_reload_event(ReloadEvent::TrialStarted(news));
            }
            TrialChange::Reached => info!("{service} was reached through a grant: hidden for good"),
            TrialChange::Confirmed => info!("{service} was confirmed: hidden for good"),
            TrialChange::TimedOut => error!(
                "nobody reached {service} while it was on trial: everybody can see it again; `spad confirm` hides it for good"
            ),
        }
        let (kind, detail) = match event.change {
            TrialChange::Began(_) => (Event::GuardOn, "on trial"),
            TrialChange::Reached => (Event::GuardOn, "reached"),
            TrialChange::Confirmed => (Event::GuardOn, "confirmed"),
            TrialChange::TimedOut => (Event::GuardOff, "nobody reached it on trial"),
        };
        self.executor.audit_port(kind, event.service, detail);
        self.executor.send(ToWriter::Trials);
    }
}
