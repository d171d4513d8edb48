//! What a sequence of knocks may open; pure.

use std::net::IpAddr;
use std::time::Duration;

use spa_proto::{CommandName, usable_address};
use spad_config::{Config, Door};
use spad_model::{DoorId, Element};

/// What a door opens for an address. Made by [`by_knock`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorPermit {
    door: DoorId,
    elements: Vec<(Element, Duration)>,
    run: Option<CommandName>,
}

impl DoorPermit {
    /// Which door.
    #[must_use]
    pub const fn door(&self) -> DoorId {
        self.door
    }

    /// What, and for how long. Each element once; none where the door only runs something.
    #[must_use]
    pub fn elements(&self) -> &[(Element, Duration)] {
        &self.elements
    }

    /// What it has run.
    #[must_use]
    pub const fn run(&self) -> Option<&CommandName> {
        self.run.as_ref()
    }
}

/// The services of the door, for this address alone, and its command; none where no host
/// connects from it, or where all services lead to inner hosts of the other family.
#[must_use]
pub fn door_permit(config: &Config, door: &Door, source: IpAddr) -> Option<DoorPermit> {
    if !usable_address(source) {
        return None;
    }
    let mut elements = Vec::new();
    let services = door.open.iter();
    for service in services.filter_map(|name| config.services.get(name)) {
        if service
            .to
            .as_ref()
            .is_some_and(|inner| !inner.forwards_to(source))
        {
            continue;
        }
        let max_ttl = service.max_ttl.unwrap_or(config.grants.max_ttl);
        let ttl = door.ttl.or(service.ttl).unwrap_or(config.grants.ttl);
        elements.extend(service.ports.iter().map(|port| {
            let element = Element {
                address: source,
                prefix: None,
                service: *port,
                source_port: None,
                once: false,
            };
            (element, ttl.min(max_ttl))
        }));
    }
    let opens = door.open.is_empty() || !elements.is_empty();
    (opens && (!elements.is_empty() || door.run.is_some())).then(|| DoorPermit {
        door: door.id(),
        elements,
        run: door.run.clone(),
    })
}
