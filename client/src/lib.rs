//! The client: library behind the `spa` binary. Its modules in the order of the
//! way: what was asked → host and keys → datagram → sent → did it open.
#![forbid(unsafe_code)]

pub mod cli;

pub mod config;

pub mod target;

pub mod identity;

pub mod knock;

pub mod resolve;

pub mod stated;

pub mod stun;

pub mod carrier;

mod carry;

pub mod send;

pub mod schedule;

pub mod probe;

pub mod ask;

pub mod open;

pub mod knocking;

pub mod close;

pub mod run;

pub mod dial;

pub mod handover;

pub mod outcome;

pub mod report;

pub mod clock;

pub mod exit;

pub mod span;
