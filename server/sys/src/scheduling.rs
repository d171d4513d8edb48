//! How soon the kernel lets a woken thread run, and how exactly it keeps short pauses.
#![expect(
    unsafe_code,
    reason = "no crate we use wraps sched_setattr with a time slice"
)]

use std::io;
use std::num::NonZeroU64;

/// The shortest slice that the kernel takes.
const SLICE_NANOSECONDS: u64 = 100_000;

/// Both wishes below, for the calling thread, which will be woken for packets.
/// What the kernel does not do for it costs time, nothing else.
///
/// # Errors
/// The first that was refused; both were tried.
pub fn minimise_wakeup_latency() -> io::Result<()> {
    let (slice, slack) = (set_short_slice(), set_min_timer_slack());
    slice.and(slack)
}

/// Asks for short slices of the processor for the calling thread, no more of it
/// than others get: from kernel 6.12 on, a thread with a short slice that wakes
/// comes before one that is in the midst of a long one, where it would wait for
/// milliseconds. Older kernels take no notice.
///
/// # Errors
/// What the kernel reports; a sandbox may forbid the call.
pub fn set_short_slice() -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: rustix::process::getpriority_process(None)?,
        sched_priority: 0,
        sched_runtime: SLICE_NANOSECONDS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: 0 is the calling thread; the pointer is to a whole `sched_attr` that states its size, and the kernel only reads it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Lets the calling thread's pauses end when they are over, not up to 50 µs later.
///
/// # Errors
/// What the kernel reports.
pub fn set_min_timer_slack() -> io::Result<()> {
    Ok(rustix::thread::set_current_timer_slack(Some(
        NonZeroU64::MIN,
    ))?)
}
