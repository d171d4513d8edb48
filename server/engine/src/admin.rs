//! What an administrator grants and revokes by hand; pure.
//!
//! A grant by hand is the administrator's own: no client shortens or closes it, nor does
//! it count among a client's. What was granted is remembered for a while after its end,
//! so that whose grant let a connection in can still be told when it is to be cut.

use std::collections::{BTreeMap, BTreeSet};

use spa_proto::Service;
use spad_model::{
    BootTime, ChangeId, ClientName, ConnectionFilter, Element, Network, Now, Peer, Reason,
};

use super::pending::PendingChange;
use super::{Effect, Engine};
use crate::audit::event::Event;
use crate::grants::{Holding, Owner};
use crate::policy::AdminPermit;

/// Places that are remembered after their grants have ended, at most; the older half is
/// forgotten then.
const MAX_RECENT_ACCESS: usize = 20_000;

/// A grant by hand on its way, and what became of it.
#[derive(Debug, Default)]
pub(super) struct AdminGrants {
    pub(super) results: BTreeMap<ChangeId, Result<(), Reason>>,
    /// Where each was let in, and until when, whether that is over or not.
    recent_access: BTreeMap<(Owner, Peer, Service), BootTime>,
}

/// What a revocation found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocation {
    /// How many grants it took away.
    pub grants: usize,
    /// Whose connections are to be cut, where that is wanted.
    pub connections: BTreeSet<ConnectionFilter>,
}

impl Engine {
    /// Lets in what an administrator asks for. What became of it is told by
    /// [`Self::take_admin_result`] once the change is answered.
    pub fn admin_grant(
        &mut self,
        permit: AdminPermit,
        uid: u32,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> ChangeId {
        let change = self.grants.open_admin(&permit, now.boot);
        let id = change.id;
        let admin = PendingChange::Admin { uid, permit };
        self.pending.add_change(id, admin);
        effects.push(Effect::Firewall(change));
        id
    }

    /// What became of a grant by hand, once.
    pub fn take_admin_result(&mut self, id: ChangeId) -> Option<Result<(), Reason>> {
        self.admin_grants.results.remove(&id)
    }

    /// Audits a grant by hand that is answered.
    pub(super) fn finish_admin_grant(
        &self,
        uid: u32,
        permit: &AdminPermit,
        refused: Option<Reason>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        for (element, ttl) in permit.elements() {
            let event = if refused.is_some() {
                Event::Refuse
            } else {
                Event::Grant
            };
            let mut line = self.grant_event(event, Owner::Admin, element, now);
            line.uid = Some(uid);
            line.reason = refused;
            line.ttl = Some(*ttl);
            effects.push(Effect::Audit(Box::new(line)));
        }
    }

    /// Remembers where somebody was let in.
    pub(super) fn note_access(&mut self, granted: &[Holding]) {
        let recent_access = &mut self.admin_grants.recent_access;
        for Holding {
            owner,
            element,
            ends,
        } in granted
        {
            recent_access.insert((*owner, element.peer(), element.service), *ends);
        }
        if recent_access.len() > MAX_RECENT_ACCESS {
            let mut ends: Vec<BootTime> = recent_access.values().copied().collect();
            ends.sort_unstable();
            if let Some(middle) = ends.get(ends.len() / 2).copied() {
                recent_access.retain(|_, ends| *ends > middle);
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
    ) -> Option<Revocation> {
        let client = self.clients.index_by_name(name);
        let ids = client.map(|client| self.clients.key_ids(client));
        let doors = self.clients.config().knock.iter();
        let mut doors = doors.filter(|door| door.name.as_str() == name.as_str());
        let door = doors.next().map(|door| Owner::Door(door.id()));
        let ids = ids.into_iter().flatten().map(Owner::Client);
        let owners: Vec<Owner> = ids.chain(door).collect();
        if client.is_none() && door.is_none() {
            return None;
        }
        let held = owners
            .iter()
            .flat_map(|owner| self.grants.elements_for_owner(*owner));
        let held: Vec<_> = held.collect();
        let places = self.admin_grants.recent_access.keys();
        let recent = places.filter(|(owner, ..)| owners.contains(owner));
        let mut revocation = Revocation {
            grants: held.len(),
            connections: recent
                .map(|(_, whom, service)| connection_filter(*whom, *service))
                .collect(),
        };
        let places = held.iter();
        let places = places.map(|(_, element)| connection_filter(element.peer(), element.service));
        revocation.connections.extend(places);
        self.revoke_all(&held, uid, now, effects);
        Some(revocation)
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
    ) -> Revocation {
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
        let connections = networks.iter().flat_map(|network| {
            let network = *network;
            ports.iter().map(move |port| ConnectionFilter {
                network,
                service: *port,
            })
        });
        let revocation = Revocation {
            grants: held.len(),
            connections: connections.collect(),
        };
        self.revoke_all(&held, uid, now, effects);
        revocation
    }

    fn revoke_all(
        &mut self,
        leases: &[(Owner, Element)],
        uid: u32,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        for (owner, element) in leases {
            let mut line = self.grant_event(Event::Revoke, *owner, element, now);
            line.uid = Some(uid);
            effects.push(Effect::Audit(Box::new(line)));
        }
        let _ = self.withdraw(leases, now, effects);
    }
}

fn connection_filter(peer: Peer, service: Service) -> ConnectionFilter {
    let network = peer.network();
    ConnectionFilter { network, service }
}
