//! [IO] The daemon: starts the processes, waits, and executes the engine's effects.
//!
//! Two threads do the work. The engine's thread owns the packet ring, the engine, the state and
//! the socket to the firewall writer. With several rings, each has a prefilter thread. The main
//! thread (tokio) serves signals and the control socket, and sends tasks to the engine's thread. A
//! reload reads its files on a thread of its own.

mod timers;

mod admin;

mod runner_events;

mod load_config;

mod executor;

mod engine_loop;

mod fixed_settings;

mod forwarding;

mod helpers;

mod liveness;

mod log;

mod self_check;

mod notifier;

mod tasks;

mod pending_replies;

mod readers;

mod reload;

mod reload_actions;

mod reply;

mod restored;

mod requests;

mod start;

mod start_error;

mod directories;

mod privileged;

mod status;

mod supervisor;

mod conntrack;

mod poller;

mod writer_events;

pub(crate) use forwarding::findings as forwarding;
pub(crate) use load_config::{LoadKeysError, MISSING_SERVER_KEY_HELP, load_keys};
pub(crate) use readers::readers;
pub use start::run;
pub use start_error::StartError;
