//! Never twice: what is remembered of used packets, and how it survives.
//!
//! Pure: [`cache`] (nonces, floors), [`record`] and [`encoding`] (what the
//! journal keeps, as types and as bytes),
//! [`horizon`] (how far packets were accepted). `[IO]`: the journal and the state directory.
//! docs/protocol.md §8.
#![forbid(unsafe_code)]

pub mod record;

pub mod encoding;

pub mod cache;

pub mod horizon;

pub mod proof;

pub mod journal_read;

pub mod journal;

pub mod horizon_file;

mod trust;

pub mod disk;

pub mod error;

pub mod lock;

mod state_mode;

pub mod state_dir;

mod startup;

mod used_sequences;

mod read_only;

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
pub use error::{DistrustReason, StateError, StateEvent};
pub use horizon::{Horizon, HorizonError};
pub use read_only::read_only_snapshot;
pub use record::{Holder, HolderKey, HolderRecord, JournalRecord};
pub use startup::OpenedState;
pub use state_dir::StateDir;
pub use state_mode::StateMode;
pub use used_sequences::{OneTimeError, UsedMark, UsedSequences, read_used};

pub mod screen;
