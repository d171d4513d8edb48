//! The way of a packet. (The stages follow; these are the signatures.)

mod effect;

pub use effect::{Effect, GrantRow, Judged};

use crate::capture::{Datagram, FrameFault};
use crate::clients::Clients;
use crate::clock::{BootTime, Now};
use crate::config::ClientName;
use crate::firewall::{Answer, ChangeId, KernelElement};
use crate::replay::{Holder, Horizon, JournalRecord, ReplayCache};
use crate::verdict::{Counters, Reason, Verdict};

/// All that judges packets.
pub struct Engine {
    clients: Clients,
    replay: ReplayCache,
    horizon: Horizon,
    counters: Counters,
}

impl Engine {
    /// An engine that has seen nothing but what `replay` remembers.
    #[must_use]
    pub fn new(clients: Clients, replay: ReplayCache, horizon: Horizon) -> Self {
        let counters = Counters::default();
        Self {
            clients,
            replay,
            horizon,
            counters,
        }
    }

    /// Judges one datagram. Forged packets: no allocation, `effects` untouched.
    pub fn packet(&mut self, _: &Datagram<'_>, _: Now, _: &mut Vec<Effect>) -> Judged {
        self.counters.count(Reason::HeadTag);
        Judged::Verdict(Verdict::counted(Reason::HeadTag))
    }

    /// Counts a frame that held no datagram for us.
    pub fn frame_fault(&mut self, _: FrameFault) {
        self.counters.count(Reason::Frame);
    }

    /// Takes the writer's answer to a change; gives the verdict that waited for it.
    pub fn firewall_answered(&mut self, _: Answer, _: Now, _: &mut Vec<Effect>) -> Option<Verdict> {
        None
    }

    /// The change was never sent: a record before it could not be written
    /// ([`Reason::StateUnwritable`]), or the writer is gone ([`Reason::FirewallGone`]).
    pub fn abandon(
        &mut self,
        _: ChangeId,
        _: Reason,
        _: Now,
        _: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        None
    }

    /// Expiry of holders, repair of what the kernel holds, the summary of noise.
    pub fn tick(&mut self, _: Now, _: &mut Vec<Effect>) {}

    /// When [`Self::tick`] is due next.
    #[must_use]
    pub fn next_tick(&self) -> Option<BootTime> {
        None
    }

    /// New clients and a new configuration (they hold it). Grants of clients that are
    /// gone or disabled, or may no longer open the service, are withdrawn.
    pub fn reload(&mut self, clients: Clients, _: Now, _: &mut Vec<Effect>) {
        self.clients = clients;
    }

    /// Refuses this client from now on and withdraws its grants, until a reload says
    /// otherwise. False: no such client.
    pub fn disable(&mut self, name: &ClientName, _: Now, _: &mut Vec<Effect>) -> bool {
        self.clients.disable(name).is_some()
    }

    /// At start: what the kernel holds, and who holds it by the journal.
    pub fn adopt(&mut self, _: &[KernelElement], _: Vec<Holder>, _: Now, _: &mut Vec<Effect>) {}

    /// Packets by reason.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Who has what open.
    #[must_use]
    pub fn grants(&self, _: Now) -> Vec<GrantRow> {
        Vec::new()
    }

    /// Cache and horizon, for the state directory's `tick` and resets.
    pub fn never_twice(&mut self) -> (&mut ReplayCache, &mut Horizon) {
        (&mut self.replay, &mut self.horizon)
    }

    /// Who holds what, for the journal.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        Vec::new()
    }

    /// Everything that the journal must hold, for its compaction.
    pub fn records(&self) -> impl Iterator<Item = JournalRecord> {
        let holders = self.holders().into_iter().map(JournalRecord::Holder);
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
