//! [IO] What the engine's thread and the command runner have to do with each other.

use tracing::warn;

use crate::clock::Now;
use crate::control::Response;
use crate::firewall::ToWriter;
use crate::runner::message::{FromRunner, RunRequest, ToRunner};
use crate::sys::clock;
use crate::verdict::Reason;

use super::engine_loop::EngineLoop;
use super::executor::Executor;
use super::replies::Candidate;

impl Executor {
    /// Asks the runner; where it is not there, or what comes before could not be
    /// recorded, nothing is run.
    pub(super) fn request_run(&mut self, request: RunRequest, recorded: bool, now: Now) {
        // The kernel has changed already, so its hook runs in any case.
        let may_run = recorded || matches!(request, RunRequest::Hook(_));
        let why = match (&mut self.runner, may_run) {
            (_, false) => Reason::StateUnwritable,
            (None, true) => Reason::RunnerGone,
            (Some(_), true) if self.runner_liveness.is_unresponsive() => Reason::RunnerUnresponsive,
            (Some(runner), true) => {
                self.runner_liveness.expect_answer_and_check(now.boot);
                if let Err(error) = runner.send(ToRunner::Run(request)) {
                    self.runner_error = Some(error);
                }
                return;
            }
        };
        let effects = &mut self.effects;
        match request {
            RunRequest::Command(run) => drop(self.engine.run_aborted(run.id, why, now, effects)),
            RunRequest::Hook(hook) => self.engine.hook_refused(hook.id, why, now, effects),
        }
    }

    pub(super) fn send_to_runner(&mut self, message: ToRunner) {
        if message != ToRunner::ApplyConfig {
            self.runner_liveness
                .expect_answer_and_check(clock::now().boot);
        }
        if let Some(runner) = &mut self.runner
            && let Err(error) = runner.send(message)
        {
            self.runner_error = Some(error);
        }
    }

    /// One message of the runner that is the engine's alone.
    pub(super) fn on_runner_message(&mut self, message: FromRunner, now: Now) {
        self.run_engine(now, |engine, effects| match message {
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
            | FromRunner::ConfigLoaded(_) => {}
        });
    }
}

impl EngineLoop {
    /// Everything that the runner has to say.
    pub(super) fn drain_runner(&mut self) {
        loop {
            let Some(runner) = &mut self.executor.runner else {
                return;
            };
            let received = runner.flush().and_then(|()| runner.receive());
            match received {
                Ok(Some(message)) => {
                    let now = clock::now();
                    self.runner_responded(&message, now);
                    match message {
                        FromRunner::ConfigLoaded(result) => self.on_runner_config_loaded(result),
                        message => self.executor.on_runner_message(message, now),
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    self.executor.runner_error = Some(error);
                    return;
                }
            }
        }
    }

    /// A new configuration, when those before it are taken or refused.
    pub(super) fn queue_reload(&mut self, candidate: Candidate) {
        if let Some(why) = self.unresponsive(clock::now().boot) {
            let message = format!(
                "the running configuration stays: {why}\n  help: reload again once it responds; `spad status` says so"
            );
            // Whoever asked may have gone.
            let _gone = candidate.answer.send(Response::Failed { message });
            return;
        }
        if self.replies.reloads.add(candidate) {
            self.begin_reload();
        }
    }

    /// The next configuration, if one waits.
    pub(super) fn begin_next_reload(&mut self) {
        if self.replies.reloads.start_next() {
            self.begin_reload();
        }
    }

    /// The runner reads it first, the firewall writer takes it then.
    fn begin_reload(&mut self) {
        if self.executor.runner.is_some() {
            self.executor.send_to_runner(ToRunner::LoadConfig);
        } else {
            self.reload_writer();
        }
    }

    /// The files are read beside the writer's loop, which is asked whether it goes on.
    fn reload_writer(&mut self) {
        self.executor.send(ToWriter::Reload);
        self.executor.send(ToWriter::Ping);
    }

    fn on_runner_config_loaded(&mut self, result: Result<(), String>) {
        let why = match result {
            Ok(()) if self.replies.reloads.is_active() => {
                return self.reload_writer();
            }
            Ok(()) => return,
            Err(why) => why,
        };
        let Some(candidate) = self.replies.reloads.finish() else {
            return;
        };
        let response = self.refuse_reload("the command runner", &why);
        // Whoever asked may have gone.
        let _gone = candidate.answer.send(response);
        self.begin_next_reload();
    }

    /// The firewall writer and the engine use it: so does the runner. Says what a first
    /// command needs.
    pub(super) fn apply_in_runner(&mut self) -> Option<&'static str> {
        self.executor.send_to_runner(ToRunner::ApplyConfig);
        let needed = self.executor.engine.clients().config().needs_runner();
        (needed && self.executor.runner.is_none()).then(|| {
            warn!("{NEEDS_RESTART}");
            NEEDS_RESTART
        })
    }
}

/// The runner's process was not started with privileges that nobody has any more.
pub(super) const NEEDS_RESTART: &str =
    "the first command or hook of a configuration needs a restart: systemctl restart spad";
