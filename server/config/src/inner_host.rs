//! Where the services of a gateway lead. Pure.

use std::net::IpAddr;
use std::num::NonZeroU16;

use spa_proto::Service;

use super::types::{Config, ServiceDefinition};

/// Where a service of a gateway leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerHost {
    /// One of each family at most, one at least; without a port it is the service's own.
    pub hosts: Vec<(IpAddr, Option<NonZeroU16>)>,
    /// Whether the inner host sees this machine's address instead of the client's.
    pub masquerade: bool,
}

/// One port of this machine that leads to one of an inner host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The port here.
    pub outer: Service,
    /// The inner host.
    pub address: IpAddr,
    /// The port there; the protocol is the same.
    pub inner: Service,
    /// Whether nobody reaches either without a grant.
    pub hidden: bool,
    /// Whether the inner host sees this machine's address instead of the client's.
    pub masquerade: bool,
}

impl InnerHost {
    /// Whether a client with this address can be led there.
    #[must_use]
    pub fn forwards_to(&self, client: IpAddr) -> bool {
        let same = |host: &IpAddr| host.is_ipv4() == client.is_ipv4();
        self.hosts.iter().any(|(host, _)| same(host))
    }
}

impl ServiceDefinition {
    /// Each of its ports with the inner host and the port there that it leads to.
    pub(super) fn forwarded(&self) -> impl Iterator<Item = (Service, IpAddr, Service)> {
        let hosts = self.to.iter().flat_map(|inner| &inner.hosts);
        hosts.flat_map(|(address, port)| {
            self.ports.iter().map(move |outer| {
                let inner = Service {
                    protocol: outer.protocol,
                    port: port.unwrap_or(outer.port),
                };
                (*outer, *address, inner)
            })
        })
    }
}

impl Config {
    /// Where this port leads to, where it belongs to a service with `to`.
    #[must_use]
    pub fn inner_host(&self, port: Service) -> Option<&InnerHost> {
        let service = self.services.values().find(|one| one.ports.contains(&port));
        service?.to.as_ref()
    }

    /// Everything that this machine leads to inner hosts.
    #[must_use]
    pub fn forwards(&self) -> Vec<Forward> {
        let mut forwards = Vec::new();
        for (name, service) in &self.services {
            forwards.extend(service.forwarded().map(|(outer, address, inner)| Forward {
                outer,
                address,
                inner,
                hidden: self.hide.contains(name),
                masquerade: service.to.as_ref().is_some_and(|inner| inner.masquerade),
            }));
        }
        forwards
    }
}
