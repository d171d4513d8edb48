//! The corpora, replayed, and what makes their seeds.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first surprise; clippy.toml exempts only #[test] functions themselves"
)]

mod config;
mod corpus;
mod engine;
mod journal;
