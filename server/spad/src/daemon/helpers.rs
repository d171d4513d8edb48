//! [IO] Watches whether the firewall writer and the command runner respond, and reports it.
//!
//! A process that was stopped, or hangs at a disk, still has its socket open. Only its silence
//! shows that it hangs. The daemon may not kill processes of other users, so it exits itself, and
//! the service manager kills all of them.

use std::time::Duration;

use spad_firewall::{FromWriter, ToWriter};
use spad_ipc::{HelperError, HelperErrorKind, Message as _};
use spad_model::{BootTime, Now};
use tracing::{error, info};

use super::engine_loop::EngineLoop;
use super::liveness::GIVE_UP_AFTER;
use crate::control::Response;
use crate::runner::message::{FromRunner, ToRunner};

pub(super) const WRITER: &str = ToWriter::HELPER;
pub(super) const RUNNER: &str = ToRunner::HELPER;

/// How long the writer announced to be busy, if the message does so.
pub(super) const fn busy(message: &FromWriter) -> Option<Duration> {
    match message {
        FromWriter::Busy(span) => Some(*span),
        _ => None,
    }
}

/// The helper has not responded for as long as the daemon waits.
const fn given_up(name: &'static str, process: u32) -> HelperError {
    let span = GIVE_UP_AFTER;
    let kind = HelperErrorKind::Unresponsive { process, span };
    HelperError { name, kind }
}

impl EngineLoop {
    /// Notes that the writer responded.
    pub(super) fn writer_responded(&mut self, busy: Option<Duration>, now: Now) {
        let more = self.executor.engine.last_unanswered().is_some();
        let liveness = &mut self.executor.writer_liveness;
        let silence = match busy {
            Some(span) => liveness.received_busy(span, now.boot),
            None => liveness.received(more, now.boot),
        };
        if let Some(silence) = silence {
            self.log_recovery(WRITER, silence, now);
        }
    }

    /// Notes that the runner responded.
    pub(super) fn runner_responded(&mut self, message: &FromRunner, now: Now) {
        let liveness = &mut self.executor.runner_liveness;
        let silence = match message {
            FromRunner::Busy(span) => liveness.received_busy(*span, now.boot),
            _ => liveness.received(false, now.boot),
        };
        if let Some(silence) = silence {
            self.log_recovery(RUNNER, silence, now);
        }
    }

    fn log_recovery(&mut self, who: &str, silence: Duration, now: Now) {
        info!("{who} responds again, after {} s", silence.as_secs());
        self.notify_status(now);
    }

    /// Pings each helper that has nothing else to answer. If all respond, notifies the service
    /// manager.
    pub(super) fn ping_helpers(&mut self, now: Now) {
        if self.executor.writer_liveness.is_idle() {
            self.executor.send(ToWriter::Ping);
        }
        if self.executor.runner.is_some() && self.executor.runner_liveness.is_idle() {
            self.executor.send_to_runner(ToRunner::Ping);
        }
        if self.unresponsive(now.boot).is_none() {
            self.notifier.alive();
        }
        self.notify_status(now);
    }

    /// Acts on helpers that do not respond.
    pub(super) fn check_helpers(&mut self, now: Now) {
        if self.executor.writer_liveness.check(now.boot) {
            let process = self.executor.writer.pid();
            error!(
                "{WRITER} (process {process}) does not respond: nothing is opened or closed until it does, and after {} s this daemon ends with an error, so that its service manager starts it again\n  help: see why it hangs: ps -o pid,stat,wchan:30,cmd -p {process}",
                GIVE_UP_AFTER.as_secs()
            );
            self.give_up_waiting(now);
        }
        // The writer may be busy for longer, but no packet opens anything so late.
        if self.executor.writer_liveness.check_stalled(now.boot) {
            self.give_up_waiting(now);
        }
        if self.executor.runner_liveness.check(now.boot)
            && let Some(runner) = &self.executor.runner
        {
            let process = runner.pid();
            error!(
                "{RUNNER} (process {process}) does not respond: no command and no hook is run until it does, and after {} s this daemon ends with an error, so that its service manager starts it again\n  help: see why it hangs: ps -o pid,stat,wchan:30,cmd -p {process}",
                GIVE_UP_AFTER.as_secs()
            );
        }
        let Some(why) = self.unresponsive(now.boot) else {
            return;
        };
        let message = format!(
            "{why}: what was asked for is not done, or not yet\n  help: ask again once it responds; `spad status` says so"
        );
        let response = Response::Failed { message };
        self.reload.answer_all(&response);
        self.replies.answer_all(&response);
        self.notify_status(now);
        if self.executor.writer_liveness.is_abandoned(now.boot) {
            let process = self.executor.writer.pid();
            self.executor.writer_error = Some(given_up(WRITER, process));
        }
        if self.executor.runner_liveness.is_abandoned(now.boot)
            && let Some(runner) = &self.executor.runner
        {
            self.executor.runner_error = Some(given_up(RUNNER, runner.pid()));
        }
    }

    /// Refuses every change that waits for the writer. If one is made later, it is undone.
    fn give_up_waiting(&mut self, now: Now) {
        let _reported = self
            .executor
            .run_engine(now, |engine, effects| engine.abort_unanswered(now, effects));
        self.report_granted();
    }

    /// Names the helper that does not respond, and says since when.
    pub(super) fn unresponsive(&self, now: BootTime) -> Option<String> {
        let lives = [
            (WRITER, &self.executor.writer_liveness),
            (RUNNER, &self.executor.runner_liveness),
        ];
        lives.into_iter().find_map(|(who, life)| {
            let span = life.unresponsive_for(now)?.as_secs();
            Some(format!("{who} has not responded for {span} s"))
        })
    }

    /// The warning for the status.
    pub(super) fn helpers_warnings(&self, now: BootTime) -> Option<String> {
        let what = self.unresponsive(now)?;
        let refused = match self.executor.writer_liveness.is_unresponsive() {
            true => "packets are refused",
            false => "commands are refused and hooks are not run",
        };
        Some(format!(
            "{what}: {refused}; after {} s the daemon ends, to be started again by its service manager",
            GIVE_UP_AFTER.as_secs()
        ))
    }

    /// Notifies the service manager of the daemon's state, in one line.
    fn notify_status(&mut self, now: Now) {
        let config = self.executor.engine.clients().config();
        let counted = |count: usize, one: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{count} {one}s"),
        };
        let state = match (
            self.unresponsive(now.boot),
            self.executor
                .state
                .warnings()
                .into_iter()
                .next()
                .or_else(|| self.executor.engine.refuses_until(now)),
        ) {
            (Some(why), _) => why,
            (None, Some(why)) => format!("serving, but {why}"),
            (None, None) if self.reload.started_from_last_good => {
                "serving with the last good configuration".to_owned()
            }
            (None, None) => "serving".to_owned(),
        };
        let line = format!(
            "{state}; {} hidden, {}, {} open",
            counted(self.writer_state.hidden(config).len(), "service"),
            counted(config.clients.len(), "client"),
            counted(self.executor.engine.open_grants(), "grant"),
        );
        // The service manager would read a second line as another message.
        let line = line.lines().next().unwrap_or_default().to_owned();
        self.notifier.status(line);
    }
}
