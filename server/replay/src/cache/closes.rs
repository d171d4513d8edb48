//! The last close of each client and service; pure.
//!
//! An open that is older than its client's last close of the service is refused. A close at
//! or below the floor is redundant.

use std::collections::BTreeMap;

use spa_proto::{Service, Timestamp};

/// Maximum closes remembered per client; beyond it the oldest becomes the floor.
pub(super) const PER_CLIENT: usize = 64;

/// Maps client and service to the timestamp of the closing packet.
#[derive(Default)]
pub(super) struct Closes(BTreeMap<(u32, u8, u16), (Service, Timestamp)>);

impl Closes {
    pub(super) fn get(&self, client: u32, service: Service) -> Option<Timestamp> {
        self.0
            .get(&key(client, service))
            .map(|(_, timestamp)| *timestamp)
    }

    /// Remembers a close if it is later than the known one.
    pub(super) fn raise(&mut self, client: u32, service: Service, timestamp: Timestamp) {
        let entry = self
            .0
            .entry(key(client, service))
            .or_insert((service, timestamp));
        entry.1 = entry.1.max(timestamp);
    }

    /// The floor that allows dropping the oldest close, if this client has too many.
    pub(super) fn overflow_floor(&self, client: u32) -> Option<Timestamp> {
        let count = self.for_client(client).count();
        (count > PER_CLIENT)
            .then(|| {
                self.for_client(client)
                    .map(|(_, timestamp)| timestamp)
                    .min()
            })
            .flatten()
    }

    /// Drops this client's closes up to its floor.
    pub(super) fn prune(&mut self, client: u32, floor: Timestamp) {
        let gone: Vec<Service> = self
            .for_client(client)
            .filter(|(_, timestamp)| *timestamp <= floor)
            .map(|(service, _)| service)
            .collect();
        for service in gone {
            self.0.remove(&key(client, service));
        }
    }

    pub(super) fn for_client(&self, client: u32) -> impl Iterator<Item = (Service, Timestamp)> {
        let range = (client, u8::MIN, u16::MIN)..=(client, u8::MAX, u16::MAX);
        self.0.range(range).map(|(_, close)| *close)
    }
}

fn key(client: u32, service: Service) -> (u32, u8, u16) {
    (client, service.protocol.number(), service.port.get())
}
