//! One element, who holds it until when, and what the kernel makes of it; pure.

use spa_keys::KeyId;

use super::Holding;
use crate::clock::BootTime;
use crate::config::DoorId;
use crate::firewall::{ChangeId, Element};

/// Who holds an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A client, by one of its keys.
    Client(KeyId),
    /// Whoever administers the server, by hand.
    Administrator,
    /// Whoever knocked at this door.
    Door(DoorId),
    /// Nobody knows: the kernel held it when the daemon started. It runs out.
    Unknown,
}

/// One holder's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) owner: Owner,
    /// The change by which it began; answers to earlier ones are not about it.
    pub(super) since: ChangeId,
    /// Until when, as the kernel took it.
    pub(super) granted: Option<BootTime>,
    /// Until when, as the kernel was last asked and has not answered.
    pub(super) asked: Option<(ChangeId, BootTime)>,
    /// The change by which it was last granted.
    pub(super) last: ChangeId,
    /// The change by which it gives way to a newer one, until that is answered.
    pub(super) leaves_by: Option<ChangeId>,
}

impl Held {
    /// Until when it counts: what was asked last goes before what was granted.
    pub(super) fn ends(&self) -> BootTime {
        let asked = self.asked.map(|(_, ends)| ends);
        asked.or(self.granted).unwrap_or_default()
    }

    /// As a holding, if the kernel took it.
    pub(super) fn holds(&self, element: &Element) -> Option<Holding> {
        Some(Holding {
            owner: self.owner,
            element: *element,
            ends: self.granted?,
        })
    }
}

/// One element.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) held: Vec<Held>,
    /// Until when the kernel holds it at most, by its answers; none: not at all.
    pub(super) kernel: Option<BootTime>,
    /// Changes of it that are not answered yet.
    pub(super) in_flight: u32,
    /// When it is looked at next, as the order of ends has it.
    pub(super) due: Option<BootTime>,
}

impl Entry {
    /// The latest end of all holders that stay: what the kernel should hold.
    pub(super) fn latest(&self) -> Option<BootTime> {
        let stay = self.held.iter().filter(|held| held.leaves_by.is_none());
        stay.map(Held::ends).max()
    }

    pub(super) fn of(&mut self, owner: Owner) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| held.owner == owner)
    }

    pub(super) fn by(&self, owner: Owner) -> Option<&Held> {
        self.held.iter().find(|held| held.owner == owner)
    }

    /// Takes this holder away.
    pub(super) fn take(&mut self, owner: Owner) -> Option<Held> {
        let place = self.held.iter().position(|held| held.owner == owner)?;
        Some(self.held.swap_remove(place))
    }

    /// When something of it ends next: a holder's time, or, where nobody holds it any
    /// more, the kernel's. An answer on its way looks at it anyway.
    pub(super) fn next_end(&self) -> Option<BootTime> {
        let holders = self.held.iter().map(Held::ends).min();
        holders.or(self.kernel.filter(|_| self.in_flight == 0))
    }

    /// Nothing more is to be known of it.
    pub(super) fn is_over(&self, now: BootTime) -> bool {
        self.held.is_empty() && self.in_flight == 0 && self.kernel.is_none_or(|ends| ends <= now)
    }
}
