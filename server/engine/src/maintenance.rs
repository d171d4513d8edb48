//! What the engine does without a packet: expiry, reload, adoption, reports; pure.

use std::time::Duration;

use spad_model::clock::format_utc;
use spad_model::{BootTime, ChangeId, ClientName, Counters, Element, KernelElement, Now};
use spad_replay::screen::LateReportLimiter;
use spad_replay::{HolderRecord, Horizon, JournalRecord, ReplayCache};

use super::{Effect, Engine, GrantListing, GrantRow};
use crate::audit::event::Event;
use crate::clients::Clients;
use crate::grants::{Holding, Owner};
use crate::policy::{self, Rates};

/// Noise is summed up this often, and idle clients' packets are forgotten.
const MINUTE: Duration = Duration::from_secs(60);

/// Grants that one portion of a list takes up: a few hundredths of a millisecond.
const LIST_PAGE: usize = 128;

/// Entries of the replay cache that one minute's upkeep forgets, at most.
const SWEEP_BATCH: usize = 10_000;

impl Engine {
    /// Expiry of holders, mending of what the kernel holds, the summary of noise.
    pub fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let result = self.grants.tick(now.boot);
        effects.extend(result.changes.into_iter().map(Effect::Firewall));
        for (owner, element) in &result.expired {
            let line = self.grant_event(Event::Expire, *owner, element, now);
            effects.push(Effect::Audit(Box::new(line)));
            self.holder_removed(*owner, element, effects);
        }
        self.run_hooks(now, effects);
        if self.minute_due().is_some_and(|due| due > now.boot) {
            return;
        }
        if self.last_minute.replace(now.boot).is_some() {
            self.each_minute(now, effects);
        }
    }

    fn each_minute(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let line = self.noise_summary(now);
        effects.extend(line.map(|line| Effect::Audit(Box::new(line))));
        let skew = self.clients.config().packets.max_skew;
        let window_start = now.wall.saturating_sub(skew);
        self.replay
            .sweep(window_start, SWEEP_BATCH, &mut self.records);
        effects.extend(self.records.drain(..).map(Effect::Record));
    }

    fn minute_due(&self) -> Option<BootTime> {
        self.last_minute.map(|last| last.saturating_add(MINUTE))
    }

    /// When [`Self::tick`] is due next.
    #[must_use]
    pub fn next_tick(&self) -> Option<BootTime> {
        let minute = self.minute_due().unwrap_or_default();
        Some(
            self.grants
                .next_tick()
                .map_or(minute, |grants| grants.min(minute)),
        )
    }

    /// New clients and a new configuration (they hold it). Grants of clients that are
    /// gone or disabled, or may no longer open the service, are withdrawn at once; longer ones than it
    /// allows their holder are cut.
    /// Every client's rate starts anew. Gives the old clients: to forget a hundred
    /// thousand takes longer than a packet should wait.
    #[must_use]
    pub fn reload(&mut self, clients: Clients, now: Now, effects: &mut Vec<Effect>) -> Clients {
        self.late = LateReportLimiter::for_clients(clients.len());
        self.rates = Rates::for_clients(clients.len());
        self.audit_budget = Rates::for_clients(clients.len());
        let old = std::mem::replace(&mut self.clients, clients);
        self.knock_service.reload(self.clients.config());
        let held: Vec<_> = self.grants.owners().collect();
        self.revoke(held, Some(&old), now, effects);
        self.shorten(now, effects);
        old
    }

    /// Nobody has anything open for longer than the configuration allows.
    fn shorten(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let clients = &self.clients;
        let max_ttl = |owner, element: &Element| max_ttl(clients, owner, element, now);
        let shortened = self.grants.shorten(max_ttl, now.boot);
        let holders = shortened.iter().filter_map(Holding::holder);
        effects.extend(holders.map(|holder| Effect::Record(JournalRecord::Holder(holder))));
    }

    /// Refuses this client from now on and withdraws its grants, until a reload says
    /// otherwise. False: no such client.
    pub fn disable(&mut self, name: &ClientName, now: Now, effects: &mut Vec<Effect>) -> bool {
        let Some(client) = self.clients.disable(name) else {
            return false;
        };
        let owners = self.clients.key_ids(client).into_iter().map(Owner::Client);
        let held = owners.flat_map(|owner| self.grants.elements_for_owner(owner));
        let held: Vec<_> = held.collect();
        self.revoke(held, None, now, effects);
        true
    }

    /// At start: what the kernel holds, and who holds it by the journal.
    pub fn adopt(
        &mut self,
        kernel: &[KernelElement],
        holders: Vec<HolderRecord>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let gone = self.grants.adopt(kernel, holders, now.boot);
        let gone = gone.into_iter().map(JournalRecord::HolderRemoved);
        effects.extend(gone.map(Effect::Record));
        let held: Vec<_> = self.grants.owners().collect();
        self.revoke(held, None, now, effects);
        self.shorten(now, effects);
    }

    /// Of what is held, withdraws what its holder may not hold any more. `old` knows the
    /// names of clients that are gone.
    fn revoke(
        &mut self,
        held: Vec<(Owner, Element)>,
        old: Option<&Clients>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let held = held.into_iter();
        let revoked: Vec<_> = held
            .filter(|(owner, element)| !self.may_hold(*owner, element))
            .collect();
        for (owner, element) in &revoked {
            let mut line = self.grant_event(Event::Revoke, *owner, element, now);
            if let (None, Some(old), Owner::Client(id)) = (&line.client, old, owner) {
                line.client = old.by_key_id(*id).map(|(_, client)| client.name.clone());
            }
            if let (None, Some(old), Owner::Door(id)) = (&line.door, old, owner) {
                line.door = old.config().door(*id).map(|door| door.name.clone());
            }
            effects.push(Effect::Audit(Box::new(line)));
        }
        let _ = self.withdraw(&revoked, now, effects);
    }

    fn may_hold(&self, owner: Owner, element: &Element) -> bool {
        // Whom a gateway no longer leads would reach its own port instead.
        let inner = self.clients.config().inner_host(element.service);
        if inner.is_some_and(|inner| !inner.forwards_to(element.address)) {
            return false;
        }
        let id = match owner {
            Owner::Client(id) => id,
            Owner::Unknown => return true,
            Owner::Door(id) => {
                let service = self.clients.service_at(element.service);
                let door = self.clients.config().door(id);
                return door
                    .zip(service)
                    .is_some_and(|(door, service)| door.open.contains(service));
            }
            Owner::Admin => {
                let lengths = &self.clients.config().prefix_lengths;
                let lengths = lengths.for_family(element.address);
                let as_wide = element
                    .prefix
                    .is_none_or(|prefix| lengths.contains(&prefix));
                return as_wide && self.clients.service_at(element.service).is_some();
            }
        };
        self.clients.by_key_id(id).is_some_and(|(index, client)| {
            let as_wide = client.prefix_for(element.address) == element.prefix;
            self.clients.is_enabled(index)
                && self.clients.may_open(client, element.service)
                && client.admits(element.address)
                && (element.prefix.is_none() || as_wide)
        })
    }

    /// Packets by reason.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many grants gave way to newer ones of their client.
    #[must_use]
    pub const fn evictions(&self) -> super::EvictionCounts {
        self.evictions
    }

    /// How many grants are open.
    #[must_use]
    pub const fn open_grants(&self) -> usize {
        self.grants.granted()
    }

    /// How many elements should be closed, and the firewall refused to close them; that is
    /// tried again each second.
    #[must_use]
    pub fn failed_closes(&self, now: Now) -> usize {
        self.grants.failed_closes(now.boot)
    }

    /// The last change that the firewall writer has not answered.
    #[must_use]
    pub fn last_unanswered(&self) -> Option<ChangeId> {
        self.grants.last_unanswered()
    }

    /// Whether the firewall writer has this change still to answer.
    #[must_use]
    pub fn is_unanswered(&self, id: ChangeId) -> bool {
        self.grants.is_unanswered(id)
    }

    /// Lists a portion more of what is open; false where it was the last.
    pub fn list_page(&self, listing: &mut GrantListing, now: Now) -> bool {
        let GrantListing { after, rows } = listing;
        // Once, so that no later portion waits while rows are moved.
        rows.reserve(self.grants.granted().saturating_sub(rows.len()));
        let mut names = None;
        self.grants.holdings_page(after, LIST_PAGE, |holding| {
            if holding.ends > now.boot {
                rows.push(self.grant_row(&holding, now, &mut names));
            }
        })
    }

    /// Who has what open, in the order of addresses and services.
    #[must_use]
    pub fn grants(&self, now: Now) -> Vec<GrantRow> {
        let mut listing = GrantListing::default();
        while self.list_page(&mut listing, now) {}
        listing.into_rows()
    }

    /// `last` is whose row came before: one holder's rows follow each other.
    fn grant_row(
        &self,
        holding: &Holding,
        now: Now,
        last: &mut Option<(Owner, Option<ClientName>)>,
    ) -> GrantRow {
        let door = match holding.owner {
            Owner::Door(id) => self.clients.config().door(id),
            Owner::Unknown | Owner::Admin | Owner::Client(_) => None,
        };
        let client = match last {
            Some((owner, client)) if *owner == holding.owner => client.clone(),
            _ => {
                let client = match holding.owner {
                    Owner::Unknown | Owner::Admin | Owner::Door(_) => None,
                    Owner::Client(id) => self.clients.by_key_id(id),
                };
                let client = client.map(|(_, client)| client.name.clone());
                *last = Some((holding.owner, client.clone()));
                client
            }
        };
        GrantRow {
            client,
            door: door.map(|door| door.name.clone()),
            admin: holding.owner == Owner::Admin,
            peer: holding.element.peer(),
            service: holding.element.service,
            source_port: holding.element.source_port,
            once: holding.element.once,
            remaining: holding.ends.saturating_since(now.boot),
        }
    }

    /// Cache and horizon, for the state directory's `tick` and resets.
    pub fn replay_state_mut(&mut self) -> (&mut ReplayCache, &mut Horizon) {
        (&mut self.replay, &mut self.horizon)
    }

    /// Until when every packet is refused, where that is still to come.
    #[must_use]
    pub fn refuses_until(&self, now: Now) -> Option<String> {
        let floor = self.replay.base_floor();
        (floor > now.wall).then(|| {
            format!(
                "packets sent before {} are refused, later ones pass: the last stop was not clean, or the key was adopted; this ends by itself",
                format_utc(floor)
            )
        })
    }

    /// Who holds what, for the journal.
    #[must_use]
    pub fn holders(&self) -> Vec<HolderRecord> {
        self.grants.holders().collect()
    }

    /// What the journal keeps besides the cache.
    pub fn journal_extras(&self) -> impl Iterator<Item = JournalRecord> + '_ {
        let holders = self.grants.holders().map(JournalRecord::Holder);
        holders.chain(self.hooks.pending_close().map(JournalRecord::HookPending))
    }

    /// Everything that the journal must hold, for its compaction.
    pub fn journal_records(&self) -> impl Iterator<Item = JournalRecord> + '_ {
        self.replay.records().chain(self.journal_extras())
    }

    /// The clients, with the configuration they are from.
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Computes the keys of up to `count` more clients ahead of their first packet.
    /// False when all are done.
    pub fn precompute_keys(&mut self, count: usize) -> bool {
        self.clients.precompute_keys(count)
    }
}

/// How much longer this holder may have the element open, as things are configured now.
fn max_ttl(clients: &Clients, owner: Owner, element: &Element, now: Now) -> Duration {
    let config = clients.config();
    let global_max = config.max_ttl_overall();
    let max_ttl = match owner {
        Owner::Admin => config.grants.admin_max_ttl,
        Owner::Unknown => global_max,
        // Whom the configuration does not know was withdrawn before.
        Owner::Client(id) => clients.by_key_id(id).map_or(global_max, |(_, client)| {
            policy::max_ttl_for_key(clients, client, id, element.service, now)
        }),
        Owner::Door(id) => config.door(id).map_or(global_max, |door| {
            policy::max_ttl_for_door(clients, door, element.service)
        }),
    };
    match element.source_port {
        Some(_) => max_ttl.min(spad_model::CONNECT_TIMEOUT),
        None => max_ttl,
    }
}
