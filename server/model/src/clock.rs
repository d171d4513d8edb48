//! Points in time (pure). Only `sys::clock` reads the clocks; other code takes the time as an
//! argument, so tests run days of traffic in milliseconds.

use std::time::Duration;

use spa_proto::Timestamp;

/// Microseconds since the machine booted, suspend included
/// (`CLOCK_BOOTTIME`). Never steps; restarts at each boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(u64);

impl BootTime {
    /// The point `micros` microseconds after boot.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since boot.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The point `later` after this one; saturates.
    #[must_use]
    pub fn saturating_add(self, later: Duration) -> Self {
        let micros = u64::try_from(later.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// The time since `earlier`; zero if `earlier` is in the future.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Both clocks, read at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// UTC; may step in both directions.
    pub wall: Timestamp,
    /// Time since boot; never steps.
    pub boot: BootTime,
}

/// The wall time rounded up to a second, as people read it.
#[must_use]
pub fn format_utc(time: Timestamp) -> String {
    let second = i64::try_from(time.as_micros().div_ceil(1_000_000)).unwrap_or(i64::MAX);
    let second = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    second.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
