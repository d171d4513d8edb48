//! The only place of the client that reads clocks. Everything else takes time
//! as an argument, so that the probe schedule is tested without waiting.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use spa_proto::Timestamp;

/// UTC, for a packet's timestamp. Zero for a clock set before 1970.
#[must_use]
pub fn wall() -> Timestamp {
    let since_epoch = duration(clock_gettime(ClockId::Realtime));
    let micros = u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(micros)
}

/// Time since a fixed but arbitrary point; never steps.
#[must_use]
pub fn monotonic() -> Duration {
    duration(clock_gettime(ClockId::Monotonic))
}

fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()))
}
