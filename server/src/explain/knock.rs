//! A recorded knock → what it was to each door that heard it (pure).

use std::time::Duration;

use spa_proto::Timestamp;

use super::judge::{Judge, agree};
use crate::config::DoorName;
use crate::engine::Effect;
use crate::firewall::{Element, Step};
use crate::knock::{AttemptEnd, KnockProgress, ObservedKnock};
use crate::runner::message::ToRunner;
use crate::verdict::Reason;

/// How a knock would have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnockEnding {
    /// In this.
    pub reason: Reason,
    /// What it was to each door of whose attempts it is part; to one twice where it ended an
    /// attempt and began another.
    pub doors: Vec<(DoorName, AtDoor)>,
    /// What it would have opened.
    pub elements: Vec<(Element, Duration)>,
    /// The command that it would have run.
    pub command: Option<String>,
}

/// What a knock is to one door; without the knocks, which are a secret where they open once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtDoor {
    /// It ends an attempt.
    Over(AttemptEnd),
    /// The first.
    Begun,
    /// A right one, so many of so many.
    Further(usize, usize),
    /// Made already.
    Repeated,
    /// The last one.
    Whole {
        /// Its sequence is used up with it.
        used_up: bool,
    },
}

impl AtDoor {
    /// Nothing where it is neither part of an attempt nor its beginning: a strict door hears all.
    fn of(heard: KnockProgress<'_>) -> Option<Self> {
        Some(match heard {
            KnockProgress::AttemptEnded(why) => Self::Over(why),
            KnockProgress::Ignored => return None,
            KnockProgress::Started => Self::Begun,
            KnockProgress::Advanced { made, total: of } => Self::Further(made, of),
            KnockProgress::Duplicate => Self::Repeated,
            KnockProgress::Completed(used) => Self::Whole {
                used_up: used.is_some(),
            },
        })
    }
}

impl KnockEnding {
    /// Whether no door makes anything of it.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.doors.is_empty()
    }
}

impl Judge {
    /// Judges a knock at the time of its recording; those after it go on from there.
    pub fn knock(&mut self, hit: &ObservedKnock, at: Timestamp) -> KnockEnding {
        let now = self.pass_until(at);
        let engine = self.engine();
        let before = engine.counters().clone();
        let (mut doors, mut effects) = (Vec::new(), Vec::new());
        engine.on_knock_with(hit, now, &mut effects, |door, heard| {
            doors.extend(AtDoor::of(heard).map(|at| (door.name.clone(), at)));
        });
        let _no_packet = agree(engine, &mut effects, now);
        let mut reasons = Reason::ALL.iter().copied();
        let reason = reasons.find(|one| engine.counters().get(*one) > before.get(*one));
        let (mut elements, mut command) = (Vec::new(), None);
        for effect in &effects {
            match effect {
                Effect::Firewall(change) => {
                    elements.extend(change.steps.iter().filter_map(|step| match step {
                        Step::Put { element, ttl } => Some((*element, *ttl)),
                        Step::Remove { .. } => None,
                    }));
                }
                Effect::Run(ToRunner::Run(run)) => command = Some(run.command.to_string()),
                _ => {}
            }
        }
        KnockEnding {
            reason: reason.unwrap_or(Reason::Knock),
            doors,
            elements,
            command,
        }
    }
}
