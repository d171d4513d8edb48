//! Decides what happens at a reload; pure.
//!
//! The configuration is read by three processes: the engine reads it on a thread of its own
//! (`load_config.rs`), then the command runner reads it, then the firewall writer reads it and
//! puts it in force. Only then does the engine use it, and the runner too. A refusal by any of
//! them leaves all of them with the configuration before.
//!
//! One reload passes through runner and writer at a time; the others wait. The runner keeps one
//! configuration that is read but not in force. If it read the next one meanwhile, applying the
//! first would put the second one's commands in force, even where the writer then refuses it.
//!
//! Reading takes a while. A client that is disabled meanwhile must not come back by files that
//! were read before, and of two reloads the one that read last wins, whichever arrives first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use spad_model::{BootTime, ClientName};

use super::helpers::{RUNNER, WRITER};
use super::reply::Reply;
use crate::control::Response;

/// How long a disabled client is remembered: longer than any reading of the files takes.
const MAX_LOAD_TIME: Duration = Duration::from_secs(24 * 3600);

/// A configuration `C` that was read and is not in use yet.
#[derive(Debug)]
pub(super) struct Candidate<C> {
    pub(super) config: C,
    /// When reading its files began: later changes may not be in them.
    pub(super) read_at: BootTime,
    pub(super) reply: Reply,
}

/// The state of reloads.
#[derive(Debug)]
pub(super) struct Reload<C> {
    /// Whether there is a command runner, which reads each configuration first.
    has_runner: bool,
    phase: Phase<C>,
    queue: VecDeque<Candidate<C>>,
    /// When reading the newest candidate's files began.
    newest: BootTime,
    /// Clients that were disabled lately, and when.
    disabled: BTreeMap<ClientName, BootTime>,
    /// Trials that began since the last reload ended.
    trial_notes: Vec<String>,
    /// The last reload was refused.
    refused: bool,
    /// The files had errors at the start, and the last good configuration is in use.
    pub(super) started_from_last_good: bool,
}

#[derive(Debug)]
enum Phase<C> {
    Idle,
    LoadingInRunner(Candidate<C>),
    LoadingInWriter(Candidate<C>),
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event<C> {
    /// The engine's side read its files and keys. `helpers` is an error where a helper process
    /// does not respond.
    Loaded {
        candidate: Candidate<C>,
        helpers: Result<(), String>,
    },
    /// The engine's side could not, and has answered.
    LoadFailed,
    /// The command runner read the files, or refused them.
    RunnerLoaded(Result<(), String>),
    /// The firewall writer uses the configuration, or refused it.
    WriterLoaded(Result<(), String>),
    /// An administrator disabled a client.
    ClientDisabled(ClientName, BootTime),
    /// The trial of a newly hidden service began; a sentence about it.
    TrialStarted(String),
}

/// What the engine's thread has to do.
#[derive(Debug)]
pub(super) enum Action<C> {
    AskRunnerToLoad,
    AskWriterToLoad,
    /// Runner and writer accepted it: use it.
    Commit {
        candidate: Candidate<C>,
        /// Clients that were disabled since its files were read.
        disabled: Vec<ClientName>,
        /// Trials that it began.
        trial_notes: Vec<String>,
    },
    /// A helper process refused it.
    Refuse {
        by: &'static str,
        why: String,
        reply: Reply,
    },
    /// It is not tried at all.
    Answer(Reply, Response),
    /// Write to the audit that a reload failed.
    AuditFailed,
}

impl<C> Reload<C> {
    pub(super) const fn new(has_runner: bool) -> Self {
        Self {
            has_runner,
            phase: Phase::Idle,
            queue: VecDeque::new(),
            newest: BootTime::from_micros(0),
            disabled: BTreeMap::new(),
            trial_notes: Vec::new(),
            refused: false,
            started_from_last_good: false,
        }
    }

    /// What follows from an event, in order.
    pub(super) fn on(&mut self, event: Event<C>) -> Vec<Action<C>> {
        match event {
            Event::Loaded { candidate, helpers } => self.on_loaded(candidate, helpers),
            Event::LoadFailed => {
                self.refused = true;
                vec![Action::AuditFailed]
            }
            Event::RunnerLoaded(result) => {
                let Some(candidate) = self.phase.take_from_runner() else {
                    return Vec::new();
                };
                match result {
                    Ok(()) => {
                        self.phase = Phase::LoadingInWriter(candidate);
                        vec![Action::AskWriterToLoad]
                    }
                    Err(why) => self.refuse(RUNNER, why, candidate.reply),
                }
            }
            Event::WriterLoaded(result) => {
                let Some(candidate) = self.phase.take_from_writer() else {
                    return Vec::new();
                };
                match result {
                    Ok(()) => self.commit(candidate),
                    Err(why) => self.refuse(WRITER, why, candidate.reply),
                }
            }
            Event::ClientDisabled(client, now) => {
                self.disabled
                    .retain(|_, at| now.saturating_since(*at) < MAX_LOAD_TIME);
                self.disabled.insert(client, now);
                Vec::new()
            }
            Event::TrialStarted(note) => {
                if !self.is_idle() {
                    self.trial_notes.push(note);
                }
                Vec::new()
            }
        }
    }

    fn on_loaded(
        &mut self,
        candidate: Candidate<C>,
        helpers: Result<(), String>,
    ) -> Vec<Action<C>> {
        if candidate.read_at < self.newest {
            let message = "a later reload was faster, and its configuration is in use".to_owned();
            return vec![Action::Answer(candidate.reply, Response::Done { message })];
        }
        self.newest = candidate.read_at;
        if let Err(why) = helpers {
            let message = format!(
                "the running configuration stays: {why}\n  help: reload again once it responds; `spad status` says so"
            );
            return vec![Action::Answer(
                candidate.reply,
                Response::Failed { message },
            )];
        }
        self.queue.push_back(candidate);
        self.start_next().into_iter().collect()
    }

    /// The next candidate's first step, where no other is under way.
    fn start_next(&mut self) -> Option<Action<C>> {
        if !self.is_idle() {
            return None;
        }
        let candidate = self.queue.pop_front()?;
        let (phase, action) = match self.has_runner {
            true => (Phase::LoadingInRunner(candidate), Action::AskRunnerToLoad),
            false => (Phase::LoadingInWriter(candidate), Action::AskWriterToLoad),
        };
        self.phase = phase;
        Some(action)
    }

    fn commit(&mut self, candidate: Candidate<C>) -> Vec<Action<C>> {
        self.started_from_last_good = false;
        self.refused = false;
        let disabled = self.disabled.iter();
        let since_read = disabled.filter(|(_, at)| **at >= candidate.read_at);
        let commit = Action::Commit {
            disabled: since_read.map(|(client, _)| client.clone()).collect(),
            trial_notes: std::mem::take(&mut self.trial_notes),
            candidate,
        };
        [commit].into_iter().chain(self.start_next()).collect()
    }

    fn refuse(&mut self, by: &'static str, why: String, reply: Reply) -> Vec<Action<C>> {
        self.refused = true;
        self.trial_notes.clear();
        let refuse = Action::Refuse { by, why, reply };
        [refuse].into_iter().chain(self.start_next()).collect()
    }

    const fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Answers all who wait for a reload. The reloads themselves go on.
    pub(super) fn answer_all(&mut self, response: &Response) {
        let active = match &mut self.phase {
            Phase::Idle => None,
            Phase::LoadingInRunner(candidate) | Phase::LoadingInWriter(candidate) => {
                Some(candidate)
            }
        };
        for candidate in active.into_iter().chain(&mut self.queue) {
            candidate.reply.send_early(response.clone());
        }
    }

    /// Why the configuration in use is not that of the files.
    pub(super) fn warnings(&self) -> impl Iterator<Item = &'static str> + use<C> {
        let last_good = self.started_from_last_good.then_some(
            "the configuration had errors at the start, and the last good one is used: `spad check`, then `spad reload`",
        );
        let refused = self.refused.then_some(
            "the last reload was refused, and the configuration before it is used: `spad check`, then `spad reload`",
        );
        last_good.into_iter().chain(refused)
    }
}

impl<C> Phase<C> {
    fn take_from_runner(&mut self) -> Option<Candidate<C>> {
        match std::mem::replace(self, Self::Idle) {
            Self::LoadingInRunner(candidate) => Some(candidate),
            other => {
                *self = other;
                None
            }
        }
    }

    fn take_from_writer(&mut self) -> Option<Candidate<C>> {
        match std::mem::replace(self, Self::Idle) {
            Self::LoadingInWriter(candidate) => Some(candidate),
            other => {
                *self = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
