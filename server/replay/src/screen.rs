//! Stage screen (time window, floor, seen nonces); pure.
//!
//! Takes an identified packet, its client and the time. Returns [`Screened`], the input of
//! the next stage, or the reason for refusal. Stateless checks run first. Keeps no state of a
//! packet, except that a client was reported late this second. A packet from the future
//! passes: it must be recorded before it is refused, or it could be replayed when its time
//! comes. docs/protocol.md §7, steps 3 and 4.

#[cfg(test)]
mod tests;

use std::time::Duration;

use spa_keys::{KeyId, PacketKeys};
use spa_proto::{Authentic, Identified, NotAuthentic, Timestamp};
use spad_model::{BootTime, Now};

use crate::{ReplayCache, Seen, Sighting};

/// The interval between reports of late packets, for each client.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A packet that may still act: within the window, above the floor, not seen.
#[derive(Debug)]
pub struct Screened<'a> {
    identified: Identified<'a>,
    client: usize,
}

/// A packet that is refused in any case; its HMAC may still identify the client.
#[derive(Debug)]
pub struct LatePacket<'a> {
    identified: Identified<'a>,
    client: usize,
    reason: LateReason,
}

/// How a packet is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateReason {
    /// Its timestamp lies before the window.
    Stale,
    /// Its timestamp is not above its client's floor.
    BelowFloor,
}

/// The result of screening an identified packet.
#[derive(Debug)]
pub enum Screening<'a> {
    /// Continues to the HMAC.
    Passed(Screened<'a>),
    /// Refused. Once a second per client it continues to the HMAC, so that the log can name a
    /// client whose clock is slow.
    LateReportable(LatePacket<'a>),
    /// Refused and counted.
    Late(LateReason),
    /// Used before. Within a second from the same address it is a network duplicate.
    AlreadySeen {
        /// Whether it is a duplicate and not a replay.
        within_second_from_same_source: bool,
    },
}

/// When each client was last reported for a late packet.
#[derive(Clone, Debug, Default)]
pub struct LateReportLimiter(Vec<Option<BootTime>>);

impl LateReportLimiter {
    /// A limiter for this number of clients, indices `0..clients`.
    #[must_use]
    pub fn for_clients(clients: usize) -> Self {
        Self(vec![None; clients])
    }

    /// Whether this client may be reported now; counts as its report of this second.
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

/// The context in which a packet is checked.
#[derive(Clone, Copy)]
pub struct ScreenContext<'a> {
    /// The used packets.
    pub cache: &'a ReplayCache,
    /// When the packet was captured.
    pub now: Now,
    /// The packet's source address.
    pub source: std::net::IpAddr,
    /// The maximum age of an accepted packet.
    pub max_skew: Duration,
}

impl ScreenContext<'_> {
    /// Timestamps before this are stale.
    #[must_use]
    pub fn window_start(&self) -> Timestamp {
        self.now.wall.saturating_sub(self.max_skew)
    }

    /// Where and when the packet was captured, for the cache.
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

/// The fault in a packet's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Late(LateReason),
    AlreadySeen {
        within_second_from_same_source: bool,
    },
}

/// Checks the head's fields alone.
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

    /// The key id of the claimed sender.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.identified.key_id()
    }

    /// The claimed time of sending.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.identified.timestamp()
    }

    /// The packet's nonce.
    #[must_use]
    pub fn nonce(&self) -> &'a [u8; 24] {
        self.identified.nonce()
    }

    /// Runs the next stage, the HMAC.
    ///
    /// # Errors
    /// The HMAC is wrong.
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

    /// Why the packet is refused.
    #[must_use]
    pub fn reason(&self) -> LateReason {
        self.reason
    }

    /// The claimed time of sending.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.identified.timestamp()
    }

    /// Whether the HMAC is right. Returns nothing that could be recorded or opened.
    #[must_use]
    pub fn is_authentic(self, keys: &PacketKeys) -> bool {
        self.identified.authenticate(keys).is_ok()
    }
}
