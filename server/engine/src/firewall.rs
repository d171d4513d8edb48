//! What is done with a permit, and what the firewall writer says to it; pure.
//!
//! An open waits for the kernel: nothing is reported, counted or written into the
//! journal as granted before that.

use std::net::IpAddr;
use std::time::Duration;

use spad_model::{ChangeId, ChangeResult, ClientName, Datagram, Element, Now, Reason, Verdict};
use spad_replay::JournalRecord;

use super::pending::PendingChange;
use super::{Disposition, Effect, Engine, Sender};
use crate::audit::event::Event;
use crate::clients::Clients;
use crate::grants::{ChangeOutcome, Holding, Owner};
use crate::policy::{ClosePermit, OpenPermit, Permit};

/// The `detail` of a grant that ended because a newer one of its client took its place.
const EVICTED: &str = "gave_way";

/// How many grants gave way to newer ones of their client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvictionCounts {
    /// For any source port.
    pub windows: usize,
    /// For one connection.
    pub connections: usize,
}

impl EvictionCounts {
    fn count(&mut self, element: &Element) {
        let count = if element.is_for_connection() {
            &mut self.connections
        } else {
            &mut self.windows
        };
        *count = count.saturating_add(1);
    }
}

/// Where a packet came from, for its audit line.
#[derive(Clone, Debug)]
pub(super) struct PacketOrigin {
    pub(super) sender: Sender,
    /// The sender's name: an index would not outlive a reload.
    pub(super) client: Option<ClientName>,
    pub(super) source: IpAddr,
    pub(super) interface: u32,
    pub(super) at: Now,
}

impl PacketOrigin {
    pub(super) fn new(clients: &Clients, datagram: &Datagram<'_>, at: Now, sender: Sender) -> Self {
        let client = clients.client(sender.client);
        Self {
            sender,
            client: client.map(|client| client.name.clone()),
            source: datagram.source().ip(),
            interface: datagram.interface(),
            at,
        }
    }
}

impl Engine {
    pub(super) fn apply_permit(
        &mut self,
        permit: Permit,
        sender: Sender,
        datagram: &Datagram<'_>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Disposition {
        let origin = PacketOrigin::new(&self.clients, datagram, now, sender);
        match permit {
            Permit::Open(permit) => self.open(permit, origin, effects),
            Permit::Close(permit) => self.close(&permit, origin, effects),
            Permit::Run(permit) => self.run(permit, origin, effects),
        }
    }

    fn open(
        &mut self,
        permit: OpenPermit,
        origin: PacketOrigin,
        effects: &mut Vec<Effect>,
    ) -> Disposition {
        let (before, change) = if permit.evictions().is_empty() {
            (Vec::new(), self.grants.open(&permit, origin.at.boot))
        } else {
            let ids = self.clients.key_ids(origin.sender.client);
            self.grants.open_evicting(&permit, &ids, origin.at.boot)
        };
        let id = change.id;
        effects.extend(before.into_iter().map(Effect::Firewall));
        effects.push(Effect::Firewall(change));
        self.await_change(id, origin, Reason::Opened, permit.into_elements())
    }

    fn close(
        &mut self,
        permit: &ClosePermit,
        origin: PacketOrigin,
        effects: &mut Vec<Effect>,
    ) -> Disposition {
        for service in permit.services() {
            let (id, at) = (permit.key_id(), permit.timestamp());
            self.replay.close(id, *service, at, &mut self.records);
        }
        effects.extend(self.records.drain(..).map(Effect::Record));

        let ids = self.clients.key_ids(origin.sender.client);
        let owners = ids.into_iter().map(Owner::Client);
        let holders: Vec<(Owner, Element)> = owners
            .flat_map(|owner| {
                permit
                    .elements()
                    .iter()
                    .map(move |element| (owner, *element))
            })
            .collect();
        let last = self.withdraw(&holders, origin.at, effects);
        let elements: Vec<_> = permit
            .elements()
            .iter()
            .map(|element| (*element, Duration::ZERO))
            .collect();
        if let Some(id) = last {
            return self.await_change(id, origin, Reason::Closed, elements);
        }
        let nothing = elements.is_empty() && permit.is_for_all();
        let reason = if nothing {
            Reason::NoServices
        } else {
            Reason::Closed
        };
        Disposition::Verdict(self.finish_packet(&origin, reason, elements, origin.at, effects))
    }

    /// Takes holders away, in the kernel first. Gives the last change there is to wait for.
    pub(super) fn withdraw(
        &mut self,
        holders: &[(Owner, Element)],
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<ChangeId> {
        let changes = self.grants.withdraw(holders, now.boot);
        let last = changes.last().map(|change| change.id);
        effects.extend(changes.into_iter().map(Effect::Firewall));
        for (owner, element) in holders {
            self.holder_removed(*owner, element, effects);
        }
        self.run_hooks(now, effects);
        last
    }

    fn await_change(
        &mut self,
        id: ChangeId,
        origin: PacketOrigin,
        reason: Reason,
        elements: Vec<(Element, Duration)>,
    ) -> Disposition {
        let packet = PendingChange::Packet {
            origin,
            reason,
            elements,
        };
        self.pending.add_change(id, packet);
        Disposition::AwaitingFirewall(id)
    }

    /// Takes the writer's answer to a change; gives the verdict that waited for it.
    pub fn on_firewall_answer(
        &mut self,
        answer: ChangeResult,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        let refused = answer.result.err().map(Reason::from);
        self.finish_change(answer.id, refused, now, effects)
    }

    /// The change was never sent: a record before it could not be written
    /// ([`Reason::StateUnwritable`]), or the writer does not respond ([`Reason::FirewallUnresponsive`]).
    pub fn abort_change(
        &mut self,
        id: ChangeId,
        why: Reason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        self.finish_change(id, Some(why), now, effects)
    }

    fn finish_change(
        &mut self,
        id: ChangeId,
        refused: Option<Reason>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        let ChangeOutcome {
            granted,
            evicted: gave_way,
            too_late,
        } = self.grants.on_answer(id, refused.is_none(), now.boot);
        let refused = refused.or(too_late.then_some(Reason::FirewallUnresponsive));
        let holders = granted.iter().filter_map(Holding::holder);
        effects.extend(holders.map(|holder| Effect::Record(JournalRecord::Holder(holder))));
        for (owner, element) in &gave_way {
            self.evictions.count(element);
            let mut line = self.grant_event(Event::Expire, *owner, element, now);
            line.detail = Some(EVICTED);
            effects.push(Effect::Audit(Box::new(line)));
            self.holder_removed(*owner, element, effects);
        }
        self.schedule_hooks(&granted, now, effects);
        self.note_access(&granted);
        self.resolve_change(id, refused, now, effects)
    }

    /// The firewall writer does not respond: whatever waits for it is refused. What it still
    /// does of it later is undone then.
    /// Gives the verdicts that waited for it.
    pub fn abort_unanswered(&mut self, now: Now, effects: &mut Vec<Effect>) -> Vec<Verdict> {
        let unanswered: Vec<ChangeId> = self.grants.unanswered().collect();
        let verdicts = unanswered.into_iter().filter_map(|id| {
            self.grants.abandon(id);
            self.resolve_change(id, Some(Reason::FirewallUnresponsive), now, effects)
        });
        verdicts.collect()
    }

    /// Reports the outcome of a change to the one who waits for it.
    fn resolve_change(
        &mut self,
        id: ChangeId,
        refused: Option<Reason>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        match self.pending.take_change(id)? {
            PendingChange::Packet {
                origin,
                reason,
                elements,
            } => {
                let (reason, elements) = match refused {
                    Some(why) => (why, Vec::new()),
                    None => (reason, elements),
                };
                Some(self.finish_packet(&origin, reason, elements, now, effects))
            }
            PendingChange::Knock(knock) => {
                self.finish_knock(knock, refused, now, effects);
                None
            }
            PendingChange::Admin { uid, permit } => {
                let result = refused.map_or(Ok(()), Err);
                self.admin_grants.results.insert(id, result);
                self.finish_admin_grant(uid, &permit, refused, now, effects);
                None
            }
        }
    }

    /// The verdict on an authentic packet: counted, told, given back.
    pub(super) fn finish_packet(
        &mut self,
        origin: &PacketOrigin,
        reason: Reason,
        elements: Vec<(Element, Duration)>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        self.counters.count(reason);
        let events = self.packet_events(origin, reason, &elements, now);
        effects.extend(events.into_iter().map(|line| Effect::Audit(Box::new(line))));
        Verdict {
            reason,
            client: origin.client.clone(),
            elements,
        }
    }

    /// How many packets wait for a verdict that the firewall writer or the command runner
    /// decides.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.undecided()
    }
}
