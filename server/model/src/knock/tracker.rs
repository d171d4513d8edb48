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
const MAX_ATTEMPTS: usize = 32_768;

/// How long a sequence may take where nothing is said.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(15);

/// What opens, and how it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnockPattern {
    /// The knocks.
    pub sequences: Sequences,
    /// From the first knock to the last.
    pub window: Duration,
    /// Which TCP segments are knocks.
    pub flags: TcpFlags,
    /// The one address of this host to knock at; none is each.
    pub target: Option<IpAddr>,
    /// A knock at any other port is a wrong one too.
    pub strict: bool,
}

/// What may be a knock, with where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedKnock {
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
    started: BootTime,
    /// From which the first knock came, and from which the same one came last, where it
    /// stands in the sequence again.
    source_ports: [u16; 2],
}

/// What a knock is to a door that hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnockProgress<'a> {
    /// It ends an attempt. What it is besides is told next.
    AttemptEnded(AttemptEnd),
    /// Nothing: no attempt is under way, and it begins none.
    Ignored,
    /// The first knock.
    Started,
    /// A right one, so many of all of which are made now.
    Advanced {
        /// So many.
        made: usize,
        /// Of so many.
        total: usize,
    },
    /// One that was made already.
    Duplicate,
    /// The last one, of this sequence if that is used up with it.
    Completed(Option<&'a Sequence>),
}

/// Why an attempt is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// It took longer than it may.
    TimedOut,
    /// By a wrong knock.
    WrongKnock,
    /// By its first knock, made anew.
    Restarted,
}

/// A door, and which of its sequences is due.
#[derive(Debug)]
struct DoorState {
    pattern: KnockPattern,
    /// Sequences not used yet, the next one last. Of a door that opens always the same way, one.
    unused: Vec<Sequence>,
}

/// The attempts at some doors.
#[derive(Debug, Default)]
pub struct Tracker {
    doors: Vec<DoorState>,
    attempts: HashMap<Key, Attempt>,
    /// By their numbers, the oldest first.
    order: BTreeMap<u64, Key>,
    last: u64,
}

/// What a knock makes of an attempt.
enum Step {
    InProgress(KnockProgress<'static>),
    Completed,
    Ended(AttemptEnd),
}

impl Attempt {
    fn step(
        &mut self,
        observed: &ObservedKnock,
        knocks: &[Knock],
        window: Duration,
        now: BootTime,
    ) -> Step {
        if now >= self.started.saturating_add(window) {
            return Step::Ended(AttemptEnd::TimedOut);
        }
        let is_first = knocks.first() == Some(&observed.knock);
        if knocks.get(self.made) == Some(&observed.knock) {
            self.made = self.made.saturating_add(1);
            if is_first {
                self.source_ports[1] = observed.source_port;
            }
            return if self.made < knocks.len() {
                let (made, total) = (self.made, knocks.len());
                Step::InProgress(KnockProgress::Advanced { made, total })
            } else {
                Step::Completed
            };
        }
        let mut made = knocks.iter().take(self.made);
        let restarts = is_first && !self.source_ports.contains(&observed.source_port);
        match made.any(|knock| *knock == observed.knock) {
            true if restarts => Step::Ended(AttemptEnd::Restarted),
            true => Step::InProgress(KnockProgress::Duplicate),
            false => Step::Ended(AttemptEnd::WrongKnock),
        }
    }
}

impl KnockPattern {
    /// The usual door for this sequence.
    #[must_use]
    pub fn new(sequence: Sequence) -> Self {
        Self {
            sequences: Sequences::Always(sequence),
            window: DEFAULT_WINDOW,
            flags: TcpFlags::default(),
            target: None,
            strict: true,
        }
    }

    /// Whether knocks of this protocol mean anything here, whichever sequence is due.
    #[must_use]
    pub fn listens_to(&self, protocol: Protocol) -> bool {
        let mut sequences = self.sequences.iter();
        sequences.any(|sequence| self.listens_for(protocol, sequence))
    }

    fn listens_for(&self, protocol: Protocol, due: &Sequence) -> bool {
        due.uses_protocol(protocol) || (self.strict && protocol == Protocol::Tcp)
    }

    fn accepts(&self, observed: &ObservedKnock, due: &Sequence) -> bool {
        let protocol = observed.knock.protocol;
        self.target
            .is_none_or(|target| target == observed.destination)
            && (protocol != Protocol::Tcp || self.flags.matches(observed.flags))
            && self.listens_for(protocol, due)
            && (self.strict || due.knocks().contains(&observed.knock))
    }
}

impl DoorState {
    fn new(door: KnockPattern, is_used: impl Fn(&Sequence) -> bool) -> Self {
        let unused = match &door.sequences {
            Sequences::Always(sequence) => vec![sequence.clone()],
            Sequences::OneTime(list) => {
                let listed = list.sequences.iter().rev().map(|listed| &listed.sequence);
                listed
                    .filter(|sequence| !is_used(sequence))
                    .cloned()
                    .collect()
            }
        };
        Self {
            pattern: door,
            unused,
        }
    }

    /// The sequence that was made whole, if it is used up with that.
    fn take_used(&mut self) -> Option<Sequence> {
        self.pattern.sequences.one_time()?;
        self.unused.pop()
    }
}

impl Tracker {
    /// Nobody has knocked at these yet, in this life; of the sequences for one use these
    /// are used.
    #[must_use]
    pub fn new(doors: Vec<KnockPattern>, is_used: impl Fn(&Sequence) -> bool) -> Self {
        let posts = doors.into_iter().map(|door| DoorState::new(door, &is_used));
        Self {
            doors: posts.collect(),
            ..Self::default()
        }
    }

    /// How many sequences of the door at this place are not used yet.
    #[must_use]
    pub fn remaining(&self, place: usize) -> usize {
        self.doors.get(place).map_or(0, |door| door.unused.len())
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
    pub fn observe(
        &mut self,
        observed: &ObservedKnock,
        now: BootTime,
        mut report: impl FnMut(usize, KnockProgress<'_>),
    ) {
        let Self {
            doors: posts,
            attempts,
            order,
            last,
        } = self;
        let mut completed = false;
        for (place, state) in posts.iter_mut().enumerate() {
            let due = state.unused.last();
            let Some(due) = due.filter(|due| state.pattern.accepts(observed, due)) else {
                continue;
            };
            let key = (observed.source, place);
            let step = attempts
                .get_mut(&key)
                .map(|attempt| attempt.step(observed, due.knocks(), state.pattern.window, now));
            if let Some(Step::InProgress(progress)) = step {
                report(place, progress);
                continue;
            }
            // In a flood nearly nobody has one: one look-up is enough for those.
            if step.is_some()
                && let Some(removed) = attempts.remove(&key)
            {
                order.remove(&removed.number);
            }
            match step {
                Some(Step::Completed) if !completed => {
                    completed = true;
                    let used = state.take_used();
                    if used.is_some() {
                        attempts.retain(|(_, at), attempt| {
                            *at != place || order.remove(&attempt.number).is_none()
                        });
                    }
                    report(place, KnockProgress::Completed(used.as_ref()));
                    continue;
                }
                Some(Step::Ended(end)) => report(place, KnockProgress::AttemptEnded(end)),
                _ => {}
            }
            if due.knocks().first() != Some(&observed.knock) {
                if step.is_none() {
                    report(place, KnockProgress::Ignored);
                }
                continue;
            }
            if attempts.len() >= MAX_ATTEMPTS
                && let Some((_, oldest)) = order.pop_first()
            {
                attempts.remove(&oldest);
            }
            *last = last.saturating_add(1);
            order.insert(*last, key);
            let attempt = Attempt {
                number: *last,
                made: 1,
                started: now,
                source_ports: [observed.source_port; 2],
            };
            attempts.insert(key, attempt);
            report(place, KnockProgress::Started);
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod model;
