//! One element, who holds it until when, and what the kernel makes of it; pure.

use spa_keys::KeyId;
use spad_model::{BootTime, ChangeId, DoorId, Element};
use spad_replay::Holder;

use super::Holding;

/// Who holds an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A client, by one of its keys.
    Client(KeyId),
    /// Whoever administers the server, by hand.
    Admin,
    /// Whoever knocked at this door.
    Door(DoorId),
    /// Nobody knows: the kernel held it when the daemon started. It runs out.
    Unknown,
}

impl From<Holder> for Owner {
    fn from(holder: Holder) -> Self {
        match holder {
            Holder::Client(id) => Self::Client(id),
            Holder::Admin => Self::Admin,
            Holder::Door(id) => Self::Door(id),
        }
    }
}

/// One holder's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) owner: Owner,
    /// The change by which it began; answers to earlier ones are not about it.
    pub(super) since: ChangeId,
    /// Until when, as the kernel took it.
    pub(super) granted: Option<BootTime>,
    /// Until when, as the kernel was last asked and has not answered.
    pub(super) requested: Option<(ChangeId, BootTime)>,
    /// The change by which it was last granted.
    pub(super) last: ChangeId,
    /// The change by which it gives way to a newer one, until that is answered.
    pub(super) evicted_by: Option<ChangeId>,
}

impl Lease {
    /// Until when it counts: what was asked last goes before what was granted.
    pub(super) fn ends(&self) -> BootTime {
        let requested = self.requested.map(|(_, ends)| ends);
        requested.or(self.granted).unwrap_or_default()
    }

    /// As a holding, if the kernel took it.
    pub(super) fn holding(&self, element: &Element) -> Option<Holding> {
        Some(Holding {
            owner: self.owner,
            element: *element,
            ends: self.granted?,
        })
    }
}

/// One element.
#[derive(Clone, Debug, Default)]
pub(super) struct ElementState {
    pub(super) leases: Vec<Lease>,
    /// Until when the kernel holds it at most, by its answers; none: not at all.
    pub(super) kernel: Option<BootTime>,
    /// Changes of it that are not answered yet.
    pub(super) in_flight: u32,
    /// When it is looked at next, as the order of ends has it.
    pub(super) due: Option<BootTime>,
}

impl ElementState {
    /// The latest end of all holders that stay: what the kernel should hold.
    pub(super) fn latest_end(&self) -> Option<BootTime> {
        let stay = self.leases.iter().filter(|held| held.evicted_by.is_none());
        stay.map(Lease::ends).max()
    }

    pub(super) fn lease_mut(&mut self, owner: Owner) -> Option<&mut Lease> {
        self.leases.iter_mut().find(|held| held.owner == owner)
    }

    pub(super) fn lease(&self, owner: Owner) -> Option<&Lease> {
        self.leases.iter().find(|held| held.owner == owner)
    }

    /// Takes this holder away.
    pub(super) fn remove(&mut self, owner: Owner) -> Option<Lease> {
        let index = self.leases.iter().position(|held| held.owner == owner)?;
        Some(self.leases.swap_remove(index))
    }

    /// When something of it ends next: a holder's time, or, where nobody holds it any
    /// more, the kernel's. An answer on its way looks at it anyway.
    pub(super) fn next_end(&self) -> Option<BootTime> {
        let holders = self.leases.iter().map(Lease::ends).min();
        holders.or(self.kernel.filter(|_| self.in_flight == 0))
    }

    /// Nothing more is to be known of it.
    pub(super) fn is_expired(&self, now: BootTime) -> bool {
        self.leases.is_empty() && self.in_flight == 0 && self.kernel.is_none_or(|ends| ends <= now)
    }
}
