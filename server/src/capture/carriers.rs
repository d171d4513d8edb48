//! What carries packets (pure).

use super::{Datagram, FrameFault};
use crate::ports::Ports;

/// Where packets are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carriers {
    /// UDP to these ports.
    pub udp: Ports,
}

impl Carriers {
    /// UDP to these ports and nothing else.
    #[must_use]
    pub const fn udp(ports: Ports) -> Self {
        Self { udp: ports }
    }

    /// Lets pass what came where packets are looked for. The kernel's filter did so
    /// already; what never came through it is judged here alone.
    ///
    /// # Errors
    /// [`FrameFault::Elsewhere`].
    pub fn admit<'a>(&self, datagram: Datagram<'a>) -> Result<Datagram<'a>, FrameFault> {
        let looked_at = self.udp.contains(datagram.destination().port());
        looked_at.then_some(datagram).ok_or(FrameFault::Elsewhere)
    }
}
