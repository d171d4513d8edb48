//! Tracks how far each source has knocked at each door. Pure, and bounded.
//!
//! An attempt belongs to one source and one door. It does not affect other sources or
//! doors. Its rules:
//! - The first knock starts it; all others must follow within the door's window.
//! - A knock that was already made is ignored, because networks duplicate packets.
//!   The first knock from a source port not seen yet restarts the attempt.
//! - Any other knock ends it: at a strict door a knock at any port, otherwise a knock at
//!   one of the door's ports.
//! - The last knock of a one-time sequence uses it up and ends all attempts at its door.
//!
//!
//! With [`MAX_ATTEMPTS`] attempts in progress, a new one replaces the oldest.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use spa_proto::Protocol;

use super::{Knock, Sequence, Sequences, TcpFlags};
use crate::clock::BootTime;

/// Maximum number of attempts in progress: a few megabytes.
const MAX_ATTEMPTS: usize = 32_768;

/// The time for a sequence where the configuration sets none.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(15);

/// The pattern of one door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnockPattern {
    /// The sequences that open it.
    pub sequences: Sequences,
    /// Maximum time from the first knock to the last.
    pub window: Duration,
    /// Which TCP segments are knocks.
    pub flags: TcpFlags,
    /// The only destination address that counts; `None` for any.
    pub target: Option<IpAddr>,
    /// Whether a knock at any other port ends an attempt.
    pub strict: bool,
}

/// A possible knock and its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedKnock {
    /// The source address that the packet states.
    pub source: IpAddr,
    /// The source port.
    pub source_port: u16,
    /// The destination address.
    pub destination: IpAddr,
    /// The protocol and the destination port.
    pub knock: Knock,
    /// The TCP flags; 0 for UDP.
    pub flags: u8,
    /// Index of the interface that received it.
    pub interface: u32,
}

/// A source and the index of a door.
type Key = (IpAddr, usize);

#[derive(Clone, Copy, Debug)]
struct Attempt {
    number: u64,
    /// Number of knocks made: at least one, never all.
    made: usize,
    started: BootTime,
    /// The source ports of the first knock and of its latest repetition, where the sequence
    /// contains that knock again.
    source_ports: [u16; 2],
}

/// The effect of a knock on one door that listens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnockProgress<'a> {
    /// It ends an attempt. Its other effect is reported next.
    AttemptEnded(AttemptEnd),
    /// It has no effect: no attempt is in progress, and it starts none.
    Ignored,
    /// It starts an attempt.
    Started,
    /// It is the next knock of the sequence.
    Advanced {
        /// Number of knocks made so far.
        made: usize,
        /// Number of knocks of the sequence.
        total: usize,
    },
    /// It repeats a knock that was already made.
    Duplicate,
    /// It completes the sequence, which is given if that uses it up.
    Completed(Option<&'a Sequence>),
}

/// Why an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// It exceeded the door's window.
    TimedOut,
    /// A wrong knock ended it.
    WrongKnock,
    /// Its first knock was made again.
    Restarted,
}

/// A door and its unused sequences.
#[derive(Debug)]
struct DoorState {
    pattern: KnockPattern,
    /// The unused sequences, next one last; exactly one for a fixed sequence.
    unused: Vec<Sequence>,
}

/// The attempts in progress at some doors.
#[derive(Debug, Default)]
pub struct Tracker {
    doors: Vec<DoorState>,
    attempts: HashMap<Key, Attempt>,
    /// The attempts by number, oldest first.
    order: BTreeMap<u64, Key>,
    last: u64,
}

/// The effect of a knock on an attempt.
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
    /// A door with default settings for this sequence.
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

    /// Whether the door listens to this protocol, whichever sequence is next.
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

    /// Removes and returns the completed sequence if it is for one use.
    fn take_used(&mut self) -> Option<Sequence> {
        self.pattern.sequences.one_time()?;
        self.unused.pop()
    }
}

impl Tracker {
    /// Makes a tracker without attempts in which the given one-time sequences are used.
    #[must_use]
    pub fn new(doors: Vec<KnockPattern>, is_used: impl Fn(&Sequence) -> bool) -> Self {
        let posts = doors.into_iter().map(|door| DoorState::new(door, &is_used));
        Self {
            doors: posts.collect(),
            ..Self::default()
        }
    }

    /// Number of unused sequences of the door at this index.
    #[must_use]
    pub fn remaining(&self, place: usize) -> usize {
        self.doors.get(place).map_or(0, |door| door.unused.len())
    }

    /// Number of attempts in progress, expired ones included until they are dropped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.attempts.len()
    }

    /// Whether no attempt is in progress.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    /// Processes one knock and calls `report` with its effect on each door, by index, that
    /// listens to it. It completes at most one sequence: that of the first such door.
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
            // In a flood almost no source has an attempt; one look-up suffices for those.
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
