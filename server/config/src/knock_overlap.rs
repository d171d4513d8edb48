//! Sequences that hold one another: who makes the one makes the other with it.
//!
//! Pure. Each part of each sequence is looked up among all sequences, so that lists of a
//! thousand for one use are compared in no time.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use spa_findings::{Finding, Source, format_location};
use spad_model::knock::overlap::also_opens;
use spad_model::knock::{Knock, KnockPattern, OneTimeSequence, Sequence, Sequences};

use super::knock_table::LocatedDoor;
use super::one_time::MAX_FINDINGS;

/// One sequence of all.
struct LocatedSequence<'a> {
    source: &'a Source,
    located: &'a LocatedDoor,
    knocks: &'a [Knock],
    /// The file's line, where it stands in one.
    listed: Option<(&'a Path, &'a OneTimeSequence)>,
}

/// What is wrong with these doors beside each other.
pub(super) fn findings(source: &Source, doors: &[LocatedDoor]) -> Vec<Finding> {
    let entries: Vec<LocatedSequence<'_>> = doors
        .iter()
        .flat_map(|located| LocatedSequence::all(source, located))
        .collect();
    let mut by_knocks: HashMap<&[Knock], Vec<usize>> = HashMap::new();
    for (number, entry) in entries.iter().enumerate() {
        by_knocks.entry(entry.knocks).or_default().push(number);
    }
    let mut pairs = BTreeSet::new();
    for (number, entry) in entries.iter().enumerate() {
        for part in entry.parts() {
            let same_knocks = by_knocks.get(part).into_iter().flatten();
            let others = same_knocks.filter(|other| **other != number);
            pairs.extend(others.map(|other| (number.min(*other), number.max(*other))));
        }
    }
    // Beside a door that opens always, knocks that it does not hear count too.
    let always = entries.iter().enumerate();
    for (first, one) in always.filter(|(_, one)| one.listed.is_none()) {
        for (second, two) in entries.iter().enumerate() {
            if first != second && (one.also_opens(two) || two.also_opens(one)) {
                pairs.insert((first.min(second), first.max(second)));
            }
        }
    }
    let overlaps = pairs.into_iter().filter_map(|(first, second)| {
        let (first, second) = (entries.get(first)?, entries.get(second)?);
        second.overlap(first)
    });
    overlaps.take(MAX_FINDINGS).collect()
}

impl<'a> LocatedSequence<'a> {
    fn all(source: &'a Source, located: &'a LocatedDoor) -> Vec<Self> {
        let entry = |knocks, listed| LocatedSequence {
            source,
            located,
            knocks,
            listed,
        };
        match &located.door.pattern.sequences {
            Sequences::Always(sequence) => vec![entry(sequence.knocks(), None)],
            Sequences::OneTime(list) => {
                let listed = list.sequences.iter();
                let location = |one| Some((list.file.as_path(), one));
                listed
                    .map(|one| entry(one.sequence.knocks(), location(one)))
                    .collect()
            }
        }
    }

    /// Itself, and each shorter run of its knocks.
    fn parts(&self) -> impl Iterator<Item = &'a [Knock]> + use<'a> {
        let knocks = self.knocks;
        (2..=knocks.len()).flat_map(move |length| knocks.windows(length))
    }

    /// Whether who knocks the other opens this one's door too.
    fn also_opens(&self, other: &Self) -> bool {
        let mut knocks = other.knocks.iter();
        if !self
            .knocks
            .iter()
            .all(|knock| knocks.any(|one| one == knock))
        {
            return false;
        }
        let sequences = [self, other].map(|entry| Sequence::new(entry.knocks.to_vec()).ok());
        let [Some(own), Some(others)] = sequences else {
            return false;
        };
        let door = KnockPattern {
            sequences: Sequences::Always(own),
            ..self.located.door.pattern.clone()
        };
        also_opens(&door, &others)
    }

    fn error(&self, message: String) -> Finding {
        match self.listed {
            Some((file, listed)) => Finding::error(file, message).at(listed.location.clone()),
            None => self.source.error(self.located.sequences.clone(), message),
        }
    }

    fn location_note(&self) -> String {
        match self.listed {
            Some((file, listed)) => {
                format!(
                    "the other is {}",
                    format_location(file, listed.location.line, 1)
                )
            }
            None => format!("the other is in line {}", self.located.line),
        }
    }

    /// This one stands behind the other one, and one of them holds the other.
    fn overlap(&self, other: &Self) -> Option<Finding> {
        let [one, two] = [other, self].map(|entry| &entry.located.door);
        let finding = if one.name == two.name && self.listed.is_some() {
            if self.knocks == other.knocks {
                let finding = self.error("this sequence stands here twice".to_owned());
                finding.help("take one of the two out: each opens once")
            } else {
                let message = "one of two sequences of this file is a part of the other";
                let finding = self.error(message.to_owned());
                finding.help("choose others: who saw the one knows too much of the other")
            }
        } else {
            let targets = [one, two].map(|door| door.pattern.target);
            if matches!(targets, [Some(a), Some(b)] if a != b) {
                return None;
            }
            let finding = self.error(format!(
                "who knocks at one of the doors `{}` and `{}` opens both",
                one.name, two.name
            ));
            finding.help("choose sequences of which neither has the other's knocks in their order, or make one door of the two")
        };
        Some(finding.note(other.location_note()))
    }
}
