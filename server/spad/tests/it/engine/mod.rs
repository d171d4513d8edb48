//! The engine alone, in memory: a made-up clock, a made-up kernel, real packets.

mod admin;
mod clock;
mod commands;
mod counting;
mod hooks;
mod kernel;
mod many;
mod neighbours;
mod networks;
mod one_time;
mod raw_knocks;
mod reasons;
mod reload;
mod room;
mod rules;
mod scenarios;
mod unresponsive;
mod world;
