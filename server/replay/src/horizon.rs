//! How far into the future packets were accepted, at most; pure.
//!
//! Takes the time, gives what to write and in which order; never writes.
//! docs/protocol.md §8.

use std::time::Duration;

use spa_proto::Timestamp;

use spad_model::Now;

/// The horizon lies this far beyond the newest timestamp that the window admits: far enough
/// for one that is moved twice, for of its two slots the older one is in force, and for a move that
/// comes late.
pub const MARGIN: Duration = Duration::from_secs(25);

/// It is moved this often.
pub const PERIOD: Duration = Duration::from_secs(10);

/// A horizon this far ahead of the clock tells of a clock gone wrong.
const REPORT_THRESHOLD: Duration = Duration::from_secs(600);

/// A clock that moved this much against the time since boot has stepped.
const STEP_THRESHOLD: Duration = Duration::from_secs(1);

/// "No packet with a later timestamp was ever accepted."
#[derive(Clone, Debug)]
pub struct Horizon {
    /// In force: packets beyond it are refused.
    in_force: Timestamp,
    at_start: Timestamp,
    newest_accepted: Timestamp,
    last_move: Option<(Now, Duration)>,
    known: bool,
    writable: bool,
}

/// Why no packet of this time is accepted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HorizonError {
    /// Its timestamp lies beyond the horizon.
    Beyond,
    /// The state cannot be written, and the configuration refuses packets then.
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
    /// At a start: `old` is what the disk said. Nothing beyond it is accepted
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

    /// Nobody knows how far packets were accepted: none is, until `spad replay reset`.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            known: false,
            ..Self::at_start(Timestamp::default())
        }
    }

    /// Is it known? If not, every packet is refused.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Whether the state takes what packets leave in it. While it does not, none is accepted.
    pub fn set_writable(&mut self, writable: bool) {
        self.writable = writable;
    }

    /// The next [`Self::plan`] is due at once.
    pub fn force_move(&mut self) {
        self.last_move = None;
    }

    /// The horizon in force.
    #[must_use]
    pub fn in_force(&self) -> Timestamp {
        self.in_force
    }

    /// Step 8 of the server's checks: may a packet of this time be accepted? If
    /// so, it counts as accepted from here on, whatever the policy says then.
    ///
    /// # Errors
    /// It lies beyond the horizon, or the state cannot be written.
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

    /// What to do now: at start, every 10 s, and at once when the clock steps
    /// or the allowed skew changes.
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

    /// The other half of [`Self::plan`]: the horizon in force is now this.
    pub fn commit(&mut self, horizon: Timestamp) {
        self.in_force = horizon;
    }

    /// The move is done; the next is due in 10 s.
    pub fn mark_done(&mut self, now: Now, skew: Duration) {
        self.last_move = Some((now, skew));
    }

    /// `spad replay reset`: what lay ahead is forgotten. The next [`Self::plan`]
    /// sets it from the clock alone.
    pub fn reset(&mut self) {
        *self = Self::at_start(Timestamp::default());
    }

    /// How far ahead of the clock the horizon lies, where that is over ten minutes
    /// and more than the allowed skew explains: the administrator should know of
    /// `spad replay reset`.
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

/// Did the wall clock move otherwise than the time since boot?
fn has_stepped(last: Now, now: Now) -> bool {
    let elapsed = now.boot.saturating_since(last.boot);
    let expected = last.wall.saturating_add(elapsed);
    now.boot < last.boot || expected.abs_diff(now.wall) > STEP_THRESHOLD
}
