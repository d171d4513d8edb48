//! The packet: its pipeline, its codecs, its vectors, and no standard library.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first surprise; clippy.toml exempts only #[test] functions themselves"
)]

mod no_std;
mod pipeline;
mod properties;
mod vectors;
