//! The defects of knockd 0.8, run against the one that is installed: the same packets,
//! the same server, at the same time. What it is seen to do is asserted as well, so that
//! docs/past-bugs.md tells what was measured.

mod attempts;
mod capture_differences;
mod closing;
mod config_differences;
mod fixture;
mod knock_client;
mod knockd_faults;
mod one_time;
