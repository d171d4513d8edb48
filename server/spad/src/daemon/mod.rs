//! [IO] The daemon: starts the processes, waits, and executes the engine's effects.
//!
//! Two threads do the work. The engine's thread owns the packet ring, the engine, the state and
//! the socket to the firewall writer. With several rings, each has a prefilter thread. The main
//! thread (tokio) serves signals and the control socket, and sends tasks to the engine's thread. A
//! reload reads its files on a thread of its own.

mod admin;
mod conntrack;
mod directories;
mod engine_loop;
mod executor;
mod fixed_settings;
mod forwarding;
mod helpers;
mod liveness;
mod load_config;
mod log;
mod notifier;
mod pending_replies;
mod poller;
mod privileged;
mod readers;
mod reload;
mod reload_actions;
mod reply;
mod requests;
mod restored;
mod runner_events;
mod self_check;
mod start;
mod start_error;
mod status;
mod supervisor;
mod tasks;
mod timers;
mod writer_events;

pub(crate) use forwarding::findings as forwarding;
pub(crate) use load_config::{LoadKeysError, MISSING_SERVER_KEY_HELP, load_keys};
pub(crate) use readers::readers;
pub use start::run;
pub use start_error::StartError;
