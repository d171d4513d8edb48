//! [IO] The runner at work: messages in, programs started, listened to and ended.
//!
//! One thread, one wait for everything: the socket, each program's end and output, and
//! the next time limit.

use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::job::Job;
use super::message::{FromRunner, RunBy, RunCommand, RunHook, RunId, RunRefusal, ToRunner};
use super::rights::Rights;
use super::socket::{Came, Engine};
use super::{RunnerError, hook_input, warn};
use crate::clock::{self, BootTime};
use crate::config::{self};
use spa_proto::CommandName;

/// Commands at once, at most.
const COMMANDS: usize = 8;
/// Of these for doors, at most: who knows a sequence must not keep clients' commands out.
const OF_DOORS: usize = 4;
/// Hooks at once, at most; the engine keeps the rest.
pub(crate) const HOOKS: usize = 8;

/// Reading the configuration of very many clients takes seconds, and is given so long.
const READING: Duration = Duration::from_secs(60);

/// A program under way, and what it is for.
#[derive(Debug)]
struct Running {
    job: Job,
    /// None for a hook.
    command: Option<(CommandName, RunBy)>,
}

/// Everything the runner has.
#[derive(Debug)]
pub(super) struct Keeper {
    engine: Engine,
    rights: Rights,
    /// Read, and to be used when the engine says so.
    prepared: Option<Rights>,
    configuration: PathBuf,
    running: Vec<Running>,
}

impl Keeper {
    pub(super) const fn new(engine: Engine, rights: Rights, configuration: PathBuf) -> Self {
        Self {
            engine,
            rights,
            prepared: None,
            configuration,
            running: Vec::new(),
        }
    }

    /// Works until the engine ends or says so; then everything that runs ends too.
    pub(super) fn run(mut self) -> Result<(), RunnerError> {
        while let Came::Nothing = self.obey_all()? {
            self.wait(true)?;
            self.attend()?;
        }
        let now = boot();
        for running in &mut self.running {
            running.job.hurry(now);
        }
        while !self.running.is_empty() {
            self.wait(false)?;
            self.attend()?;
        }
        Ok(())
    }

    fn obey_all(&mut self) -> Result<Came, RunnerError> {
        loop {
            match self.engine.receive()? {
                Came::Message(ToRunner::Stop) => return Ok(Came::End),
                Came::Message(message) => self.obey(message)?,
                came => return Ok(came),
            }
        }
    }

    fn obey(&mut self, message: ToRunner) -> Result<(), RunnerError> {
        match message {
            ToRunner::Run(run) => {
                let id = run.id;
                let done = self.command(run);
                self.say(id, done)
            }
            ToRunner::Hook(hook) => {
                let id = hook.id;
                let done = self.hook(&hook);
                self.say(id, done)
            }
            ToRunner::Ping => self.engine.send(&FromRunner::Pong),
            ToRunner::Prepare => {
                self.engine.send(&FromRunner::Busy(READING))?;
                let result = self.prepare();
                self.engine.send(&FromRunner::Prepared(result))
            }
            ToRunner::Use => {
                if let Some(rights) = self.prepared.take() {
                    self.rights = rights;
                }
                Ok(())
            }
            // The caller ends the loop.
            ToRunner::Stop => Ok(()),
        }
    }

    fn say(&self, id: RunId, done: Result<(), RunRefusal>) -> Result<(), RunnerError> {
        self.engine.send(&match done {
            Ok(()) => FromRunner::Started(id),
            Err(refusal) => FromRunner::Refused(id, refusal),
        })
    }

    fn command(&mut self, run: RunCommand) -> Result<(), RunRefusal> {
        let (ready, parallel) = self.rights.command(&run, clock::now().wall)?;
        let commands = self.running.iter().filter_map(|one| one.command.as_ref());
        let same =
            |(command, by): &(CommandName, RunBy)| *command == run.command && by.is_same(&run.by);
        if !parallel && commands.clone().any(same) {
            return Err(RunRefusal::Running);
        }
        let of_doors = |(_, by): &&(CommandName, RunBy)| matches!(by, RunBy::Door(_));
        let is_door = matches!(run.by, RunBy::Door(_));
        if is_door && commands.clone().filter(of_doors).count() >= OF_DOORS
            || commands.count() >= COMMANDS
        {
            return Err(RunRefusal::Busy);
        }
        let mut facts = vec![
            ("SPA_SOURCE", run.source.to_string()),
            ("SPA_COMMAND", run.command.to_string()),
        ];
        match &run.by {
            RunBy::Client(name, key) => facts.extend([
                ("SPA_CLIENT", name.to_string()),
                ("SPA_KEY", key.to_string()),
            ]),
            RunBy::Door(name) => facts.push(("SPA_DOOR", name.to_string())),
        }
        let job = Job::start(run.id, ready, &facts, "", boot());
        let job = job.map_err(|error| failed(run.command.as_str(), &error))?;
        let command = Some((run.command, run.by));
        self.running.push(Running { job, command });
        Ok(())
    }

    fn hook(&mut self, hook: &RunHook) -> Result<(), RunRefusal> {
        let ready = self.rights.hook(hook.event).ok_or(RunRefusal::Unknown)?;
        let hooks = self.running.iter().filter(|one| one.command.is_none());
        if hooks.count() >= HOOKS {
            return Err(RunRefusal::Busy);
        }
        let job = Job::start(hook.id, ready, &[], &hook_input::of(hook), boot());
        let job = job.map_err(|error| failed(hook.event.as_str(), &error))?;
        self.running.push(Running { job, command: None });
        Ok(())
    }

    /// Reads the configuration anew; the engine asks for one reading after the other, and it is
    /// not used before the firewall writer and the
    /// engine use it too.
    fn prepare(&mut self) -> Result<(), String> {
        self.prepared = None;
        let now = clock::now().wall;
        let loaded =
            config::load_for(&self.configuration, now).map_err(|findings| findings.to_string())?;
        let findings = config::check_programs(&self.configuration);
        if findings.has_errors() {
            return Err(findings.to_string());
        }
        self.prepared = Some(Rights::of(&loaded.config));
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
        let jobs = jobs.flat_map(|job| [Some(job.over()), job.says()]);
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
    fn attend(&mut self) -> Result<(), RunnerError> {
        let now = boot();
        let mut index = 0;
        while let Some(running) = self.running.get_mut(index) {
            running.job.listen();
            if running.job.has_ended() {
                let job = self.running.swap_remove(index).job;
                self.engine.send(&FromRunner::Ended(job.finish(now)))?;
                continue;
            }
            if running.job.due <= now {
                running.job.hurry(now);
            }
            index = index.saturating_add(1);
        }
        Ok(())
    }
}

/// Only this process knows why.
fn failed(what: &str, error: &std::io::Error) -> RunRefusal {
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
