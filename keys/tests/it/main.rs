//! Keys: their files, their pairs, their texts.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first surprise; clippy.toml exempts only #[test] functions themselves"
)]

mod file;
mod pairs;
mod siphash;
mod text;
