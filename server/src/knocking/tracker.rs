//! Who has knocked how far at which door. Pure, and bounded.
//!
//! An attempt belongs to one source and one door: what one host does, or another in its
//! name at another door, changes nothing for anybody else. Its rules:
//! - It begins with the first knock; all others must come within the door's time from then.
//! - A knock that was made already changes nothing: networks repeat packets. But the
//!   first one, from a source port that it never came from, is somebody who begins anew.
//! - Any other knock ends it; at a strict door one at any port, otherwise at the door's.
//!
//! Where [`MOST`] attempts are under way, the oldest is forgotten for a new one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use spa_proto::Protocol;

use super::{Knock, Sequence, TcpFlags};
use crate::clock::BootTime;

/// Attempts that are remembered, at most: a few megabytes.
const MOST: usize = 32_768;

/// How long a sequence may take where nothing is said.
pub const WITHIN: Duration = Duration::from_secs(15);

/// What opens, and how it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// The knocks.
    pub sequence: Sequence,
    /// From the first knock to the last.
    pub within: Duration,
    /// Which TCP segments are knocks.
    pub flags: TcpFlags,
    /// The one address of this host to knock at; none is each.
    pub target: Option<IpAddr>,
    /// A knock at any other port is a wrong one too.
    pub strict: bool,
}

/// What may be a knock, with where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Whose, as the packet says.
    pub source: IpAddr,
    /// From which port.
    pub source_port: u16,
    /// At which address.
    pub destination: IpAddr,
    /// At which port.
    pub knock: Knock,
    /// Of TCP, the flags.
    pub flags: u8,
    /// Index of the interface it came in by.
    pub interface: u32,
}

/// Which source at which door, by its place.
type Key = (IpAddr, usize);

#[derive(Clone, Copy, Debug)]
struct Attempt {
    number: u64,
    /// Knocks made: at least one, never all.
    made: usize,
    begun: BootTime,
    /// From which the first knock came, and from which the same one came last, where it
    /// stands in the sequence again.
    source_ports: [u16; 2],
}

/// What a knock makes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is under way still.
    Under,
    /// It was the last knock.
    Whole,
    /// It is over, for a wrong knock or for its time.
    Over,
}

/// The attempts at some doors.
#[derive(Debug, Default)]
pub struct Tracker {
    doors: Vec<Door>,
    attempts: HashMap<Key, Attempt>,
    /// By their numbers, the oldest first.
    order: BTreeMap<u64, Key>,
    last: u64,
}

impl Attempt {
    fn step(&mut self, hit: &Hit, door: &Door, now: BootTime) -> Step {
        if now >= self.begun.saturating_add(door.within) {
            return Step::Over;
        }
        let knocks = door.sequence.knocks();
        let is_first = knocks.first() == Some(&hit.knock);
        if knocks.get(self.made) == Some(&hit.knock) {
            self.made = self.made.saturating_add(1);
            if is_first {
                self.source_ports[1] = hit.source_port;
            }
            return if self.made < knocks.len() {
                Step::Under
            } else {
                Step::Whole
            };
        }
        let mut made = knocks.iter().take(self.made);
        let begins_anew = is_first && !self.source_ports.contains(&hit.source_port);
        if made.any(|knock| *knock == hit.knock) && !begins_anew {
            Step::Under
        } else {
            Step::Over
        }
    }
}

impl Door {
    /// The usual door for this sequence.
    #[must_use]
    pub fn new(sequence: Sequence) -> Self {
        Self {
            sequence,
            within: WITHIN,
            flags: TcpFlags::default(),
            target: None,
            strict: true,
        }
    }

    /// Whether knocks of this protocol mean anything here.
    #[must_use]
    pub fn hears(&self, protocol: Protocol) -> bool {
        let knocks = self.sequence.knocks();
        let has = knocks.iter().any(|knock| knock.protocol == protocol);
        has || (self.strict && protocol == Protocol::Tcp)
    }

    fn is_for(&self, hit: &Hit) -> bool {
        let protocol = hit.knock.protocol;
        self.target.is_none_or(|target| target == hit.destination)
            && (protocol != Protocol::Tcp || self.flags.admits(hit.flags))
            && self.hears(protocol)
            && (self.strict || self.sequence.knocks().contains(&hit.knock))
    }
}

impl Tracker {
    /// Nobody has knocked at these yet.
    #[must_use]
    pub fn new(doors: Vec<Door>) -> Self {
        Self {
            doors,
            ..Self::default()
        }
    }

    /// Attempts under way, or not yet forgotten.
    #[must_use]
    pub fn len(&self) -> usize {
        self.attempts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    /// Hears one knock; `opened` is told the place of each door whose sequence it completes.
    pub fn hear(&mut self, hit: &Hit, now: BootTime, mut opened: impl FnMut(usize)) {
        let Self {
            doors,
            attempts,
            order,
            last,
        } = self;
        for (place, door) in doors.iter().enumerate() {
            if !door.is_for(hit) {
                continue;
            }
            let key = (hit.source, place);
            let step = attempts
                .get_mut(&key)
                .map(|attempt| attempt.step(hit, door, now));
            if step == Some(Step::Under) {
                continue;
            }
            // In a flood nearly nobody has one: one look-up is enough for those.
            if step.is_some()
                && let Some(over) = attempts.remove(&key)
            {
                order.remove(&over.number);
            }
            if step == Some(Step::Whole) {
                opened(place);
                continue;
            }
            if door.sequence.knocks().first() != Some(&hit.knock) {
                continue;
            }
            if attempts.len() >= MOST
                && let Some((_, oldest)) = order.pop_first()
            {
                attempts.remove(&oldest);
            }
            *last = last.saturating_add(1);
            order.insert(*last, key);
            let attempt = Attempt {
                number: *last,
                made: 1,
                begun: now,
                source_ports: [hit.source_port; 2],
            };
            attempts.insert(key, attempt);
        }
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
