//! What an administrator grants and revokes by hand; pure.
//!
//! A grant by hand is the administrator's own: no client shortens or closes it, nor does
//! it count among a client's. What was granted is remembered for a while after its end,
//! so that whose grant let a connection in can still be told when it is to be cut.

use std::collections::{BTreeMap, BTreeSet};

use spa_proto::Service;

use super::{Effect, Engine};
use crate::audit::Event;
use crate::clock::{BootTime, Now};
use crate::config::{ClientName, Network};
use crate::firewall::message::Cut;
use crate::firewall::{ChangeId, Element, Whom};
use crate::grants::{Holding, Owner};
use crate::policy::ByHand;
use crate::verdict::Reason;

/// Places that are remembered after their grants have ended, at most; the older half is
/// forgotten then.
const REMEMBERED: usize = 20_000;

/// A grant by hand on its way, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Hands {
    /// Who asked, and for what, of changes that are not answered yet.
    asked: BTreeMap<ChangeId, (u32, ByHand)>,
    outcomes: BTreeMap<ChangeId, Result<(), Reason>>,
    /// Where each was let in, and until when, whether that is over or not.
    places: BTreeMap<(Owner, Whom, Service), BootTime>,
}

/// What a revocation found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    /// How many grants it took away.
    pub grants: usize,
    /// Whose connections are to be cut, where that is wanted.
    pub places: BTreeSet<Cut>,
}

impl Engine {
    /// Lets in what an administrator asks for. What became of it is told by
    /// [`Self::outcome_by_hand`] once the change is answered.
    pub fn grant_by_hand(
        &mut self,
        hand: ByHand,
        uid: u32,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> ChangeId {
        let change = self.grants.open_by_hand(&hand, now.boot);
        let id = change.id;
        self.hands.asked.insert(id, (uid, hand));
        effects.push(Effect::Firewall(change));
        id
    }

    /// What became of a grant by hand, once.
    pub fn outcome_by_hand(&mut self, id: ChangeId) -> Option<Result<(), Reason>> {
        self.hands.outcomes.remove(&id)
    }

    /// Tells of a grant by hand that is answered.
    pub(super) fn settle_by_hand(
        &mut self,
        id: ChangeId,
        refused: Option<Reason>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some((uid, hand)) = self.hands.asked.remove(&id) else {
            return;
        };
        self.hands.outcomes.insert(id, refused.map_or(Ok(()), Err));
        for (element, ttl) in hand.elements() {
            let event = if refused.is_some() {
                Event::Refuse
            } else {
                Event::Grant
            };
            let mut line = self.about(event, Owner::Administrator, element, now);
            line.uid = Some(uid);
            line.reason = refused;
            line.ttl = Some(*ttl);
            effects.push(Effect::Audit(Box::new(line)));
        }
    }

    /// Remembers where somebody was let in.
    pub(super) fn remember(&mut self, granted: &[Holding]) {
        let places = &mut self.hands.places;
        for Holding {
            owner,
            element,
            ends,
        } in granted
        {
            places.insert((*owner, element.whom(), element.service), *ends);
        }
        if places.len() > REMEMBERED {
            let mut ends: Vec<BootTime> = places.values().copied().collect();
            ends.sort_unstable();
            if let Some(middle) = ends.get(ends.len() / 2).copied() {
                places.retain(|_, ends| *ends > middle);
            }
        }
    }

    /// Takes every grant of the client, or the door, of this name away, which may be used
    /// again. None: no such client is known, and no such door.
    pub fn revoke_client(
        &mut self,
        name: &ClientName,
        uid: u32,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Revoked> {
        let client = self.clients.named(name);
        let ids = client.map(|client| self.clients.ids_of(client));
        let doors = self.clients.config().knock.iter();
        let mut doors = doors.filter(|door| door.name.as_str() == name.as_str());
        let door = doors.next().map(|door| Owner::Door(door.id()));
        let ids = ids.into_iter().flatten().map(Owner::Client);
        let owners: Vec<Owner> = ids.chain(door).collect();
        if client.is_none() && door.is_none() {
            return None;
        }
        let held = owners.iter().flat_map(|owner| self.grants.held_of(*owner));
        let held: Vec<_> = held.collect();
        let places = self.hands.places.keys();
        let remembered = places.filter(|(owner, ..)| owners.contains(owner));
        let mut revoked = Revoked {
            grants: held.len(),
            places: remembered
                .map(|(_, whom, service)| place(*whom, *service))
                .collect(),
        };
        let places = held.iter();
        let places = places.map(|(_, element)| place(element.whom(), element.service));
        revoked.places.extend(places);
        self.take_away(&held, uid, now, effects);
        Some(revoked)
    }

    /// Takes away what is open of these ports for these addresses, whoever holds it. A
    /// grant to a wider network is taken away too: it lets these addresses in.
    pub fn revoke_from(
        &mut self,
        ports: &BTreeSet<Service>,
        networks: &BTreeSet<Network>,
        uid: u32,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Revoked {
        let meets = |element: &Element| {
            let within = |network: &Network| network.contains(element.address);
            let covers = |network: &Network| element.covers(network.address);
            networks
                .iter()
                .any(|network| within(network) || covers(network))
        };
        let held = self.grants.owners();
        let held = held.filter(|(_, element)| ports.contains(&element.service) && meets(element));
        let held: Vec<_> = held.collect();
        let places = networks.iter().flat_map(|network| {
            let network = *network;
            ports.iter().map(move |port| Cut {
                network,
                service: *port,
            })
        });
        let revoked = Revoked {
            grants: held.len(),
            places: places.collect(),
        };
        self.take_away(&held, uid, now, effects);
        revoked
    }

    fn take_away(
        &mut self,
        held: &[(Owner, Element)],
        uid: u32,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        for (owner, element) in held {
            let mut line = self.about(Event::Revoke, *owner, element, now);
            line.uid = Some(uid);
            effects.push(Effect::Audit(Box::new(line)));
        }
        let _ = self.withdraw(held, now, effects);
    }
}

fn place(whom: Whom, service: Service) -> Cut {
    let network = whom.network();
    Cut { network, service }
}
