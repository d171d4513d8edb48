//! Which processor a thread runs on: a busy client on the server's own would
//! make any woken server wait for a slice of the scheduler.

use rustix::thread::{CpuSet, sched_setaffinity};

/// The processor of the measuring side.
pub(crate) const CLIENT: usize = 0;
/// The processor of the servers.
pub(crate) const SERVER: usize = 1;

/// Keeps the calling thread on one processor; processes that it starts inherit it.
pub(crate) fn pin(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).expect("two processors");
}
