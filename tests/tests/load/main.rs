//! What needs both processors: cargo runs test binaries one after another, so nothing else
//! runs beside these tests.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test stops at the first surprise; clippy.toml exempts only #[test] functions themselves"
)]

mod scale;
mod threads;
