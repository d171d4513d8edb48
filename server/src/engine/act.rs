//! What is done with a permit, and what the firewall writer says to it; pure.
//!
//! An open waits for the kernel: nothing is reported, counted or written into the
//! journal as granted before that.

use std::net::IpAddr;
use std::time::Duration;

use super::{Effect, Engine, Judged, Sender};
use crate::audit::Event;
use crate::capture::Datagram;
use crate::clients::Clients;
use crate::clock::Now;
use crate::config::ClientName;
use crate::firewall::{Answer, ChangeId, Element};
use crate::grants::{Holding, Owner, Settled};
use crate::policy::{ClosePermit, OpenPermit, Permit};
use crate::replay::JournalRecord;
use crate::verdict::{Reason, Verdict};

/// The `detail` of a grant that ended because a newer one of its client took its place.
const GAVE_WAY: &str = "gave_way";

/// How many grants gave way to newer ones of their client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GaveWay {
    /// For any source port.
    pub windows: usize,
    /// For one connection.
    pub connections: usize,
}

impl GaveWay {
    fn note(&mut self, element: &Element) {
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
pub(super) struct Arrival {
    pub(super) sender: Sender,
    /// The sender's name: an index would not outlive a reload.
    pub(super) client: Option<ClientName>,
    pub(super) source: IpAddr,
    pub(super) interface: u32,
    pub(super) at: Now,
}

impl Arrival {
    pub(super) fn of(clients: &Clients, datagram: &Datagram<'_>, at: Now, sender: Sender) -> Self {
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

/// A packet whose verdict the firewall writer decides.
#[derive(Debug)]
pub(super) struct Waiting {
    arrival: Arrival,
    reason: Reason,
    elements: Vec<(Element, Duration)>,
}

impl Engine {
    pub(super) fn act(
        &mut self,
        permit: Permit,
        sender: Sender,
        datagram: &Datagram<'_>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Judged {
        let arrival = Arrival::of(&self.clients, datagram, now, sender);
        match permit {
            Permit::Open(permit) => self.open(permit, arrival, effects),
            Permit::Close(permit) => self.close(&permit, arrival, effects),
            Permit::Run(permit) => self.run(permit, arrival, effects),
        }
    }

    fn open(&mut self, permit: OpenPermit, arrival: Arrival, effects: &mut Vec<Effect>) -> Judged {
        let (before, change) = if permit.gives_way().is_empty() {
            (Vec::new(), self.grants.open(&permit, arrival.at.boot))
        } else {
            let ids = self.clients.ids_of(arrival.sender.client);
            self.grants.open_instead(&permit, &ids, arrival.at.boot)
        };
        let id = change.id;
        effects.extend(before.into_iter().map(Effect::Firewall));
        effects.push(Effect::Firewall(change));
        self.wait_for(id, arrival, Reason::Opened, permit.into_elements())
    }

    fn close(
        &mut self,
        permit: &ClosePermit,
        arrival: Arrival,
        effects: &mut Vec<Effect>,
    ) -> Judged {
        for service in permit.services() {
            let (id, at) = (permit.key_id(), permit.timestamp());
            self.replay.close(id, *service, at, &mut self.records);
        }
        effects.extend(self.records.drain(..).map(Effect::Record));

        let ids = self.clients.ids_of(arrival.sender.client);
        let owners = ids.into_iter().map(Owner::Client);
        let holders: Vec<(Owner, Element)> = owners
            .flat_map(|owner| {
                permit
                    .elements()
                    .iter()
                    .map(move |element| (owner, *element))
            })
            .collect();
        let last = self.withdraw(&holders, arrival.at, effects);
        let elements: Vec<_> = permit
            .elements()
            .iter()
            .map(|element| (*element, Duration::ZERO))
            .collect();
        if let Some(id) = last {
            return self.wait_for(id, arrival, Reason::Closed, elements);
        }
        let nothing = elements.is_empty() && permit.is_for_all();
        let reason = if nothing {
            Reason::NoServices
        } else {
            Reason::Closed
        };
        Judged::Verdict(self.conclude(&arrival, reason, elements, arrival.at, effects))
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
            self.strike(*owner, element, effects);
        }
        self.run_hooks(now, effects);
        last
    }

    fn wait_for(
        &mut self,
        id: ChangeId,
        arrival: Arrival,
        reason: Reason,
        elements: Vec<(Element, Duration)>,
    ) -> Judged {
        let waiting = Waiting {
            arrival,
            reason,
            elements,
        };
        self.waiting.insert(id, waiting);
        Judged::Pending(id)
    }

    /// Takes the writer's answer to a change; gives the verdict that waited for it.
    pub fn firewall_answered(
        &mut self,
        answer: Answer,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        let refused = answer.result.err().map(Reason::from);
        self.settle(answer.id, refused, now, effects)
    }

    /// The change was never sent: a record before it could not be written
    /// ([`Reason::StateUnwritable`]), or the writer does not respond ([`Reason::FirewallUnresponsive`]).
    pub fn abandon(
        &mut self,
        id: ChangeId,
        why: Reason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        self.settle(id, Some(why), now, effects)
    }

    fn settle(
        &mut self,
        id: ChangeId,
        refused: Option<Reason>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        let Settled {
            granted,
            gave_way,
            too_late,
        } = self.grants.answered(id, refused.is_none(), now.boot);
        let refused = refused.or(too_late.then_some(Reason::FirewallUnresponsive));
        let holders = granted.iter().filter_map(Holding::holder);
        effects.extend(holders.map(|holder| Effect::Record(JournalRecord::Holder(holder))));
        for (owner, element) in &gave_way {
            self.gave_way.note(element);
            let mut line = self.about(Event::Expire, *owner, element, now);
            line.detail = Some(GAVE_WAY);
            effects.push(Effect::Audit(Box::new(line)));
            self.strike(*owner, element, effects);
        }
        self.tell_hooks(&granted, now, effects);
        self.remember(&granted);
        self.decide(id, refused, now, effects)
    }

    /// The firewall writer does not respond: whatever waits for it is refused. What it still
    /// does of it later is undone then.
    /// Gives the verdicts that waited for it.
    pub fn give_up_waiting(&mut self, now: Now, effects: &mut Vec<Effect>) -> Vec<Verdict> {
        let unanswered: Vec<ChangeId> = self.grants.unanswered().collect();
        let given_up = unanswered.into_iter().filter_map(|id| {
            self.grants.give_up(id);
            self.decide(id, Some(Reason::FirewallUnresponsive), now, effects)
        });
        given_up.collect()
    }

    /// Tells whoever waits for this change what came of it.
    fn decide(
        &mut self,
        id: ChangeId,
        refused: Option<Reason>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        self.settle_by_hand(id, refused, now, effects);
        self.settle_knock(id, refused, now, effects);

        let waiting = self.waiting.remove(&id)?;
        let reason = refused.unwrap_or(waiting.reason);
        let elements = if refused.is_none() {
            waiting.elements
        } else {
            Vec::new()
        };
        Some(self.conclude(&waiting.arrival, reason, elements, now, effects))
    }

    /// The verdict on an authentic packet: counted, told, given back.
    pub(super) fn conclude(
        &mut self,
        arrival: &Arrival,
        reason: Reason,
        elements: Vec<(Element, Duration)>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        self.counters.count(reason);
        let lines = self.conclusion(arrival, reason, &elements, now);
        effects.extend(lines.into_iter().map(|line| Effect::Audit(Box::new(line))));
        Verdict {
            reason,
            client: arrival.client.clone(),
            elements,
        }
    }

    /// Packets whose verdict the firewall writer, or the command runner, has yet to decide.
    #[must_use]
    pub fn pending(&self) -> usize {
        let waiting = self.waiting.len().saturating_add(self.doors.pending());
        waiting.saturating_add(self.runs_pending())
    }
}
