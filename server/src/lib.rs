//! The server: library behind the `spad` binary.
//!
//! The modules stand in the order in which a packet passes them; what serves
//! them all comes after. ARCHITECTURE.md tells the way in words.
#![deny(unsafe_code)]

pub mod capture;

pub mod engine;

pub mod clients;

pub mod screen;

pub mod replay;

pub mod policy;

pub mod grants;

pub mod firewall;

pub mod writer;

pub mod runner;

pub mod verdict;

pub mod knock;

// What stands around the way.

pub mod clock;

pub mod paths;

pub mod ports;

pub mod config;

pub mod model;

pub mod control;

pub mod ipc;

pub mod fd_limit;

mod check_line;

mod journald;

pub mod daemon;

pub mod audit;

pub mod explain;

pub mod import;

mod program;

pub mod sandbox;

pub mod sys;

pub mod cli;
