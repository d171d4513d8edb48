//! What the engine does without a packet: expiry, reload, adoption, reports; pure.

use std::time::Duration;

use super::{Effect, Engine, GrantRow};
use crate::audit::Event;
use crate::clients::Clients;
use crate::clock::{BootTime, Now};
use crate::config::ClientName;
use crate::firewall::{Element, KernelElement};
use crate::grants::Owner;
use crate::policy::Rates;
use crate::replay::{Holder, Horizon, JournalRecord, ReplayCache};
use crate::screen::LateNames;
use crate::verdict::Counters;

/// Noise is summed up this often, and idle clients' packets are forgotten.
const MINUTE: Duration = Duration::from_secs(60);

/// Entries of the replay cache that one minute's upkeep forgets, at most.
const SWEEP: usize = 10_000;

impl Engine {
    /// Expiry of holders, mending of what the kernel holds, the summary of noise.
    pub fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let ticked = self.grants.tick(now.boot);
        effects.extend(ticked.changes.into_iter().map(Effect::Firewall));
        for (owner, element) in &ticked.expired {
            let line = self.about(Event::Expire, *owner, element, now);
            effects.push(Effect::Audit(Box::new(line)));
            let gone = self.grants.gone(*owner, element);
            effects.extend(gone.map(Effect::Record));
        }
        if self.minute_due().is_some_and(|due| due > now.boot) {
            return;
        }
        if self.last_minute.replace(now.boot).is_some() {
            self.each_minute(now, effects);
        }
    }

    fn each_minute(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let line = self.noise(now);
        effects.extend(line.map(|line| Effect::Audit(Box::new(line))));
        let skew = self.clients.config().packets.max_skew;
        let window_start = now.wall.saturating_sub(skew);
        self.replay.sweep(window_start, SWEEP, &mut self.records);
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
    /// gone or disabled, or may no longer open the service, are withdrawn at once.
    /// Every client's rate starts anew.
    pub fn reload(&mut self, clients: Clients, now: Now, effects: &mut Vec<Effect>) {
        self.late = LateNames::for_clients(clients.len());
        self.rates = Rates::for_clients(clients.len());
        self.lines = Rates::for_clients(clients.len());
        let old = std::mem::replace(&mut self.clients, clients);
        self.revoke(Some(&old), now, effects);
    }

    /// Refuses this client from now on and withdraws its grants, until a reload says
    /// otherwise. False: no such client.
    pub fn disable(&mut self, name: &ClientName, now: Now, effects: &mut Vec<Effect>) -> bool {
        let known = self.clients.disable(name).is_some();
        self.revoke(None, now, effects);
        known
    }

    /// At start: what the kernel holds, and who holds it by the journal.
    pub fn adopt(
        &mut self,
        kernel: &[KernelElement],
        holders: Vec<Holder>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let gone = self.grants.adopt(kernel, holders, now.boot);
        let gone = gone.into_iter().map(JournalRecord::HolderGone);
        effects.extend(gone.map(Effect::Record));
        self.revoke(None, now, effects);
    }

    /// Withdraws what its holder may not hold any more. `old` knows the names of
    /// clients that are gone.
    fn revoke(&mut self, old: Option<&Clients>, now: Now, effects: &mut Vec<Effect>) {
        let owners = self.grants.owners();
        let revoked: Vec<_> = owners
            .filter(|(owner, element)| !self.may_hold(*owner, element))
            .collect();
        for (owner, element) in &revoked {
            let mut line = self.about(Event::Revoke, *owner, element, now);
            if let (None, Some(old), Owner::Client(id)) = (&line.client, old, owner) {
                line.client = old.client_with(*id).map(|(_, client)| client.name.clone());
            }
            effects.push(Effect::Audit(Box::new(line)));
        }
        let _ = self.withdraw(&revoked, now, effects);
    }

    fn may_hold(&self, owner: Owner, element: &Element) -> bool {
        let Owner::Client(id) = owner else {
            return true;
        };
        self.clients.client_with(id).is_some_and(|(index, client)| {
            self.clients.is_enabled(index) && self.clients.may_open(client, element.service)
        })
    }

    /// Packets by reason.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Who has what open, in the order of addresses and services.
    #[must_use]
    pub fn grants(&self, now: Now) -> Vec<GrantRow> {
        let mut holdings: Vec<_> = self.grants.holdings().collect();
        holdings.sort_unstable_by_key(|holding| (holding.element, holding.owner));
        let row = |holding: &crate::grants::Holding| GrantRow {
            client: match holding.owner {
                Owner::Unknown => None,
                Owner::Client(id) => self
                    .clients
                    .client_with(id)
                    .map(|(_, client)| client.name.clone()),
            },
            address: holding.element.address,
            service: holding.element.service,
            source_port: holding.element.source_port,
            once: holding.element.once,
            remaining: holding.ends.saturating_since(now.boot),
        };
        let open = holdings.iter().filter(|holding| holding.ends > now.boot);
        open.map(row).collect()
    }

    /// Cache and horizon, for the state directory's `tick` and resets.
    pub fn never_twice(&mut self) -> (&mut ReplayCache, &mut Horizon) {
        (&mut self.replay, &mut self.horizon)
    }

    /// Who holds what, for the journal.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        self.grants.holders().collect()
    }

    /// Everything that the journal must hold, for its compaction.
    pub fn records(&self) -> impl Iterator<Item = JournalRecord> + '_ {
        let holders = self.grants.holders().map(JournalRecord::Holder);
        self.replay.records().chain(holders)
    }

    /// The clients, with the configuration they are from.
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Computes the keys of up to `count` more clients ahead of their first packet.
    /// False when all are done.
    pub fn warm(&mut self, count: usize) -> bool {
        self.clients.warm(count)
    }
}
