//! [IO] The engine's thread looks after the firewall writer and the command runner: whether they
//! respond, who is told where they do not, and what the service manager hears of it.
//!
//! A process that was stopped, or hangs at a disk, still has its socket open: only its silence
//! tells. Neither can be ended from here, for they have other users; this daemon ends instead,
//! and its service manager ends them with it.

use std::time::Duration;

use tracing::{error, info};

use crate::clock::{BootTime, Now};
use crate::firewall::link::WriterClientError;
use crate::firewall::{FromWriter, ToWriter};
use crate::runner::link::RunnerLinkError;
use crate::runner::message::{FromRunner, ToRunner};

use super::engine_loop::EngineLoop;
use super::liveness::GIVE_UP;

const WRITER: &str = "the firewall writer";
const RUNNER: &str = "the command runner";

/// For how long the writer says that it is busy, where it says that.
pub(super) const fn busy(message: &FromWriter) -> Option<Duration> {
    match message {
        FromWriter::Busy(span) => Some(*span),
        _ => None,
    }
}

impl EngineLoop {
    /// A message of the writer's was dealt with.
    pub(super) fn writer_responded(&mut self, busy: Option<Duration>, now: Now) {
        let more = self.door.engine.last_unanswered().is_some();
        let life = &mut self.door.writer_life;
        let silence = match busy {
            Some(span) => life.is_busy(span, now.boot),
            None => life.received(more, now.boot),
        };
        if let Some(silence) = silence {
            self.responds_again(WRITER, silence, now);
        }
    }

    /// A message of the runner's came.
    pub(super) fn runner_responded(&mut self, message: &FromRunner, now: Now) {
        let life = &mut self.door.runner_life;
        let silence = match message {
            FromRunner::Busy(span) => life.is_busy(*span, now.boot),
            _ => life.received(false, now.boot),
        };
        if let Some(silence) = silence {
            self.responds_again(RUNNER, silence, now);
        }
    }

    fn responds_again(&mut self, who: &str, silence: Duration, now: Now) {
        info!("{who} responds again, after {} s", silence.as_secs());
        self.report_status(now);
    }

    /// Asks those for a sign of life that have nothing else to answer, and tells the service
    /// manager that all live, if they do.
    pub(super) fn ping_helpers(&mut self, now: Now) {
        if self.door.writer_life.is_idle() {
            self.door.send(ToWriter::Ping);
        }
        if self.door.runner.is_some() && self.door.runner_life.is_idle() {
            self.door.tell_runner(ToRunner::Ping);
        }
        if self.unresponsive(now.boot).is_none() {
            self.notifier.alive();
        }
        self.report_status(now);
    }

    /// What is due where a helper does not respond.
    pub(super) fn look_after_helpers(&mut self, now: Now) {
        if self.door.writer_life.look(now.boot) {
            let process = self.door.writer.process();
            error!(
                "{WRITER} (process {process}) does not respond: nothing is opened or closed until it does, and after {} s this daemon ends with an error, so that its service manager starts it again\n  help: see why it hangs: ps -o pid,stat,wchan:30,cmd -p {process}",
                GIVE_UP.as_secs()
            );
            self.give_up_waiting(now);
        }
        // It may be busy for longer, but no packet acts so late.
        if self.door.writer_life.keeps_waiting(now.boot) {
            self.give_up_waiting(now);
        }
        if self.door.runner_life.look(now.boot)
            && let Some(runner) = &self.door.runner
        {
            let process = runner.process();
            error!(
                "{RUNNER} (process {process}) does not respond: no command and no hook is run until it does, and after {} s this daemon ends with an error, so that its service manager starts it again\n  help: see why it hangs: ps -o pid,stat,wchan:30,cmd -p {process}",
                GIVE_UP.as_secs()
            );
        }
        let Some(why) = self.unresponsive(now.boot) else {
            return;
        };
        self.replies.fail_all(&format!(
            "{why}: what was asked for is not done, or not yet\n  help: ask again once it responds; `spad status` says so"
        ));
        self.report_status(now);
        if self.door.writer_life.is_given_up(now.boot) {
            let process = self.door.writer.process();
            let span = GIVE_UP;
            self.door.broken = Some(WriterClientError::Unresponsive { process, span });
        }
        if self.door.runner_life.is_given_up(now.boot)
            && let Some(runner) = &self.door.runner
        {
            let (process, span) = (runner.process(), GIVE_UP);
            self.door.runner_broken = Some(RunnerLinkError::Unresponsive { process, span });
        }
    }

    /// Refuses what the writer keeps waiting; an answer that comes after that is undone.
    fn give_up_waiting(&mut self, now: Now) {
        let _told = self
            .door
            .with_engine(now, |engine, effects| engine.abort_unanswered(now, effects));
        self.tell_granted();
    }

    /// Which helper does not respond, and for how long it has not.
    pub(super) fn unresponsive(&self, now: BootTime) -> Option<String> {
        let lives = [
            (WRITER, &self.door.writer_life),
            (RUNNER, &self.door.runner_life),
        ];
        lives.into_iter().find_map(|(who, life)| {
            let span = life.unresponsive(now)?.as_secs();
            Some(format!("{who} has not responded for {span} s"))
        })
    }

    /// Warnings for the status.
    pub(super) fn helpers_warnings(&self, now: BootTime) -> Option<String> {
        let what = self.unresponsive(now)?;
        let refused = match self.door.writer_life.is_unresponsive() {
            true => "packets are refused",
            false => "commands are refused and hooks are not run",
        };
        Some(format!(
            "{what}: {refused}; after {} s the daemon ends, to be started again by its service manager",
            GIVE_UP.as_secs()
        ))
    }

    /// In a line, what the daemon does.
    fn report_status(&mut self, now: Now) {
        let config = self.door.engine.clients().config();
        let counted = |count: usize, one: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{count} {one}s"),
        };
        let state = match (
            self.unresponsive(now.boot),
            self.door
                .state
                .warnings()
                .into_iter()
                .next()
                .or_else(|| self.door.engine.refuses_until(now)),
        ) {
            (Some(why), _) => why,
            (None, Some(why)) => format!("serving, but {why}"),
            (None, None) if self.replies.last_good => {
                "serving with the last good configuration".to_owned()
            }
            (None, None) => "serving".to_owned(),
        };
        let line = format!(
            "{state}; {} hidden, {}, {} open",
            counted(self.replies.hidden(config).len(), "service"),
            counted(config.clients.len(), "client"),
            counted(self.door.engine.open_grants(), "grant"),
        );
        // A line: what follows the first break would be read as another message.
        let line = line.lines().next().unwrap_or_default().to_owned();
        self.notifier.status(line);
    }
}
