//! How soon the kernel runs a woken thread, and how precisely it times short pauses.
#![expect(
    unsafe_code,
    reason = "no crate we use wraps sched_setattr with a time slice"
)]

use std::io;
use std::num::NonZeroU64;

/// The shortest slice that the kernel accepts.
const SLICE_NANOSECONDS: u64 = 100_000;

/// Applies both settings below to the calling thread, which waits for packets. A refusal
/// only costs latency.
///
/// # Errors
/// The first refusal; both were tried.
pub fn minimise_wakeup_latency() -> io::Result<()> {
    let (slice, slack) = (set_short_slice(), set_min_timer_slack());
    slice.and(slack)
}

/// Requests short processor slices for the calling thread, without a larger share. From
/// kernel 6.12 on, a thread with a short slice that wakes preempts one in a long slice;
/// otherwise it would wait for milliseconds. Older kernels ignore it.
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

/// Makes the calling thread's pauses end on time, not up to 50 µs later.
///
/// # Errors
/// What the kernel reports.
pub fn set_min_timer_slack() -> io::Result<()> {
    Ok(rustix::thread::set_current_timer_slack(Some(
        NonZeroU64::MIN,
    ))?)
}
