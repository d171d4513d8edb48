//! What the engine's thread answers and tells: status, grants, the writer's news.

use std::sync::Arc;

use spa_keys::KeyId;
use tracing::{error, info, warn};

use crate::audit::Event;
use crate::capture::InterfaceSetting;
use crate::clock::Now;
use crate::config::ClientName;
use crate::control::message::Status;
use crate::control::{Request, Response};
use crate::engine::GrantListing;
use crate::firewall::{FromWriter, ToWriter};
use crate::model::{PortState, TrialChange, TrialEvent};
use crate::sys::clock;

use super::engine_loop::EngineLoop;
use super::reload::Event as ReloadEvent;
use super::reload_actions::NEEDS_RESTART;
use super::tasks::EngineTask;

impl EngineLoop {
    /// Does one order; true when it is to stop.
    pub(super) fn handle_task(&mut self, task: EngineTask) -> bool {
        match task {
            EngineTask::Stop => return true,
            EngineTask::ReloadFailed => self.on_reload_event(ReloadEvent::LoadFailed),
            EngineTask::ApplyConfig(candidate) => {
                let helpers = self.unresponsive(clock::now().boot).map_or(Ok(()), Err);
                self.on_reload_event(ReloadEvent::Loaded { candidate, helpers });
            }
            EngineTask::Request(Request::Confirm, reply) => {
                self.replies.confirming.push_back(reply);
                self.executor.send(ToWriter::Confirm);
            }
            EngineTask::Request(Request::Disable { client }, reply) => {
                let response = self.disable(&client, clock::now());
                let last = self.executor.engine.last_unanswered();
                self.replies.closing.push_back((last, response, reply));
                self.report_closed();
            }
            EngineTask::Admin(request, uid, reply) => self.handle_admin(&request, uid, reply),
            EngineTask::List(answer) => {
                let listing = GrantListing::default();
                self.replies.listing.push_back((listing, answer));
            }
            EngineTask::Request(request, reply) => reply.send(self.answer(&request)),
        }
        false
    }

    fn answer(&mut self, request: &Request) -> Response {
        let now = clock::now();
        match request {
            Request::Status => Response::Status(Box::new(self.status(now))),
            Request::ResetClient { client } => self.reset_client(client, now),
            Request::ResetReplay => self.reset_replay(now),
            Request::Grants
            | Request::Reload
            | Request::Confirm
            | Request::Disable { .. }
            | Request::Grant { .. }
            | Request::Revoke { .. }
            | Request::RevokeFrom { .. } => Response::Failed {
                message: "asked in the wrong place".to_owned(),
            },
        }
    }
}

impl EngineLoop {
    fn status(&mut self, now: Now) -> Status {
        let captured = self.ingress.statistics();
        self.merge_prefilter_counters();
        let helpers = self.helpers_warnings(now.boot);
        let executor = &mut self.executor;
        let engine = &mut executor.engine;
        let config = Arc::clone(engine.clients().config());
        let ports_in_state = |wanted: fn(&PortState) -> bool| {
            let rows = self.replies.trials.iter();
            rows.filter(|row| wanted(&row.state))
                .map(|row| row.service.to_string())
                .collect::<Vec<_>>()
        };
        let mut warnings: Vec<String> = self.reload.warnings().map(str::to_owned).collect();
        if let Some(why) = &self.replies.table_error {
            warnings.push(format!(
                "the firewall's table cannot be loaded, and knocks open nothing: {why}"
            ));
        }
        warnings.extend(self.replies.restart_warnings(&config).map(str::to_owned));
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
        let listened = self.replies.listen.interfaces.iter().flatten();
        let listened = listened.map(String::as_str);
        warnings.extend(
            self.ingress
                .missing_interfaces(listened, InterfaceSetting::Listen),
        );
        let allowed = config.allowed_interfaces();
        warnings.extend(
            self.ingress
                .missing_interfaces(allowed, InterfaceSetting::AlwaysAllow),
        );
        let exposed = ports_in_state(|standing| matches!(standing, PortState::Exposed));
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
        let mut strangers = self.replies.closed_port_report.lines();
        let strangers_get = strangers.next().unwrap_or_default().to_owned();
        warnings.extend(strangers.map(|line| format!("strangers at hidden ports: {line}")));
        let status = Status {
            strangers_get,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: now
                .boot
                .saturating_since(self.replies.started.boot)
                .as_secs(),
            port: self.replies.listen.ports.to_string(),
            carriers: self.replies.listen.carriers.to_string(),
            hidden: self.replies.hidden(&config),
            shown: exposed,
            on_trial: ports_in_state(|standing| matches!(standing, PortState::OnTrial(_))),
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

    /// Answers who closes something, once the firewall writer has answered all that was sent
    /// to it by then: its answers come in order.
    pub(super) fn report_closed(&mut self) {
        while let Some((last, response, reply)) = self.replies.closing.pop_front() {
            if last.is_some_and(|last| self.executor.engine.is_unanswered(last)) {
                self.replies.closing.push_front((last, response, reply));
                return;
            }
            reply.send(self.with_failed_closes(response));
        }
    }

    /// Nothing is called closed that the firewall would not close.
    pub(super) fn with_failed_closes(&self, response: Response) -> Response {
        let open = self.executor.engine.failed_closes(clock::now());
        match response {
            Response::Done { message } if open > 0 => Response::Failed {
                message: format!(
                    "{message}; but the firewall refused to close {open} of them, STILL OPEN, which is tried again each second\n  help: the log says why: journalctl -u spad"
                ),
            },
            response => response,
        }
    }

    /// Lists a portion more of what is open, for who asked first.
    pub(super) fn list_page(&mut self) {
        let Some((mut listing, answer)) = self.replies.listing.pop_front() else {
            return;
        };
        if self.executor.engine.list_page(&mut listing, clock::now()) {
            self.replies.listing.push_front((listing, answer));
        } else {
            // Whoever asked may have gone.
            let _gone = answer.send(listing);
        }
    }

    fn disable(&mut self, client: &str, now: Now) -> Response {
        let found = client.parse().is_ok_and(|name: ClientName| {
            let found = self
                .executor
                .run_engine(now, |engine, effects| engine.disable(&name, now, effects));
            // A configuration that is being read may still have this client.
            self.on_reload_event(ReloadEvent::ClientDisabled(name, now.boot));
            found
        });
        if found {
            info!("client {client} is served no more");
            Response::Done {
                message: format!("{client} is served no more, and what was open for it is closed"),
            }
        } else {
            Response::Unknown {
                message: format!("the running daemon does not know {client}"),
            }
        }
    }

    fn reset_client(&mut self, client: &str, now: Now) -> Response {
        let Some(ids) = client.parse().ok().and_then(|name| self.key_ids(&name)) else {
            return Response::Failed {
                message: format!(
                    "the running daemon does not know {client}\n  help: spad client list"
                ),
            };
        };
        let skew = self.executor.engine.clients().config().packets.max_skew;
        for id in ids {
            let journal_extras: Vec<_> = self.executor.engine.journal_extras().collect();
            let (cache, _) = self.executor.engine.replay_state_mut();
            if let Err(error) =
                self.executor
                    .state
                    .reset_client(id, now, cache, journal_extras, skew)
            {
                return Response::Failed {
                    message: format!("it holds until the next start only: {error}"),
                };
            }
        }
        warn!("the floor of {client} was lowered by an administrator");
        Response::Done {
            message: format!("fresh packets of {client} are accepted again"),
        }
    }

    fn key_ids(&self, name: &ClientName) -> Option<Vec<KeyId>> {
        let clients = self.executor.engine.clients();
        Some(clients.key_ids(clients.index_by_name(name)?))
    }

    fn reset_replay(&mut self, now: Now) -> Response {
        let skew = self.executor.engine.clients().config().packets.max_skew;
        let journal_extras: Vec<_> = self.executor.engine.journal_extras().collect();
        let (cache, horizon) = self.executor.engine.replay_state_mut();
        match self
            .executor
            .state
            .reset_all(now, cache, horizon, journal_extras, skew)
        {
            Ok(()) => {
                warn!("every floor was lowered by an administrator");
                Response::Done {
                    message: "floors and horizon are set anew from the clock".to_owned(),
                }
            }
            Err(error) => Response::Failed {
                message: format!("it holds until the next start only: {error}"),
            },
        }
    }
}

impl EngineLoop {
    /// Says that the table was put back, and how often, once a minute at most.
    pub(super) fn report_restored(&mut self, now: Now) {
        match self.replies.restored.take_due(now.boot) {
            None => {}
            Some((1, grants)) => warn!(
                "somebody changed our table in the firewall; it was put back; grants that are open in it: {grants}"
            ),
            Some((times, grants)) => warn!(
                "somebody changed our table in the firewall {times} times; it was put back each time, ever more slowly, and an emergency table hides meanwhile; grants that are open in it: {grants}"
            ),
        }
    }

    /// Says once what cannot be told of what closed ports answer.
    fn on_closed_port_report(&mut self, text: String) {
        if self.replies.closed_port_report != text {
            let mut lines = text.lines();
            info!("strangers get {}", lines.next().unwrap_or_default());
            lines.for_each(|line| warn!("strangers at hidden ports: {line}"));
            self.replies.closed_port_report = text;
        }
    }

    /// One message of the firewall writer.
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
                match self.replies.table_error.take() {
                    Some(_) => info!(
                        "the firewall's table is loaded again; grants that are open in it: {grants}"
                    ),
                    None => self.replies.restored.count(grants),
                }
                self.report_restored(now);
                self.executor
                    .audit_counts(Event::FirewallRestored, "grants", u64::from(grants));
            }
            FromWriter::NotRestored(why) => {
                error!(
                    "the firewall's table cannot be loaded, which is tried again with pauses of up to a minute: {why}"
                );
                self.replies.table_error = Some(why);
            }
            FromWriter::StrangerReply(text) => self.on_closed_port_report(text),
            FromWriter::Trial(event) => self.on_trial_event(event),
            FromWriter::Trials(rows) => self.replies.trials = rows,
            FromWriter::Failed(why) => error!("the firewall writer ends: {why}"),
            // Asked for at the start alone.
            FromWriter::Listed { .. } | FromWriter::Ready => {}
            // Signs of life, as every message is.
            FromWriter::Pong | FromWriter::Busy(_) => {}
        }
    }

    fn on_confirmed(&mut self, result: Result<u32, String>) {
        let Some(reply) = self.replies.confirming.pop_front() else {
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
                    "{service} is hidden on trial for {} s: reach it through a grant, or say `spad confirm`; otherwise everybody can reach it then",
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
