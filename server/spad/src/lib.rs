//! The server: library behind the `spad` binary.
//!
//! The modules stand in the order in which a packet passes them; what serves
//! them all comes after. ARCHITECTURE.md tells the way in words.
#![forbid(unsafe_code)]

pub mod runner;

// What stands around the way.

pub mod control;

pub mod daemon;

pub mod audit;

pub mod explain;

pub mod cli;
