//! Points in time (pure). `sys::clock` alone reads the clocks; everything else takes time as an
//! argument, so that days of traffic are tested in milliseconds.

use std::time::Duration;

use spa_proto::Timestamp;

/// Microseconds since the machine booted, time asleep included
/// (`CLOCK_BOOTTIME`). Never steps; starts anew at each boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(u64);

impl BootTime {
    /// A point `micros` microseconds after boot.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since boot.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The point `later` after this one; the end of time where it would overflow.
    #[must_use]
    pub fn saturating_add(self, later: Duration) -> Self {
        let micros = u64::try_from(later.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// How long ago `earlier` was; zero where it lies ahead.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// UTC; may step either way.
    pub wall: Timestamp,
    /// Never steps.
    pub boot: BootTime,
}

/// The second that begins at this time or after it, as people read it.
#[must_use]
pub fn format_utc(time: Timestamp) -> String {
    let second = i64::try_from(time.as_micros().div_ceil(1_000_000)).unwrap_or(i64::MAX);
    let second = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    second.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
