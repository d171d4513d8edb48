//! Hooks: which grants they were told of, and what they are to be told next; pure.
//!
//! A grant's open hook runs once the kernel took it, its close hook once the kernel has
//! it no longer, however it ended. For one grant they run one after the other, never at
//! once; of a grant that ended before its open hook could run, neither runs. That the
//! close hook is owed is in the journal before the open hook runs and until the close
//! hook has ended, so that it runs after a restart too; killed in between, it may run
//! twice. A hook that fails is told, and changes nothing else.

use std::collections::{BTreeMap, VecDeque};

use super::{Effect, Engine};
use crate::audit::{AuditEvent, Event, RunLine};
use crate::clock::{BootTime, Now};
use crate::config::{ClientName, DoorName};
use crate::firewall::{Element, Whom};
use crate::grants::{Holding, Owner, key_of};
use crate::replay::{HeldBy, HolderKey, JournalRecord};
use crate::runner::message::{Ended, HookEvent, How, RunHook, RunId, ToRunner};
use crate::verdict::Reason;

/// Hooks at once, at most; fewer than the runner takes.
const AT_ONCE: usize = 4;

/// Grants that are looked at for what their hooks are to be told, at a time.
const PORTION: usize = 64;

/// Grants that hooks are told of.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    grants: BTreeMap<HolderKey, Told>,
    /// What is to be told something, in the order in which it happened.
    queue: VecDeque<HolderKey>,
    running: BTreeMap<RunId, HolderKey>,
    /// The daemon stops: what is owed is for its next start.
    stopping: bool,
}

/// What is known of one grant.
#[derive(Debug, Default)]
struct Told {
    /// The client's name, also once it is gone from the configuration.
    client: Option<ClientName>,
    /// The same of a door's.
    door: Option<DoorName>,
    /// The open hook was told.
    open: bool,
    /// A new end, to be told.
    until: Option<BootTime>,
    /// The grant is over.
    over: bool,
    running: Option<HookEvent>,
    queued: bool,
}

impl Hooks {
    /// Whose close hook is owed.
    pub(super) fn owed(&self) -> impl Iterator<Item = HolderKey> + '_ {
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
    fn is_over(&mut self, key: HolderKey) -> Option<JournalRecord> {
        let told = self.grants.get_mut(&key)?;
        if told.open {
            told.over = true;
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
    pub(super) fn tell_hooks(&mut self, granted: &[Holding], now: Now, effects: &mut Vec<Effect>) {
        let hooks = &self.clients.config().hooks;
        if hooks.open.is_some() || hooks.close.is_some() {
            for holder in granted.iter().filter_map(Holding::holder) {
                let client = holder
                    .key
                    .by
                    .client()
                    .and_then(|id| self.clients.client_with(id));
                let client = client.map(|(_, client)| client.name.clone());
                let door = self.door_of(&holder.key);
                if !self.hooks.grants.contains_key(&holder.key) {
                    effects.push(Effect::Record(JournalRecord::HookOwed(holder.key)));
                }
                let told = self.hooks.grants.entry(holder.key).or_default();
                told.client = client.or(told.client.take());
                told.door = door.or(told.door.take());
                told.until = Some(holder.ends);
                told.over = false;
                self.hooks.queue(holder.key);
            }
        }
        self.run_hooks(now, effects);
    }

    fn door_of(&self, key: &HolderKey) -> Option<DoorName> {
        let HeldBy::Door(id) = key.by else {
            return None;
        };
        let door = self.clients.config().door(id);
        door.map(|door| door.name.clone())
    }

    /// A holder was taken away: the journal says so, and its close hook is due.
    pub(super) fn strike(&mut self, owner: Owner, element: &Element, effects: &mut Vec<Effect>) {
        if let Some(key) = key_of(owner, element) {
            let done = self.hooks.is_over(key);
            effects.extend(done.map(Effect::Record));
            effects.push(Effect::Record(JournalRecord::HolderGone(key)));
        }
    }

    /// At start, once what the kernel holds is adopted: whose close hook is owed from an
    /// earlier life. What has ended since is told now.
    pub fn owe_hooks(&mut self, owed: Vec<HolderKey>, now: Now, effects: &mut Vec<Effect>) {
        for key in owed {
            let client = key.by.client().and_then(|id| self.clients.client_with(id));
            let told = Told {
                client: client.map(|(_, client)| client.name.clone()),
                door: self.door_of(&key),
                open: true,
                ..Told::default()
            };
            self.hooks.grants.insert(key, told);
            if !self.grants.is_held(&key) {
                let done = self.hooks.is_over(key);
                effects.extend(done.map(Effect::Record));
            }
        }
        self.run_hooks(now, effects);
    }

    /// The daemon stops: no hook runs any more, and one that the stop ends is owed still.
    pub fn stop_hooks(&mut self) {
        self.hooks.stopping = true;
    }

    /// Runs what is due, as far as there is room.
    pub(super) fn run_hooks(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.hooks.stopping {
            return;
        }
        for _ in 0..self.hooks.queue.len().min(PORTION) {
            if self.hooks.running.len() >= AT_ONCE {
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
        let Some(told) = self.hooks.grants.get_mut(&key) else {
            return true;
        };
        if told.running.is_some() {
            // Its end looks again.
            return true;
        }
        let (event, until) = if told.over {
            if !self.grants.is_over(&key, now.boot) {
                return false;
            }
            if hooks.close.is_none() {
                self.hooks.grants.remove(&key);
                effects.push(Effect::Record(JournalRecord::HookDone(key)));
                return true;
            }
            (HookEvent::Close, now.boot)
        } else {
            let Some(until) = told.until.take() else {
                return true;
            };
            let event = if std::mem::replace(&mut told.open, true) {
                HookEvent::Renew
            } else {
                HookEvent::Open
            };
            if hooks.open.is_none() {
                return true;
            }
            (event, until)
        };
        told.running = Some(event);
        let (client, door) = (told.client.clone(), told.door.clone());
        let id = self.next_run();
        self.hooks.running.insert(id, key);
        effects.push(Effect::Run(ToRunner::Hook(RunHook {
            id,
            event,
            client,
            door,
            key: key.by.client(),
            whom: Whom {
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

    /// Whether this is the run of a hook.
    #[must_use]
    pub fn is_hook(&self, id: RunId) -> bool {
        self.hooks.running.contains_key(&id)
    }

    /// A hook ran.
    pub fn hook_ended(&mut self, ended: Ended, now: Now, effects: &mut Vec<Effect>) {
        let id = ended.id;
        if self.hooks.stopping && ended.how == How::TimedOut {
            return;
        }
        self.hook_over(id, |event| RunLine::ended(event, ended), None, now, effects);
    }

    /// A hook was not run, and is not tried again.
    pub fn hook_refused(&mut self, id: RunId, why: Reason, now: Now, effects: &mut Vec<Effect>) {
        self.hook_over(id, RunLine::of, Some(why), now, effects);
    }

    fn hook_over(
        &mut self,
        id: RunId,
        line: impl FnOnce(String) -> RunLine,
        why: Option<Reason>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(key) = self.hooks.running.remove(&id) else {
            return;
        };
        let Some(told) = self.hooks.grants.get_mut(&key) else {
            return;
        };
        let Some(event) = told.running.take() else {
            return;
        };
        let mut said = AuditEvent::new(Event::Hook, now.wall);
        said.client = told.client.clone();
        said.door = told.door.clone();
        said.key = key.by.client();
        said.granted_to = Some(key.address.into());
        said.port = Some(key.service);
        said.service = self.clients.service_at(key.service).cloned();
        said.reason = why;
        said.run = Some(Box::new(line(event.as_str().to_owned())));
        effects.push(Effect::Audit(Box::new(said)));
        if event == HookEvent::Close && told.over {
            self.hooks.grants.remove(&key);
            effects.push(Effect::Record(JournalRecord::HookDone(key)));
        } else {
            // Opened anew while the close hook ran: the open hook is told of it as of a first.
            told.open &= event != HookEvent::Close;
            self.hooks.queue(key);
        }
        self.run_hooks(now, effects);
    }
}
