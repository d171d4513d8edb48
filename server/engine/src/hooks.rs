//! Hooks: which grants they were told of, and what they are to be told next; pure.
//!
//! A grant's open hook runs once the kernel took it, its close hook once the kernel has
//! it no longer, however it ended. For one grant they run one after the other, never at
//! once; of a grant that ended before its open hook could run, neither runs. That the
//! close hook is owed is in the journal before the open hook runs and until the close
//! hook has ended, so that it runs after a restart too; killed in between, it may run
//! twice. A hook that fails is told, and changes nothing else.

use std::collections::{BTreeMap, VecDeque};

use spad_model::{
    BootTime, ClientName, DoorName, Element, ExitKind, HookEvent, Now, Peer, Reason, RunExit,
    RunHook, RunRequest,
};
use spad_replay::{Holder, HolderKey, JournalRecord};

use super::pending::PendingRun;
use super::{Effect, Engine};
use crate::audit::event::{AuditEvent, Event};
use crate::audit::run::RunRecord;
use crate::grants::{Holding, Owner, holder_key};

/// Hooks at once, at most; fewer than the runner takes.
const MAX_CONCURRENT: usize = 4;

/// Grants that are looked at for what their hooks are to be told, at a time.
const BATCH: usize = 64;

/// Grants that hooks are told of.
#[derive(Debug, Default)]
pub(super) struct HookScheduler {
    grants: BTreeMap<HolderKey, HookState>,
    /// What is to be told something, in the order in which it happened.
    queue: VecDeque<HolderKey>,
    /// The daemon stops: what is owed is for its next start.
    stopping: bool,
}

/// What is known of one grant.
#[derive(Debug, Default)]
struct HookState {
    /// The client's name, also once it is gone from the configuration.
    client: Option<ClientName>,
    /// The same of a door's.
    door: Option<DoorName>,
    /// The open hook was told.
    open: bool,
    /// A new end, to be told.
    until: Option<BootTime>,
    /// The grant is over.
    ended: bool,
    running: Option<HookEvent>,
    queued: bool,
}

impl HookScheduler {
    /// Whose close hook is owed.
    pub(super) fn pending_close(&self) -> impl Iterator<Item = HolderKey> + '_ {
        self.grants.keys().copied()
    }

    fn queue(&mut self, key: HolderKey) {
        if let Some(told) = self.grants.get_mut(&key)
            && !std::mem::replace(&mut told.queued, true)
        {
            self.queue.push_back(key);
        }
    }

    /// The grant is over. One that no hook was told of is forgotten at once, so that no
    /// client fills the queue with what nobody is to hear.
    fn holder_ended(&mut self, key: HolderKey) -> Option<JournalRecord> {
        let state = self.grants.get_mut(&key)?;
        if state.open {
            state.ended = true;
            self.queue(key);
            return None;
        }
        self.queue.retain(|queued| *queued != key);
        self.grants.remove(&key);
        Some(JournalRecord::HookDone(key))
    }
}

impl Engine {
    /// The kernel took these.
    pub(super) fn schedule_hooks(
        &mut self,
        granted: &[Holding],
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let hooks = &self.clients.config().hooks;
        if hooks.open.is_some() || hooks.close.is_some() {
            for holder in granted.iter().filter_map(Holding::holder) {
                let client = holder
                    .key
                    .holder
                    .client()
                    .and_then(|id| self.clients.by_key_id(id));
                let client = client.map(|(_, client)| client.name.clone());
                let door = self.door_name(&holder.key);
                if !self.hooks.grants.contains_key(&holder.key) {
                    effects.push(Effect::Record(JournalRecord::HookPending(holder.key)));
                }
                let state = self.hooks.grants.entry(holder.key).or_default();
                state.client = client.or(state.client.take());
                state.door = door.or(state.door.take());
                state.until = Some(holder.ends);
                state.ended = false;
                self.hooks.queue(holder.key);
            }
        }
        self.run_hooks(now, effects);
    }

    fn door_name(&self, key: &HolderKey) -> Option<DoorName> {
        let Holder::Door(id) = key.holder else {
            return None;
        };
        let door = self.clients.config().door(id);
        door.map(|door| door.name.clone())
    }

    /// A holder was taken away: the journal says so, and its close hook is due.
    pub(super) fn holder_removed(
        &mut self,
        owner: Owner,
        element: &Element,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(key) = holder_key(owner, element) {
            let done = self.hooks.holder_ended(key);
            effects.extend(done.map(Effect::Record));
            effects.push(Effect::Record(JournalRecord::HolderRemoved(key)));
        }
    }

    /// At start, once what the kernel holds is adopted: whose close hook is owed from an
    /// earlier life. What has ended since is told now.
    pub fn restore_pending_hooks(
        &mut self,
        pending: Vec<HolderKey>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        for key in pending {
            let client = key
                .holder
                .client()
                .and_then(|id| self.clients.by_key_id(id));
            let state = HookState {
                client: client.map(|(_, client)| client.name.clone()),
                door: self.door_name(&key),
                open: true,
                ..HookState::default()
            };
            self.hooks.grants.insert(key, state);
            if !self.grants.is_leased(&key) {
                let done = self.hooks.holder_ended(key);
                effects.extend(done.map(Effect::Record));
            }
        }
        self.run_hooks(now, effects);
    }

    /// The daemon stops: no hook runs any more, and one that the stop ends is owed still.
    pub fn begin_shutdown(&mut self) {
        self.hooks.stopping = true;
    }

    /// Runs what is due, as far as there is room.
    pub(super) fn run_hooks(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.hooks.stopping {
            return;
        }
        for _ in 0..self.hooks.queue.len().min(BATCH) {
            if self.pending.running_hooks() >= MAX_CONCURRENT {
                return;
            }
            let Some(key) = self.hooks.queue.pop_front() else {
                return;
            };
            if let Some(told) = self.hooks.grants.get_mut(&key) {
                told.queued = false;
            }
            if !self.run_hook(key, now, effects) {
                self.hooks.queue(key);
            }
        }
    }

    /// Tells one grant's hook what is next; false where that must wait.
    fn run_hook(&mut self, key: HolderKey, now: Now, effects: &mut Vec<Effect>) -> bool {
        let hooks = &self.clients.config().hooks;
        let Some(state) = self.hooks.grants.get_mut(&key) else {
            return true;
        };
        if state.running.is_some() {
            // Its end looks again.
            return true;
        }
        let (event, until) = if state.ended {
            if !self.grants.is_closed(&key, now.boot) {
                return false;
            }
            if hooks.close.is_none() {
                self.hooks.grants.remove(&key);
                effects.push(Effect::Record(JournalRecord::HookDone(key)));
                return true;
            }
            (HookEvent::Close, now.boot)
        } else {
            let Some(until) = state.until.take() else {
                return true;
            };
            let event = if std::mem::replace(&mut state.open, true) {
                HookEvent::Renew
            } else {
                HookEvent::Open
            };
            if hooks.open.is_none() {
                return true;
            }
            (event, until)
        };
        state.running = Some(event);
        let (client, door) = (state.client.clone(), state.door.clone());
        let id = self.pending.add_run(PendingRun::Hook(key));
        effects.push(Effect::Run(RunRequest::Hook(RunHook {
            id,
            event,
            client,
            door,
            key: key.holder.client(),
            peer: Peer {
                address: key.address,
                prefix: key.prefix,
            },
            service: self.clients.service_at(key.service).cloned(),
            port: key.service,
            source_port: key.source_port,
            once: key.once,
            ttl: until.saturating_since(now.boot),
            at: now.wall,
        })));
        true
    }

    /// Handles the end of a hook. One that the stop ended is run again after the next start.
    pub(super) fn hook_ended(
        &mut self,
        key: HolderKey,
        exit: RunExit,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if self.hooks.stopping && exit.kind == ExitKind::TimedOut {
            return;
        }
        self.finish_hook(
            key,
            |event| RunRecord::ended(event, exit),
            None,
            now,
            effects,
        );
    }

    /// Handles a hook that was not run.
    pub(super) fn hook_refused(
        &mut self,
        key: HolderKey,
        why: Reason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.finish_hook(key, RunRecord::started, Some(why), now, effects);
    }

    fn finish_hook(
        &mut self,
        key: HolderKey,
        line: impl FnOnce(String) -> RunRecord,
        why: Option<Reason>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(state) = self.hooks.grants.get_mut(&key) else {
            return;
        };
        let Some(event) = state.running.take() else {
            return;
        };
        let mut audit_event = AuditEvent::new(Event::Hook, now.wall);
        audit_event.client = state.client.clone();
        audit_event.door = state.door.clone();
        audit_event.key = key.holder.client();
        audit_event.granted_to = Some(key.address.into());
        audit_event.port = Some(key.service);
        audit_event.service = self.clients.service_at(key.service).cloned();
        audit_event.reason = why;
        audit_event.run = Some(Box::new(line(event.as_str().to_owned())));
        effects.push(Effect::Audit(Box::new(audit_event)));
        if event == HookEvent::Close && state.ended {
            self.hooks.grants.remove(&key);
            effects.push(Effect::Record(JournalRecord::HookDone(key)));
        } else {
            // Opened anew while the close hook ran: the open hook is told of it as of a first.
            state.open &= event != HookEvent::Close;
            self.hooks.queue(key);
        }
        self.run_hooks(now, effects);
    }
}
