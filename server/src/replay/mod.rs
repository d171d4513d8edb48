//! Never twice: what is remembered of used packets, and how it survives.
//!
//! Pure: [`cache`] (nonces, floors), [`record`] and [`encoding`] (what the
//! journal keeps, as types and as bytes),
//! [`horizon`] (how far packets were accepted). `[IO]`: the journal and the state directory.
//! docs/protocol.md §8.

pub mod record;

pub mod encoding;

pub mod cache;

pub mod horizon;

pub mod proof;

pub mod reading;

pub mod journal;

pub mod slots;

mod start;

pub mod disk;

pub mod error;

pub mod machine;

mod standing;

pub mod state;

mod open;

mod one_time;

mod peek;

#[cfg(test)]
mod damage_tests;

#[cfg(test)]
mod horizon_tests;

#[cfg(test)]
mod older_tests;

#[cfg(test)]
mod record_tests;

#[cfg(test)]
mod simulation;

pub use cache::{Bounds, Recorder, ReplayCache, Seen, Sighting};
pub use error::{Because, StateError, StateEvent};
pub use horizon::{Horizon, NotAccepted};
pub use one_time::{OneTimeError, UsedMark, UsedSequences, peek_used};
pub use open::Opened;
pub use peek::peek;
pub use record::{HeldBy, Holder, HolderKey, JournalRecord};
pub use standing::Standing;
pub use state::State;
