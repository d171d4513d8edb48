//! The clock once more, now that the packet is used up; pure.
//! docs/protocol.md §7, step 8.

use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::{Opened, Request, Timestamp};
use spad_model::Reason;
use spad_replay::{Horizon, HorizonError};

/// An opened packet that is not from the future. Made by [`timely`] only.
#[derive(Debug)]
pub struct Fresh(Opened);

/// Refuses packets from the future: more than `skew` ahead of `now`, or beyond
/// the horizon. They were recorded, so they cannot come again when their time has come.
///
/// # Errors
/// [`Reason::Future`], [`Reason::Horizon`], [`Reason::StateUnwritable`].
pub fn check_future(
    opened: Opened,
    now: Timestamp,
    skew: Duration,
    horizon: &mut Horizon,
) -> Result<Fresh, Reason> {
    let timestamp = opened.timestamp();
    if timestamp > now && timestamp.abs_diff(now) > skew {
        return Err(Reason::Future);
    }
    match horizon.accept(timestamp) {
        Ok(()) => Ok(Fresh(opened)),
        Err(HorizonError::Beyond) => Err(Reason::Horizon),
        Err(HorizonError::Unwritable) => Err(Reason::StateUnwritable),
    }
}

impl Fresh {
    pub(super) fn key_id(&self) -> KeyId {
        self.0.key_id()
    }

    pub(super) fn timestamp(&self) -> Timestamp {
        self.0.timestamp()
    }

    pub(super) fn request(&self) -> &Request {
        self.0.request()
    }
}
