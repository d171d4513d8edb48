//! [IO] Messages between the engine's thread and the command runner.

use spad_model::{Now, Reason, RunRequest};
use spad_sys::clock;

use super::engine_loop::EngineLoop;
use super::executor::Executor;
use super::reload::Event as ReloadEvent;
use crate::runner::message::{FromRunner, ToRunner};

impl Executor {
    /// Asks the runner to run a command or a hook. Refuses it if there is no runner, or if a record
    /// before it could not be written.
    pub(super) fn request_run(&mut self, request: RunRequest, recorded: bool, now: Now) {
        // A hook runs in any case, because the kernel has changed already.
        let may_run = recorded || matches!(request, RunRequest::Hook(_));
        let id = request.id();
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
        self.engine.run_aborted(id, why, now, &mut self.effects);
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

    /// Handles a message of the runner that concerns only the engine.
    pub(super) fn on_runner_message(&mut self, message: FromRunner, now: Now) {
        self.run_engine(now, |engine, effects| match message {
            FromRunner::Started(id) => drop(engine.run_started(id, now, effects)),
            FromRunner::Refused(id, why) => drop(engine.run_refused(id, why, now, effects)),
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
    /// Handles every message of the runner.
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
                        FromRunner::ConfigLoaded(result) => {
                            self.on_reload_event(ReloadEvent::RunnerLoaded(result));
                        }
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
}
