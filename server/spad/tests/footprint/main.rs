//! What the server costs in memory. A binary of its own: one test counts allocations by a
//! global allocator, the other reads the memory of its process.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first surprise; clippy.toml exempts only #[test] functions themselves"
)]

mod allocations;
mod replay_memory;
