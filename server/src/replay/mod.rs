//! Never twice: what is remembered of used packets, and how it survives.
//!
//! Pure: [`cache`] (nonces, floors), [`record`] (one record as bytes),
//! [`horizon`] (how far packets were accepted). `[IO]`: the journal and the state directory.
//! docs/protocol.md, "Never twice: floor, horizon, journal".

pub mod record;

pub mod cache;

pub mod horizon;

pub use cache::{Bounds, Recorder, ReplayCache, Seen, Sighting};
pub use horizon::Horizon;
pub use record::{Holder, HolderKey, JournalRecord};
