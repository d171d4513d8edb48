//! [IO] The daemon: starts the processes, waits, obeys the engine's effects.
//!
//! Two threads. The engine's thread owns the packet ring, the engine, the state
//! and the socket to the firewall writer; nothing else touches them. (Of several
//! rings each has a thread of the capture's own.) The main
//! thread (tokio) serves signals and the control socket, reads configuration
//! anew, and hands what it has to the engine's thread as orders.

mod alarm;

mod by_hand;

mod commands;

mod configuration;

mod door;

mod engine_loop;

mod forwarding;

mod helpers;

mod liveness;

mod log;

mod look;

mod notifier;

mod order;

mod overtaken;

mod readers;

mod reloads;

mod replies;
mod restored;

mod report;

mod start;

mod supervisor;

mod tracking;

mod waiting;

pub(crate) use configuration::{NO_SERVER_KEY, PrepareError, prepare};
pub(crate) use forwarding::findings as forwarding;
pub(crate) use readers::readers;
pub use start::{StartError, run};
