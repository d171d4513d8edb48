//! screen: time window, floor, nonce seen before; pure.
//!
//! Takes what `identify` gives, its client and the time; gives [`Screened`],
//! the only thing that goes on, or why not. Stateless checks first. Remembers
//! nothing of a packet, but that a client was named late this second. A packet
//! from the future passes here: it is refused once it is recorded, lest it
//! come again when its time has come. docs/protocol.md §7, steps
//! 3 and 4.

#[cfg(test)]
mod tests;

use std::time::Duration;

use spa_keys::{KeyId, PacketKeys};
use spa_proto::{Authentic, Identified, NotAuthentic, Timestamp};

use crate::{ReplayCache, Seen, Sighting};
use spad_model::{BootTime, Now};

/// Each client is named this often, at most, by a packet that is late anyway.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A packet that may still act: within the window, above the floor, not seen.
#[derive(Debug)]
pub struct Screened<'a> {
    identified: Identified<'a>,
    client: usize,
}

/// A packet that is refused, whatever comes: its HMAC may tell whose it is.
#[derive(Debug)]
pub struct LatePacket<'a> {
    identified: Identified<'a>,
    client: usize,
    reason: LateReason,
}

/// How a packet comes too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateReason {
    /// Its timestamp lies before the window.
    Stale,
    /// Its timestamp is not above its client's floor.
    BelowFloor,
}

/// What becomes of an identified packet.
#[derive(Debug)]
pub enum Screening<'a> {
    /// Goes on to the HMAC.
    Passed(Screened<'a>),
    /// Refused; but once a second for each client it goes on to the HMAC, so
    /// that the log can name a client whose clock is behind.
    LateReportable(LatePacket<'a>),
    /// Refused and counted.
    Late(LateReason),
    /// Used before. Within a second from the same address: the network doubled it.
    AlreadySeen {
        /// Doubled rather than replayed.
        within_second_from_same_source: bool,
    },
}

/// When each client was last named by a late packet.
#[derive(Clone, Debug, Default)]
pub struct LateReportLimiter(Vec<Option<BootTime>>);

impl LateReportLimiter {
    /// For so many clients, indices `0..clients`.
    #[must_use]
    pub fn for_clients(clients: usize) -> Self {
        Self(vec![None; clients])
    }

    /// Takes this client's turn of this second, if there is one.
    fn allow(&mut self, client: usize, now: BootTime) -> bool {
        let Some(last) = self.0.get_mut(client) else {
            return false;
        };
        if last.is_some_and(|last| now.saturating_since(last) < REPORT_INTERVAL) {
            return false;
        }
        *last = Some(now);
        true
    }
}

/// What a packet is held against.
#[derive(Clone, Copy)]
pub struct ScreenContext<'a> {
    /// What is remembered.
    pub cache: &'a ReplayCache,
    /// When, and from where, the packet was captured.
    pub now: Now,
    /// The packet's source address.
    pub source: std::net::IpAddr,
    /// A packet this much older than now is still accepted.
    pub max_skew: Duration,
}

impl ScreenContext<'_> {
    /// Timestamps before this are stale.
    #[must_use]
    pub fn window_start(&self) -> Timestamp {
        self.now.wall.saturating_sub(self.max_skew)
    }

    /// What the cache keeps besides the packet.
    #[must_use]
    pub fn sighting(&self) -> Sighting {
        Sighting {
            source: self.source,
            boot: self.now.boot,
        }
    }
}

/// Screens one packet of the client with this index. Allocates nothing.
#[must_use]
pub fn screen<'a>(
    identified: Identified<'a>,
    client: usize,
    context: &ScreenContext<'_>,
    limiter: &mut LateReportLimiter,
) -> Screening<'a> {
    let verdict = check_head(
        identified.key_id(),
        identified.nonce(),
        identified.timestamp(),
        context,
    );
    let reason = match verdict {
        Ok(()) => return Screening::Passed(Screened { identified, client }),
        Err(Fault::AlreadySeen {
            within_second_from_same_source,
        }) => {
            return Screening::AlreadySeen {
                within_second_from_same_source,
            };
        }
        Err(Fault::Late(why)) => why,
    };
    if limiter.allow(client, context.now.boot) {
        Screening::LateReportable(LatePacket {
            identified,
            client,
            reason,
        })
    } else {
        Screening::Late(reason)
    }
}

/// What is wrong with a packet's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Late(LateReason),
    AlreadySeen {
        within_second_from_same_source: bool,
    },
}

/// The decision alone, on the head's fields.
pub(crate) fn check_head(
    id: KeyId,
    nonce: &[u8; 24],
    timestamp: Timestamp,
    context: &ScreenContext<'_>,
) -> Result<(), Fault> {
    if timestamp < context.window_start() {
        return Err(Fault::Late(LateReason::Stale));
    }
    context
        .cache
        .screen(id, nonce, timestamp, context.sighting())
        .map_err(|seen| match seen {
            Seen::BelowFloor => Fault::Late(LateReason::BelowFloor),
            Seen::Recorded {
                within_second_from_same_source,
            } => Fault::AlreadySeen {
                within_second_from_same_source,
            },
        })
}

impl<'a> Screened<'a> {
    /// The client's index.
    #[must_use]
    pub fn client(&self) -> usize {
        self.client
    }

    /// Who claims to have sent it.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.identified.key_id()
    }

    /// When it claims to have been sent.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.identified.timestamp()
    }

    /// Its nonce.
    #[must_use]
    pub fn nonce(&self) -> &'a [u8; 24] {
        self.identified.nonce()
    }

    /// The next stage: the HMAC.
    ///
    /// # Errors
    /// It is wrong.
    pub fn authenticate(self, keys: &PacketKeys) -> Result<Authentic<'a>, NotAuthentic> {
        self.identified.authenticate(keys)
    }
}

impl LatePacket<'_> {
    /// The client's index.
    #[must_use]
    pub fn client(&self) -> usize {
        self.client
    }

    /// Why it is refused.
    #[must_use]
    pub fn reason(&self) -> LateReason {
        self.reason
    }

    /// When it claims to have been sent.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.identified.timestamp()
    }

    /// Did this client send it? Gives nothing that could be recorded or opened.
    #[must_use]
    pub fn is_authentic(self, keys: &PacketKeys) -> bool {
        self.identified.authenticate(keys).is_ok()
    }
}
