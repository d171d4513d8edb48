//! The engine alone, in memory: a made-up clock, a made-up kernel, real packets.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "the whole crate is tests; clippy.toml exempts only #[test] functions themselves"
)]

mod by_hand;
mod clock;
mod commands;
mod counting;
mod hooks;
mod kernel;
mod knocking;
mod many;
mod neighbours;
mod networks;
mod one_time;
mod reasons;
mod reload;
mod room;
mod rules;
mod story;
mod unresponsive;
mod world;
