//! [IO] The only place of the server that reads clocks.

use rustix::time::{ClockId, clock_gettime};
use spa_proto::Timestamp;
use spad_model::{BootTime, Now};

/// Reads both clocks.
#[must_use]
pub fn now() -> Now {
    Now {
        wall: Timestamp::from_micros(micros(ClockId::Realtime)),
        boot: BootTime::from_micros(micros(ClockId::Boottime)),
    }
}

/// A clock's time in microseconds; zero for a time before its epoch.
fn micros(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec / 1000).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(rest)
}
