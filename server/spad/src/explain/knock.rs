//! A recorded knock → what it was to each door that heard it (pure).

use std::time::Duration;

use spa_proto::Timestamp;
use spad_engine::Effect;
use spad_model::knock::{AttemptEnd, KnockProgress, ObservedKnock};
use spad_model::{DoorName, Element, Reason, RunRequest, Step};

use super::simulate::{Simulator, acknowledge};

/// How a knock would have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnockResult {
    /// In this.
    pub reason: Reason,
    /// What it was to each door of whose attempts it is part; to one twice where it ended an
    /// attempt and began another.
    pub doors: Vec<(DoorName, DoorProgress)>,
    /// What it would have opened.
    pub elements: Vec<(Element, Duration)>,
    /// The command that it would have run.
    pub command: Option<String>,
}

/// What a knock is to one door; without the knocks, which are a secret where they open once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorProgress {
    /// It ends an attempt.
    AttemptEnded(AttemptEnd),
    /// The first.
    Started,
    /// A right one, so many of so many.
    Advanced(usize, usize),
    /// Made already.
    Duplicate,
    /// The last one.
    Completed {
        /// Its sequence is used up with it.
        used_up: bool,
    },
}

impl DoorProgress {
    /// Nothing where it is neither part of an attempt nor its beginning: a strict door hears all.
    fn from_progress(progress: KnockProgress<'_>) -> Option<Self> {
        Some(match progress {
            KnockProgress::AttemptEnded(why) => Self::AttemptEnded(why),
            KnockProgress::Ignored => return None,
            KnockProgress::Started => Self::Started,
            KnockProgress::Advanced { made, total: of } => Self::Advanced(made, of),
            KnockProgress::Duplicate => Self::Duplicate,
            KnockProgress::Completed(used) => Self::Completed {
                used_up: used.is_some(),
            },
        })
    }
}

impl KnockResult {
    /// Whether no door makes anything of it.
    #[must_use]
    pub fn is_ignored(&self) -> bool {
        self.doors.is_empty()
    }
}

impl Simulator {
    /// Judges a knock at the time of its recording; those after it go on from there.
    pub fn knock(&mut self, hit: &ObservedKnock, at: Timestamp) -> KnockResult {
        let now = self.advance_to(at);
        let engine = self.engine();
        let before = engine.counters().clone();
        let (mut doors, mut effects) = (Vec::new(), Vec::new());
        engine.on_knock_with(hit, now, &mut effects, |door, heard| {
            doors.extend(DoorProgress::from_progress(heard).map(|at| (door.name.clone(), at)));
        });
        let _no_packet = acknowledge(engine, &mut effects, now);
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
                Effect::Run(RunRequest::Command(run)) => command = Some(run.command.to_string()),
                _ => {}
            }
        }
        KnockResult {
            reason: reason.unwrap_or(Reason::Knock),
            doors,
            elements,
            command,
        }
    }
}
