//! [IO] What wakes the engine's thread besides packets: a deadline on the clock
//! that counts while asleep, and the wall clock being set.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use spad_model::BootTime;

/// A deadline that a sleeping machine does not put off.
#[derive(Debug)]
pub(super) struct Deadline {
    timer: OwnedFd,
    armed: Option<BootTime>,
}

impl Deadline {
    pub(super) fn new() -> std::io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, flags())?;
        Ok(Self { timer, armed: None })
    }

    /// Makes the descriptor readable from `at` on.
    pub(super) fn set(&mut self, at: BootTime) -> std::io::Result<()> {
        if self.armed == Some(at) {
            return Ok(());
        }
        timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::ABSTIME,
            &once(at.as_micros()),
        )?;
        self.armed = Some(at);
        Ok(())
    }

    /// Stops the descriptor being readable.
    pub(super) fn clear(&mut self) {
        let _count = rustix::io::read(&self.timer, &mut [0_u8; 8]);
        self.armed = None;
    }
}

impl AsFd for Deadline {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// Its descriptor becomes readable when somebody sets the wall clock.
#[derive(Debug)]
pub(super) struct ClockSet(OwnedFd);

impl ClockSet {
    pub(super) fn new() -> std::io::Result<Self> {
        let watch = Self(timerfd_create(TimerfdClockId::Realtime, flags())?);
        watch.arm()?;
        Ok(watch)
    }

    /// Stops the descriptor being readable, until the clock is set again.
    pub(super) fn clear(&self) {
        let _cancelled = rustix::io::read(&self.0, &mut [0_u8; 8]);
        // Without it the horizon still moves within ten seconds.
        let _late = self.arm();
    }

    /// A deadline that never comes, cancelled by every step of the clock.
    fn arm(&self) -> std::io::Result<()> {
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&self.0, flags, &once(u64::MAX >> 2))?;
        Ok(())
    }
}

impl AsFd for ClockSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn flags() -> TimerfdFlags {
    TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK
}

fn once(micros: u64) -> Itimerspec {
    let seconds = i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX);
    let nanoseconds = i64::try_from(micros % 1_000_000)
        .unwrap_or(0)
        .saturating_mul(1000)
        // All zeros would disarm it.
        .max(1);
    Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        },
    }
}
