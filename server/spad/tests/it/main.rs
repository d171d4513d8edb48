//! `spad` as a whole: its files, its commands, its firewall in real kernels, its processes.
#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise; clippy.toml exempts only #[test] functions themselves"
)]

mod capture;
mod cli;
mod config;
mod config_reference;
mod engine;
mod firewall;
mod import;
mod privileges;
mod reasons_document;
mod replay_state;
