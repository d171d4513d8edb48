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

use crate::clock::{BootTime, Now};
use crate::replay::{ReplayCache, Seen, Sighting};

/// Each client is named this often, at most, by a packet that is late anyway.
const NAMED_EVERY: Duration = Duration::from_secs(1);

/// A packet that may still act: within the window, above the floor, not seen.
#[derive(Debug)]
pub struct Screened<'a> {
    identified: Identified<'a>,
    client: usize,
}

/// A packet that is refused, whatever comes: its HMAC may tell whose it is.
#[derive(Debug)]
pub struct Late<'a> {
    identified: Identified<'a>,
    client: usize,
    why: WhyLate,
}

/// How a packet comes too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyLate {
    /// Its timestamp lies before the window.
    Stale,
    /// Its timestamp is not above its client's floor.
    BelowFloor,
}

/// What becomes of an identified packet.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// Goes on to the HMAC.
    Passed(Screened<'a>),
    /// Refused; but once a second for each client it goes on to the HMAC, so
    /// that the log can name a client whose clock is behind.
    LateButMayBeNamed(Late<'a>),
    /// Refused and counted.
    Late(WhyLate),
    /// Used before. Within a second from the same address: the network doubled it.
    Recorded {
        /// Doubled rather than replayed.
        within_second_from_same_source: bool,
    },
}

/// When each client was last named by a late packet.
#[derive(Clone, Debug, Default)]
pub struct LateNames(Vec<Option<BootTime>>);

impl LateNames {
    /// For so many clients, indices `0..clients`.
    #[must_use]
    pub fn for_clients(clients: usize) -> Self {
        Self(vec![None; clients])
    }

    /// Takes this client's turn of this second, if there is one.
    fn take_turn(&mut self, client: usize, now: BootTime) -> bool {
        let Some(last) = self.0.get_mut(client) else {
            return false;
        };
        if last.is_some_and(|last| now.saturating_since(last) < NAMED_EVERY) {
            return false;
        }
        *last = Some(now);
        true
    }
}

/// What a packet is held against.
#[derive(Clone, Copy)]
pub struct Against<'a> {
    /// What is remembered.
    pub cache: &'a ReplayCache,
    /// When, and from where, the packet was captured.
    pub now: Now,
    /// The packet's source address.
    pub source: std::net::IpAddr,
    /// A packet this much older than now is still accepted.
    pub max_skew: Duration,
}

impl Against<'_> {
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
    against: &Against<'_>,
    names: &mut LateNames,
) -> Outcome<'a> {
    let verdict = judge(
        identified.key_id(),
        identified.nonce(),
        identified.timestamp(),
        against,
    );
    let why = match verdict {
        Ok(()) => return Outcome::Passed(Screened { identified, client }),
        Err(Fault::Recorded {
            within_second_from_same_source,
        }) => {
            return Outcome::Recorded {
                within_second_from_same_source,
            };
        }
        Err(Fault::Late(why)) => why,
    };
    if names.take_turn(client, against.now.boot) {
        Outcome::LateButMayBeNamed(Late {
            identified,
            client,
            why,
        })
    } else {
        Outcome::Late(why)
    }
}

/// What is wrong with a packet's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Late(WhyLate),
    Recorded {
        within_second_from_same_source: bool,
    },
}

/// The decision alone, on the head's fields.
pub(crate) fn judge(
    id: KeyId,
    nonce: &[u8; 24],
    timestamp: Timestamp,
    against: &Against<'_>,
) -> Result<(), Fault> {
    if timestamp < against.window_start() {
        return Err(Fault::Late(WhyLate::Stale));
    }
    against
        .cache
        .screen(id, nonce, timestamp, against.sighting())
        .map_err(|seen| match seen {
            Seen::BelowFloor => Fault::Late(WhyLate::BelowFloor),
            Seen::Recorded {
                within_second_from_same_source,
            } => Fault::Recorded {
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

impl Late<'_> {
    /// The client's index.
    #[must_use]
    pub fn client(&self) -> usize {
        self.client
    }

    /// Why it is refused.
    #[must_use]
    pub fn why(&self) -> WhyLate {
        self.why
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
