//! The only clocks of the tests, and waiting with a deadline.
#![expect(
    clippy::disallowed_methods,
    reason = "real processes and the kernel's timers are observed by real clocks"
)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use spa_proto::Timestamp;

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Long enough for anything that is expected to happen, on a loaded machine.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// Now, for measuring spans.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Now, as a packet states it.
#[must_use]
pub fn wall() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Tries until it gives something; fails the test after `limit`, naming `what`.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Tries until it gives something, as long as anything may take.
#[track_caller]
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    within(TIMEOUT, what, attempt)
}

/// Looks again and again for `span`; fails as soon as `broken` tells what is wrong.
#[track_caller]
pub fn never_within(duration: Duration, mut broken: impl FnMut() -> Option<String>) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        if let Some(what) = broken() {
            panic!("{what}");
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Waits until `since` is `span` ago: for what only time itself brings about.
pub fn until_after(since: Instant, duration: Duration) {
    std::thread::sleep(duration.saturating_sub(since.elapsed()));
}
