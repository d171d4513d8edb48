//! [IO] The runner at work: messages in, programs started, listened to and ended.
//!
//! One thread, one wait for everything: the socket, each program's end and output, and
//! the next time limit.

use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spa_proto::CommandName;
use spad_ipc::Incoming;
use spad_model::{BootTime, Requester, RunCommand, RunHook, RunId, RunRefusal, RunRequest};
use spad_sys::clock;

use super::job::Job;
use super::message::{FromRunner, ToRunner};
use super::run_policy::RunPolicy;
use super::{Endpoint, RunnerError, hook_json, warn};

/// Commands at once, at most.
const MAX_COMMANDS: usize = 8;
/// Of these for doors, at most: who knows a sequence must not keep clients' commands out.
const MAX_FOR_DOORS: usize = 4;
/// Hooks at once, at most; the engine keeps the rest.
pub(crate) const MAX_HOOKS: usize = 8;

/// Reading the configuration of very many clients takes seconds, and is given so long.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// A program under way, and what it is for.
#[derive(Debug)]
struct RunningJob {
    job: Job,
    /// None for a hook.
    command: Option<(CommandName, Requester)>,
}

/// Everything the runner has.
#[derive(Debug)]
pub(super) struct RunnerLoop {
    engine: Endpoint,
    policy: RunPolicy,
    /// Read already. It applies once the engine says so.
    pending_policy: Option<RunPolicy>,
    configuration: PathBuf,
    running: Vec<RunningJob>,
}

impl RunnerLoop {
    pub(super) const fn new(engine: Endpoint, policy: RunPolicy, configuration: PathBuf) -> Self {
        Self {
            engine,
            policy,
            pending_policy: None,
            configuration,
            running: Vec::new(),
        }
    }

    /// Works until the engine ends or says so; then everything that runs ends too.
    pub(super) fn run(mut self) -> Result<(), RunnerError> {
        while let Incoming::Nothing = self.drain_messages()? {
            self.wait(true)?;
            self.service_jobs()?;
        }
        let now = boot();
        for running in &mut self.running {
            running.job.terminate(now);
        }
        while !self.running.is_empty() {
            self.wait(false)?;
            self.service_jobs()?;
        }
        Ok(())
    }

    fn drain_messages(&mut self) -> Result<Incoming<ToRunner>, RunnerError> {
        loop {
            match self.engine.receive()? {
                Incoming::Message(ToRunner::Stop) => return Ok(Incoming::Closed),
                Incoming::Message(message) => self.handle_message(message)?,
                came => return Ok(came),
            }
        }
    }

    fn handle_message(&mut self, message: ToRunner) -> Result<(), RunnerError> {
        match message {
            ToRunner::Run(RunRequest::Command(run)) => {
                let id = run.id;
                let done = self.start_command(run);
                self.send_started(id, done)
            }
            ToRunner::Run(RunRequest::Hook(hook)) => {
                let id = hook.id;
                let done = self.start_hook(&hook);
                self.send_started(id, done)
            }
            ToRunner::Ping => self.send(&FromRunner::Pong),
            ToRunner::LoadConfig => self.on_load_config(),
            ToRunner::ApplyConfig => {
                self.apply_config();
                Ok(())
            }
            // The caller ends the loop.
            ToRunner::Stop => Ok(()),
        }
    }

    fn send(&self, message: &FromRunner) -> Result<(), RunnerError> {
        Ok(self.engine.send(message)?)
    }

    fn send_started(&self, id: RunId, done: Result<(), RunRefusal>) -> Result<(), RunnerError> {
        self.send(&match done {
            Ok(()) => FromRunner::Started(id),
            Err(refusal) => FromRunner::Refused(id, refusal),
        })
    }

    fn start_command(&mut self, run: RunCommand) -> Result<(), RunRefusal> {
        let (ready, parallel) = self.policy.command(&run, clock::now().wall)?;
        let commands = self.running.iter().filter_map(|one| one.command.as_ref());
        let same = |(command, by): &(CommandName, Requester)| {
            *command == run.command && by.same_requester(&run.requester)
        };
        if !parallel && commands.clone().any(same) {
            return Err(RunRefusal::Running);
        }
        let for_door = |(_, by): &&(CommandName, Requester)| matches!(by, Requester::Door(_));
        let is_door = matches!(run.requester, Requester::Door(_));
        if is_door && commands.clone().filter(for_door).count() >= MAX_FOR_DOORS
            || commands.count() >= MAX_COMMANDS
        {
            return Err(RunRefusal::Busy);
        }
        let mut facts = vec![
            ("SPA_SOURCE", run.source.to_string()),
            ("SPA_COMMAND", run.command.to_string()),
        ];
        match &run.requester {
            Requester::Client(name, key) => facts.extend([
                ("SPA_CLIENT", name.to_string()),
                ("SPA_KEY", key.to_string()),
            ]),
            Requester::Door(name) => facts.push(("SPA_DOOR", name.to_string())),
        }
        let job = Job::start(run.id, ready, &facts, "", boot());
        let job = job.map_err(|error| log_start_failure(run.command.as_str(), &error))?;
        let command = Some((run.command, run.requester));
        self.running.push(RunningJob { job, command });
        Ok(())
    }

    fn start_hook(&mut self, hook: &RunHook) -> Result<(), RunRefusal> {
        let ready = self.policy.hook(hook.event).ok_or(RunRefusal::Unknown)?;
        let hooks = self.running.iter().filter(|one| one.command.is_none());
        if hooks.count() >= MAX_HOOKS {
            return Err(RunRefusal::Busy);
        }
        let job = Job::start(hook.id, ready, &[], &hook_json::render(hook), boot());
        let job = job.map_err(|error| log_start_failure(hook.event.as_str(), &error))?;
        self.running.push(RunningJob { job, command: None });
        Ok(())
    }

    /// Handles the first half of a reload: reads the files and reports the result. The second half
    /// is [`Self::apply_config`], once the firewall writer and the engine use them too.
    fn on_load_config(&mut self) -> Result<(), RunnerError> {
        self.send(&FromRunner::Busy(LOAD_TIMEOUT))?;
        let result = self.load_config();
        self.send(&FromRunner::ConfigLoaded(result))
    }

    /// Puts the configuration in force that was read last.
    fn apply_config(&mut self) {
        if let Some(policy) = self.pending_policy.take() {
            self.policy = policy;
        }
    }

    fn load_config(&mut self) -> Result<(), String> {
        self.pending_policy = None;
        let now = clock::now().wall;
        let loaded =
            spad_config::load(&self.configuration, now).map_err(|findings| findings.to_string())?;
        let findings = spad_config::check_programs(&self.configuration);
        if findings.has_errors() {
            return Err(findings.to_string());
        }
        self.pending_policy = Some(RunPolicy::from_config(&loaded.config));
        Ok(())
    }

    /// Waits for a message, a program, or a time limit.
    fn wait(&self, for_engine: bool) -> Result<(), RunnerError> {
        let due = self.running.iter().map(|one| one.job.due).min();
        let timeout = due.map(|due| due.saturating_since(boot()));
        // Rounded up: woken a moment early it would only wait again.
        let timeout = timeout.map(|timeout| timeout.saturating_add(Duration::from_millis(1)));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let jobs = self.running.iter().map(|one| &one.job);
        let jobs = jobs.flat_map(|job| [Some(job.exit_fd()), job.output_fd()]);
        let engine = for_engine.then(|| std::os::fd::AsFd::as_fd(&self.engine));
        let all = jobs.flatten().chain(engine);
        let mut ready: Vec<_> = all
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(RunnerError::Socket(error.into())),
        }
    }

    /// Looks after every program; tells of those that have ended.
    fn service_jobs(&mut self) -> Result<(), RunnerError> {
        let now = boot();
        let mut index = 0;
        while let Some(running) = self.running.get_mut(index) {
            running.job.read_output();
            if running.job.has_ended() {
                let job = self.running.swap_remove(index).job;
                self.send(&FromRunner::Ended(job.reap(now)))?;
                continue;
            }
            if running.job.due <= now {
                running.job.terminate(now);
            }
            index = index.saturating_add(1);
        }
        Ok(())
    }
}

/// Only this process knows why.
fn log_start_failure(what: &str, error: &std::io::Error) -> RunRefusal {
    let help = match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "; help: its user must be able to execute the program and to enter every directory above it"
        }
        _ => "",
    };
    warn(&format!("{what} could not be started: {error}{help}"));
    RunRefusal::Failed
}

fn boot() -> BootTime {
    clock::now().boot
}
