//! The client: library behind the `spa` binary. Its modules in the order of the
//! way: what was asked → host and keys → datagram → sent → did it open.
#![forbid(unsafe_code)]

pub mod cli;

pub mod config;

pub mod target;

pub mod identity;

pub mod packet;

pub mod resolve;

pub mod stated_addresses;

pub mod stun;

pub mod carrier;

mod transport;

pub mod send;

pub mod schedule;

pub mod probe;

pub mod request;

pub mod open;

pub mod port_knock;

pub mod close;

pub mod run;

pub mod dial;

pub mod handover;

pub mod outcome;

pub mod report;

pub mod clock;

pub mod exit;

pub mod duration;
