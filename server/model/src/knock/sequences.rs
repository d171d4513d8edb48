//! What opens a door: one fixed sequence, or a list of sequences for one use each. Pure.

use std::path::PathBuf;
use std::sync::Arc;

use spa_findings::Location;
use spa_proto::Protocol;

use super::Sequence;

/// The sequences of a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sequences {
    /// One sequence that opens the door every time.
    Always(Sequence),
    /// A list of sequences; each opens the door once, in order.
    OneTime(OneTime),
}

/// A file of sequences for one use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneTime {
    /// The file's path.
    pub file: PathBuf,
    /// The sequences in the order of the file; no two are equal.
    pub sequences: Arc<[OneTimeSequence]>,
}

/// One sequence of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneTimeSequence {
    /// The knocks. They are secret until used.
    pub sequence: Sequence,
    /// The location in the file, for findings; shows no knock.
    pub location: Location,
}

impl Sequences {
    /// All sequences, including used ones.
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

    /// The file of one-time sequences; `None` for a fixed sequence.
    #[must_use]
    pub const fn one_time(&self) -> Option<&OneTime> {
        match self {
            Self::Always(_) => None,
            Self::OneTime(list) => Some(list),
        }
    }

    /// Whether any sequence has a knock of this protocol.
    #[must_use]
    pub fn uses_protocol(&self, protocol: Protocol) -> bool {
        self.iter().any(|sequence| sequence.uses_protocol(protocol))
    }
}
