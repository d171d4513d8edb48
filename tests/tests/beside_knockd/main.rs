//! The defects of knockd 0.8, run against the one that is installed: the same packets,
//! the same server, at the same time. What it is seen to do is asserted as well, so that
//! docs/past-bugs.md tells what was measured.
#![expect(
    clippy::expect_used,
    reason = "a stage that fails is a test that fails"
)]

mod attempts;
mod closing;
mod heard;
mod knock_client;
mod one_time;
mod own_faults;
mod stage;
mod written;
