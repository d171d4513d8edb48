//! How often to read the ring (pure), as network cards moderate interrupts.
//!
//! While few packets arrive, each is read immediately, so a packet opens its port at once. In
//! a flood a short pause collects packets in the ring, which reduces wakeups.

use std::time::Duration;

/// More frames than this in one read are a flood.
const FLOOD_THRESHOLD: usize = 16;

/// A flood of a million frames a second fills 150 slots in it.
const PAUSE: Duration = Duration::from_micros(150);

/// The pause after a read of `came` frames; `None` means to wait on the descriptor.
#[must_use]
pub const fn pause_after(frames: usize) -> Option<Duration> {
    if frames > FLOOD_THRESHOLD {
        Some(PAUSE)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_packets_are_looked_at_at_once_and_a_flood_in_gulps() {
        assert_eq!(pause_after(0), None);
        assert_eq!(pause_after(16), None);
        assert_eq!(pause_after(17), Some(Duration::from_micros(150)));
        assert_eq!(pause_after(usize::MAX), Some(Duration::from_micros(150)));
    }
}
