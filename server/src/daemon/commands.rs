//! [IO] What the engine's thread and the command runner have to do with each other.

use tracing::warn;

use crate::clock::{self, Now};
use crate::control::Response;
use crate::firewall::ToWriter;
use crate::runner::message::{FromRunner, ToRunner};
use crate::verdict::Reason;

use super::door::Door;
use super::engine_loop::EngineLoop;
use super::replies::Taking;

impl Door {
    /// Asks the runner; where it is not there, or what comes before could not be
    /// recorded, nothing is run.
    pub(super) fn ask_runner(&mut self, message: ToRunner, recorded: bool, now: Now) {
        // The kernel has changed already, so its hook runs in any case.
        let may_run = recorded || matches!(message, ToRunner::Hook(_));
        let why = match (&mut self.runner, may_run) {
            (_, false) => Reason::StateUnwritable,
            (None, true) => Reason::RunnerGone,
            (Some(_), true) if self.runner_life.is_unresponsive() => Reason::RunnerUnresponsive,
            (Some(runner), true) => {
                self.runner_life.watch(now.boot);
                if let Err(error) = runner.send(message) {
                    self.runner_broken = Some(error);
                }
                return;
            }
        };
        let effects = &mut self.effects;
        match message {
            ToRunner::Run(run) => drop(self.engine.run_aborted(run.id, why, now, effects)),
            ToRunner::Hook(hook) => self.engine.hook_refused(hook.id, why, now, effects),
            ToRunner::Prepare | ToRunner::Use | ToRunner::Ping | ToRunner::Stop => {}
        }
    }

    pub(super) fn tell_runner(&mut self, message: ToRunner) {
        if message != ToRunner::Use {
            self.runner_life.watch(clock::now().boot);
        }
        if let Some(runner) = &mut self.runner
            && let Err(error) = runner.send(message)
        {
            self.runner_broken = Some(error);
        }
    }

    /// One message of the runner that is the engine's alone.
    pub(super) fn heard_runner(&mut self, message: FromRunner, now: Now) {
        self.with_engine(now, |engine, effects| match message {
            FromRunner::Started(id) => drop(engine.run_started(id, now, effects)),
            FromRunner::Refused(id, why) => {
                engine.run_refused(id, why, now, effects);
                engine.hook_refused(id, why.into(), now, effects);
            }
            FromRunner::Ended(ended) if engine.is_hook(ended.id) => {
                engine.hook_ended(ended, now, effects);
            }
            FromRunner::Ended(ended) => engine.run_ended(ended, now, effects),
            FromRunner::Ready
            | FromRunner::Failed(_)
            | FromRunner::Pong
            | FromRunner::Busy(_)
            | FromRunner::Prepared(_) => {}
        });
    }
}

impl EngineLoop {
    /// Everything that the runner has to say.
    pub(super) fn hear_runner(&mut self) {
        loop {
            let Some(runner) = &mut self.door.runner else {
                return;
            };
            let heard = runner.flush().and_then(|()| runner.receive());
            match heard {
                Ok(Some(message)) => {
                    let now = clock::now();
                    self.runner_responded(&message, now);
                    match message {
                        FromRunner::Prepared(result) => self.runner_prepared(result),
                        message => self.door.heard_runner(message, now),
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    self.door.runner_broken = Some(error);
                    return;
                }
            }
        }
    }

    /// A new configuration, when those before it are taken or refused.
    pub(super) fn take(&mut self, taking: Taking) {
        if let Some(why) = self.unresponsive(clock::now().boot) {
            let message = format!(
                "the running configuration stays: {why}\n  help: reload again once it responds; `spad status` says so"
            );
            // Whoever asked may have gone.
            let _gone = taking.answer.send(Response::Failed { message });
            return;
        }
        if self.replies.reloads.add(taking) {
            self.begin_reload();
        }
    }

    /// The next configuration, if one waits.
    pub(super) fn take_next(&mut self) {
        if self.replies.reloads.begin() {
            self.begin_reload();
        }
    }

    /// The runner reads it first, the firewall writer takes it then.
    fn begin_reload(&mut self) {
        if self.door.runner.is_some() {
            self.door.tell_runner(ToRunner::Prepare);
        } else {
            self.reload_writer();
        }
    }

    /// The files are read beside the writer's loop, which is asked whether it goes on.
    fn reload_writer(&mut self) {
        self.door.send(ToWriter::Reload);
        self.door.send(ToWriter::Ping);
    }

    fn runner_prepared(&mut self, result: Result<(), String>) {
        let why = match result {
            Ok(()) if self.replies.reloads.is_under_way() => {
                return self.reload_writer();
            }
            Ok(()) => return,
            Err(why) => why,
        };
        let Some(taking) = self.replies.reloads.end() else {
            return;
        };
        let response = self.reload_refused("the command runner", &why);
        // Whoever asked may have gone.
        let _gone = taking.answer.send(response);
        self.take_next();
    }

    /// The firewall writer and the engine use it: so does the runner. Says what a first
    /// command needs.
    pub(super) fn runner_takes(&mut self) -> Option<&'static str> {
        self.door.tell_runner(ToRunner::Use);
        let needed = self.door.engine.clients().config().needs_runner();
        (needed && self.door.runner.is_none()).then(|| {
            warn!("{NEEDS_RESTART}");
            NEEDS_RESTART
        })
    }
}

/// The runner's process was not started with privileges that nobody has any more.
pub(super) const NEEDS_RESTART: &str =
    "the first command or hook of a configuration needs a restart: systemctl restart spad";
