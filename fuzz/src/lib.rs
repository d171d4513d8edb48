//! Fuzz targets. Each is a function of bytes in a file of its own; it panics
//! where a promise is broken. `cargo test -p spa-fuzz` replays the corpora,
//! `cargo fuzz run TARGET` (from the top folder) searches for more.
//!
//! A new target: its file here with `pub fn run(data: &[u8])`, its two lines
//! below, its `[[bin]]` in Cargo.toml, its wrapper in fuzz_targets/, and a
//! first file in corpus/TARGET/. The test `corpus` says what is missing.
#![forbid(unsafe_code)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a target tells of a broken promise by panicking, whichever way is shortest"
)]

pub mod config;
pub mod engine;
pub mod fixture;
pub mod frame;
pub mod identify;
pub mod journal;
pub mod key_text;
pub mod knockd;
pub mod message;
pub mod open;
pub mod recording;
pub mod request;
#[path = "../../server/spad/tests/it/engine/world.rs"]
#[expect(
    dead_code,
    reason = "the stories in server/spad/tests/it/engine use the rest"
)]
mod server_world;

/// What takes the fuzzer's bytes.
pub type Run = fn(&[u8]);

/// Every target, by the name of its folder in corpus/.
pub const TARGETS: &[(&str, Run)] = &[
    ("config", config::run),
    ("engine", engine::run),
    ("frame", frame::run),
    ("identify", identify::run),
    ("journal", journal::run),
    ("key_text", key_text::run),
    ("knockd", knockd::run),
    ("message", message::run),
    ("open", open::run),
    ("recording", recording::run),
    ("request", request::run),
];
