//! The upper bound of all accepted timestamps; pure.
//!
//! Takes the time and returns what to write and in which order; never writes.
//! docs/protocol.md §8.

use std::time::Duration;

use spa_proto::Timestamp;
use spad_model::Now;

/// Distance of the horizon beyond the newest timestamp that the window accepts. It suffices
/// for two moves, because the older of the two slots is in force, and for a late move.
pub const MARGIN: Duration = Duration::from_secs(25);

/// The interval between moves.
pub const PERIOD: Duration = Duration::from_secs(10);

/// A horizon this far ahead of the clock indicates that the clock was wrong.
const REPORT_THRESHOLD: Duration = Duration::from_secs(600);

/// A change of the wall clock by this much against the time since boot is a step.
const STEP_THRESHOLD: Duration = Duration::from_secs(1);

/// "No packet with a later timestamp was ever accepted."
#[derive(Clone, Debug)]
pub struct Horizon {
    /// The value in force: packets beyond it are refused.
    in_force: Timestamp,
    at_start: Timestamp,
    newest_accepted: Timestamp,
    last_move: Option<(Now, Duration)>,
    known: bool,
    writable: bool,
}

/// Why no packet with this timestamp is accepted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HorizonError {
    /// Its timestamp lies beyond the horizon.
    Beyond,
    /// The state cannot be written, and the configuration refuses packets meanwhile.
    Unwritable,
}

/// What to do so that the horizon on disk is never below the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HorizonMove {
    /// fsync first, then [`Horizon::commit`].
    Raise(Timestamp),
    /// [`Horizon::commit`] first, then fsync.
    Lower(Timestamp),
}

impl Horizon {
    /// The horizon at a start; `old` is the value on the disk. Nothing beyond it is accepted
    /// until the first move.
    #[must_use]
    pub fn at_start(old: Timestamp) -> Self {
        Self {
            in_force: old,
            at_start: old,
            newest_accepted: Timestamp::default(),
            last_move: None,
            known: true,
            writable: true,
        }
    }

    /// An unknown horizon: no packet is accepted until `spad replay reset`.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            known: false,
            ..Self::at_start(Timestamp::default())
        }
    }

    /// Whether the horizon is known. If not, every packet is refused.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Sets whether the state can be written. While it cannot, no packet is accepted.
    pub fn set_writable(&mut self, writable: bool) {
        self.writable = writable;
    }

    /// Makes the next [`Self::plan`] due immediately.
    pub fn force_move(&mut self) {
        self.last_move = None;
    }

    /// The horizon in force.
    #[must_use]
    pub fn in_force(&self) -> Timestamp {
        self.in_force
    }

    /// Step 8 of the server's checks: whether a packet with this timestamp may be accepted. If
    /// so, it counts as accepted, whatever the policy decides later.
    ///
    /// # Errors
    /// The timestamp is beyond the horizon, or the state cannot be written.
    pub fn accept(&mut self, timestamp: Timestamp) -> Result<(), HorizonError> {
        if !self.writable {
            return Err(HorizonError::Unwritable);
        }
        if !self.known || timestamp > self.in_force {
            return Err(HorizonError::Beyond);
        }
        self.newest_accepted = self.newest_accepted.max(timestamp);
        Ok(())
    }

    /// The move that is due: at start, every 10 s, and immediately when the clock steps or the
    /// allowed skew changes.
    #[must_use]
    pub fn plan(&self, now: Now, skew: Duration) -> Option<HorizonMove> {
        if !self.known
            || self
                .last_move
                .is_some_and(|(last, old_skew)| old_skew == skew && !is_due(last, now))
        {
            return None;
        }
        let wanted = now
            .wall
            .saturating_add(skew)
            .saturating_add(MARGIN)
            .max(self.at_start)
            .max(self.newest_accepted);
        Some(if wanted >= self.in_force {
            HorizonMove::Raise(wanted)
        } else {
            HorizonMove::Lower(wanted)
        })
    }

    /// Puts the planned horizon in force.
    pub fn commit(&mut self, horizon: Timestamp) {
        self.in_force = horizon;
    }

    /// Records that the move is done; the next is due in 10 s.
    pub fn mark_done(&mut self, now: Now, skew: Duration) {
        self.last_move = Some((now, skew));
    }

    /// `spad replay reset`: drops a horizon that is ahead. The next [`Self::plan`] sets it from
    /// the clock alone.
    pub fn reset(&mut self) {
        *self = Self::at_start(Timestamp::default());
    }

    /// How far ahead of the clock the horizon is, if over ten minutes and more than the allowed
    /// skew explains. The administrator may need `spad replay reset`.
    #[must_use]
    pub fn ahead_of(&self, now: Timestamp) -> Option<Duration> {
        let skew = self.last_move.map_or(Duration::ZERO, |(_, skew)| skew);
        let threshold = REPORT_THRESHOLD.max(skew.saturating_add(MARGIN).saturating_add(PERIOD));
        let ahead = self.in_force.abs_diff(now);
        (self.in_force > now && ahead > threshold).then_some(ahead)
    }
}

fn is_due(last: Now, now: Now) -> bool {
    now.boot.saturating_since(last.boot) >= PERIOD || has_stepped(last, now)
}

/// Whether the wall clock moved differently from the time since boot.
fn has_stepped(last: Now, now: Now) -> bool {
    let elapsed = now.boot.saturating_since(last.boot);
    let expected = last.wall.saturating_add(elapsed);
    now.boot < last.boot || expected.abs_diff(now.wall) > STEP_THRESHOLD
}
