//! The whole system in network namespaces, with the real kernel and the real programs; one
//! module for each promise. `cargo test -p spa-tests --test it -- replay::` runs one module.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise; clippy.toml exempts only #[test] functions themselves"
)]

mod admin_grants;
mod admin_messages;
mod bypass;
mod carriers;
mod cli;
mod client_rules;
mod clock;
mod closing;
mod command_firewall;
mod commands;
mod config;
mod confined;
mod containers;
mod crash;
mod demo;
mod directories;
mod emergency;
mod environment;
mod expiry;
mod explain;
mod families;
mod faults;
mod gateway;
mod guard;
mod hide_first;
mod hold;
mod hooks;
mod import;
mod kill_storm;
mod knock_commands;
mod knockd_comparison;
mod lab;
mod listen;
mod neighbours;
mod networks;
mod one_time;
mod opens;
mod policy;
mod port_knocking;
mod raw_knocks;
mod reload_race;
mod replay;
mod repo_lints;
mod restart;
mod router;
mod rules_export;
mod run_directory;
mod set_mode;
mod soak;
mod ssh;
mod stranger;
mod stun;
mod tampering;
mod tracking;
mod units;
mod unresponsive;
mod unwritable;
mod vectors;
