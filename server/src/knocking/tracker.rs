//! Who has knocked how far at which door. Pure, and bounded.
//!
//! An attempt belongs to one source and one door: what one host does, or another in its
//! name at another door, changes nothing for anybody else. Its rules:
//! - It begins with the first knock; all others must come within the door's time from then.
//! - A knock that was made already changes nothing: networks repeat packets. But the
//!   first one, from a source port that it never came from, is somebody who begins anew.
//! - Any other knock ends it; at a strict door one at any port, otherwise at the door's.
//!
//! - A sequence for one use is gone with its last knock, and all attempts at its door end.
//!
//! Where [`MOST`] attempts are under way, the oldest is forgotten for a new one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use spa_proto::Protocol;

use super::{Knock, Sequence, Sequences, TcpFlags};
use crate::clock::BootTime;

/// Attempts that are remembered, at most: a few megabytes.
const MOST: usize = 32_768;

/// How long a sequence may take where nothing is said.
pub const WITHIN: Duration = Duration::from_secs(15);

/// What opens, and how it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// The knocks.
    pub sequences: Sequences,
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

/// What a knock is to a door that hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// It ends an attempt. What it is besides is told next.
    Over(WhyOver),
    /// Nothing: no attempt is under way, and it begins none.
    Nothing,
    /// The first knock.
    Begun,
    /// A right one, so many of all of which are made now.
    Further {
        /// So many.
        made: usize,
        /// Of so many.
        of: usize,
    },
    /// One that was made already.
    Repeated,
    /// The last one, of this sequence if that is used up with it.
    Whole(Option<&'a Sequence>),
}

/// Why an attempt is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyOver {
    /// It took longer than it may.
    Late,
    /// By a wrong knock.
    Wrong,
    /// By its first knock, made anew.
    Anew,
}

/// A door, and which of its sequences is due.
#[derive(Debug)]
struct Post {
    door: Door,
    /// Sequences not used yet, the next one last. Of a door that opens always the same way, one.
    left: Vec<Sequence>,
}

/// The attempts at some doors.
#[derive(Debug, Default)]
pub struct Tracker {
    posts: Vec<Post>,
    attempts: HashMap<Key, Attempt>,
    /// By their numbers, the oldest first.
    order: BTreeMap<u64, Key>,
    last: u64,
}

/// What a knock makes of an attempt.
enum Step {
    Under(Heard<'static>),
    Whole,
    Over(WhyOver),
}

impl Attempt {
    fn step(&mut self, hit: &Hit, knocks: &[Knock], within: Duration, now: BootTime) -> Step {
        if now >= self.begun.saturating_add(within) {
            return Step::Over(WhyOver::Late);
        }
        let is_first = knocks.first() == Some(&hit.knock);
        if knocks.get(self.made) == Some(&hit.knock) {
            self.made = self.made.saturating_add(1);
            if is_first {
                self.source_ports[1] = hit.source_port;
            }
            return if self.made < knocks.len() {
                let (made, of) = (self.made, knocks.len());
                Step::Under(Heard::Further { made, of })
            } else {
                Step::Whole
            };
        }
        let mut made = knocks.iter().take(self.made);
        let begins_anew = is_first && !self.source_ports.contains(&hit.source_port);
        match made.any(|knock| *knock == hit.knock) {
            true if begins_anew => Step::Over(WhyOver::Anew),
            true => Step::Under(Heard::Repeated),
            false => Step::Over(WhyOver::Wrong),
        }
    }
}

impl Door {
    /// The usual door for this sequence.
    #[must_use]
    pub fn new(sequence: Sequence) -> Self {
        Self {
            sequences: Sequences::Always(sequence),
            within: WITHIN,
            flags: TcpFlags::default(),
            target: None,
            strict: true,
        }
    }

    /// Whether knocks of this protocol mean anything here, whichever sequence is due.
    #[must_use]
    pub fn may_hear(&self, protocol: Protocol) -> bool {
        let mut sequences = self.sequences.iter();
        sequences.any(|sequence| self.hears(protocol, sequence))
    }

    fn hears(&self, protocol: Protocol, due: &Sequence) -> bool {
        due.has(protocol) || (self.strict && protocol == Protocol::Tcp)
    }

    fn is_for(&self, hit: &Hit, due: &Sequence) -> bool {
        let protocol = hit.knock.protocol;
        self.target.is_none_or(|target| target == hit.destination)
            && (protocol != Protocol::Tcp || self.flags.admits(hit.flags))
            && self.hears(protocol, due)
            && (self.strict || due.knocks().contains(&hit.knock))
    }
}

impl Post {
    fn new(door: Door, is_used: impl Fn(&Sequence) -> bool) -> Self {
        let left = match &door.sequences {
            Sequences::Always(sequence) => vec![sequence.clone()],
            Sequences::OneTime(list) => {
                let listed = list.listed.iter().rev().map(|listed| &listed.sequence);
                listed
                    .filter(|sequence| !is_used(sequence))
                    .cloned()
                    .collect()
            }
        };
        Self { door, left }
    }

    /// The sequence that was made whole, if it is used up with that.
    fn use_up(&mut self) -> Option<Sequence> {
        self.door.sequences.one_time()?;
        self.left.pop()
    }
}

impl Tracker {
    /// Nobody has knocked at these yet, in this life; of the sequences for one use these
    /// are used.
    #[must_use]
    pub fn new(doors: Vec<Door>, is_used: impl Fn(&Sequence) -> bool) -> Self {
        let posts = doors.into_iter().map(|door| Post::new(door, &is_used));
        Self {
            posts: posts.collect(),
            ..Self::default()
        }
    }

    /// How many sequences of the door at this place are not used yet.
    #[must_use]
    pub fn left(&self, place: usize) -> usize {
        self.posts.get(place).map_or(0, |post| post.left.len())
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

    /// Hears one knock; `tell` is told what it is to each door that hears it, by its
    /// place. It completes one sequence at most: that of the first such door.
    pub fn hear(&mut self, hit: &Hit, now: BootTime, mut tell: impl FnMut(usize, Heard<'_>)) {
        let Self {
            posts,
            attempts,
            order,
            last,
        } = self;
        let mut completed = false;
        for (place, post) in posts.iter_mut().enumerate() {
            let due = post.left.last();
            let Some(due) = due.filter(|due| post.door.is_for(hit, due)) else {
                continue;
            };
            let key = (hit.source, place);
            let step = attempts
                .get_mut(&key)
                .map(|attempt| attempt.step(hit, due.knocks(), post.door.within, now));
            if let Some(Step::Under(heard)) = step {
                tell(place, heard);
                continue;
            }
            // In a flood nearly nobody has one: one look-up is enough for those.
            if step.is_some()
                && let Some(over) = attempts.remove(&key)
            {
                order.remove(&over.number);
            }
            match step {
                Some(Step::Whole) if !completed => {
                    completed = true;
                    let used = post.use_up();
                    if used.is_some() {
                        attempts.retain(|(_, at), attempt| {
                            *at != place || order.remove(&attempt.number).is_none()
                        });
                    }
                    tell(place, Heard::Whole(used.as_ref()));
                    continue;
                }
                Some(Step::Over(why)) => tell(place, Heard::Over(why)),
                _ => {}
            }
            if due.knocks().first() != Some(&hit.knock) {
                if step.is_none() {
                    tell(place, Heard::Nothing);
                }
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
            tell(place, Heard::Begun);
        }
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "tracker_model.rs"]
mod model;
