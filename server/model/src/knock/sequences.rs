//! What opens a door: one sequence each time, or a list of which each opens once. Pure.

use std::path::PathBuf;
use std::sync::Arc;

use spa_findings::Location;
use spa_proto::Protocol;

use super::Sequence;

/// What opens a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sequences {
    /// This one, each time.
    Always(Sequence),
    /// Each of these once, in their order.
    OneTime(OneTime),
}

/// A file of sequences for one use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneTime {
    /// Where they are written.
    pub file: PathBuf,
    /// In the order of the file; no two alike.
    pub sequences: Arc<[OneTimeSequence]>,
}

/// One sequence of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneTimeSequence {
    /// The knocks: a secret until they were made.
    pub sequence: Sequence,
    /// Where it stands, for findings; shows no knock.
    pub location: Location,
}

impl Sequences {
    /// All of them, used ones among them.
    pub fn iter(&self) -> impl Iterator<Item = &Sequence> {
        let (always, listed) = match self {
            Self::Always(sequence) => (Some(sequence), None),
            Self::OneTime(list) => (None, Some(&list.sequences)),
        };
        let listed = listed.into_iter().flat_map(|listed| listed.iter());
        always
            .into_iter()
            .chain(listed.map(|listed| &listed.sequence))
    }

    /// The file, where each opens once.
    #[must_use]
    pub const fn one_time(&self) -> Option<&OneTime> {
        match self {
            Self::Always(_) => None,
            Self::OneTime(list) => Some(list),
        }
    }

    /// Whether one of them has a knock of this protocol.
    #[must_use]
    pub fn uses_protocol(&self, protocol: Protocol) -> bool {
        self.iter().any(|sequence| sequence.uses_protocol(protocol))
    }
}
